package store_test

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/google/uuid"

	"github.com/tarento/copilot/pkg/access"
	"github.com/tarento/copilot/pkg/fault"
	"github.com/tarento/copilot/pkg/store"
	"github.com/tarento/copilot/pkg/tenant"
)

func TestLoginIsFoundByAddressOrUsernameWhateverTheCase(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2)
	for _, identifier := range []string{"admin@acme.com", "ADMIN@Acme.com", "admin_acme", "Admin_ACME"} {
		user, id, err := w.FindLogin(t.Context(), identifier)
		if err != nil || user != adminAcme || id != w.acme {
			t.Errorf("%s: found user %s of tenant %s: %v", identifier, user, id, err)
		}
	}
	for _, identifier := range []string{"", "nobody", "admin@acme.co", "%", "admin_acme' OR 'a'='a"} {
		if _, _, err := w.FindLogin(t.Context(), identifier); !fault.Is(err, fault.NotFound) {
			t.Errorf("%q: got %v, want not found", identifier, err)
		}
	}
}

func TestFindLoginReportsACanceledRequestAsSuch(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := w.FindLogin(ctx, "admin_acme"); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want context.Canceled", err)
	}
}

func TestFoundingAnOrganization(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2)
	founded := tenant.FromUUID(uuid.Must(uuid.NewV7()))
	domain := "new.example"
	var admin store.User
	w.in(founded, func(tx *store.Tx) error {
		if err := tx.Organizations().Create(&store.Organization{Name: "New", Domain: &domain}); err != nil {
			return err
		}
		roles, err := tx.Roles().CreateSystemRoles()
		if err != nil {
			return err
		}
		if roles[0].Name != access.Admin {
			t.Errorf("the first role is %s", roles[0].Name)
		}
		admin = store.User{Email: "founder@new.example", Username: "founder", PasswordHash: "x", RoleID: &roles[0].ID}
		return tx.Users().Create(&admin)
	})
	w.in(founded, func(tx *store.Tx) error {
		p, err := tx.Users().Principal(admin.ID)
		if err != nil {
			return err
		}
		want := access.Roles()[0].Grants
		slices.Sort(want)
		if p.RoleName != access.Admin || !p.OrganizationActive || !p.User.IsActive || p.User.Email != admin.Email {
			t.Errorf("principal is %+v", p)
		}
		if !slices.EqualFunc(p.Permissions, want, func(a string, b access.Permission) bool { return a == string(b) }) {
			t.Errorf("permissions are %q, want %q", p.Permissions, want)
		}
		org, err := tx.Organizations().Get(founded.UUID())
		if err == nil && (org.Name != "New" || org.SubscriptionPlan != store.PlanStarter || !org.IsActive || len(org.Settings) != 0) {
			t.Errorf("organization is %+v", org)
		}
		return err
	})
	w.refused(founded, fault.NotFound, "organization.not_found", func(tx *store.Tx) error {
		_, err := tx.Organizations().Get(w.acme.UUID())
		return err
	})
}

func TestPrincipalWithoutARoleHasNoPermissions(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2)
	w.in(w.acme, func(tx *store.Tx) error {
		u := store.User{Email: "plain@acme.com", Username: "plain", PasswordHash: "x"}
		if err := tx.Users().Create(&u); err != nil {
			return err
		}
		p, err := tx.Users().Principal(u.ID)
		if err == nil && (p.RoleName != "" || len(p.Permissions) != 0) {
			t.Errorf("role %q with %q", p.RoleName, p.Permissions)
		}
		return err
	})
}

func TestUserChanges(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2)
	w.in(w.acme, func(tx *store.Tx) error {
		return tx.Users().UpdatePassword(memberAcme, "new hash")
	})
	w.in(w.acme, func(tx *store.Tx) error {
		u, err := tx.Users().Get(memberAcme)
		if err == nil && (u.PasswordHash != "new hash" || !u.UpdatedAt.After(u.CreatedAt)) {
			t.Errorf("user is %+v", u)
		}
		return err
	})
}

func TestUsersOfAnotherTenantDoNotExist(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2)
	for name, fn := range map[string]func(tx *store.Tx) error{
		"get":       func(tx *store.Tx) error { _, err := tx.Users().Get(adminAcme); return err },
		"principal": func(tx *store.Tx) error { _, err := tx.Users().Principal(adminAcme); return err },
		"password":  func(tx *store.Tx) error { return tx.Users().UpdatePassword(adminAcme, "x") },
		"login": func(tx *store.Tx) error {
			return tx.RefreshTokens().Open(&store.RefreshToken{UserID: adminAcme, TokenHash: hashOf("x")}, "x", "x")
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w.with(t).refused(w.startup, fault.NotFound, "user.not_found", fn)
		})
	}
}

func TestConflictsAndBadReferencesAreNamed(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2)
	domain := "ACME.com"
	elsewhere := uuid.Must(uuid.NewV7())
	for _, tc := range []struct {
		name string
		kind fault.Kind
		code string
		in   tenant.ID
		fn   func(tx *store.Tx) error
	}{
		{"an address taken in another tenant, in another case", fault.Conflict, "user.email_taken", w.startup, func(tx *store.Tx) error {
			return tx.Users().Create(&store.User{Email: "Admin@Acme.com", Username: "fresh", PasswordHash: "x"})
		}},
		{"a username taken", fault.Conflict, "user.username_taken", w.acme, func(tx *store.Tx) error {
			return tx.Users().Create(&store.User{Email: "fresh@acme.com", Username: "ADMIN_ACME", PasswordHash: "x"})
		}},
		{
			"a domain taken", fault.Conflict, "organization.domain_taken", tenant.FromUUID(uuid.Must(uuid.NewV7())),
			func(tx *store.Tx) error {
				return tx.Organizations().Create(&store.Organization{Name: "Copy", Domain: &domain})
			},
		},
		{"system roles made twice", fault.Conflict, "role.name_taken", w.acme, func(tx *store.Tx) error {
			_, err := tx.Roles().CreateSystemRoles()
			return err
		}},
		{"a member twice", fault.Conflict, "project.already_member", w.acme, func(tx *store.Tx) error {
			return tx.Projects().AddMember(acmeProject, memberAcme)
		}},
		{"a project of another tenant", fault.Invalid, "reference.unknown", w.startup, func(tx *store.Tx) error {
			return tx.AgentConfigs().Create(&store.AgentConfig{Name: "Spy", ProjectID: &acmeProject})
		}},
		{"a project that does not exist", fault.Invalid, "reference.unknown", w.acme, func(tx *store.Tx) error {
			return tx.Documents().Create(&store.Document{Title: "Lost", ProjectID: &elsewhere})
		}},
		{"a value outside of an enumeration", fault.Invalid, "value.not_allowed", w.acme, func(tx *store.Tx) error {
			return tx.AgentConfigs().Create(&store.AgentConfig{Name: "Odd", AgentType: "astrologer"})
		}},
		{"text with a NUL", fault.Invalid, "text.not_storable", w.acme, func(tx *store.Tx) error {
			return tx.Documents().Create(&store.Document{Title: "nul\x00"})
		}},
		{"JSON with a NUL", fault.Invalid, "text.not_storable", w.acme, func(tx *store.Tx) error {
			return tx.Documents().Create(&store.Document{Title: "nul", DocMetadata: store.Object{"a": "\x00"}})
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			w.with(t).refused(tc.in, tc.kind, tc.code, tc.fn)
		})
	}
}

func TestUnreachableDatabaseIsUnavailable(t *testing.T) {
	t.Parallel()
	s, err := store.Open(t.Context(), store.Config{URL: "postgres://app:hunter2@127.0.0.1:1/copilot"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	_, _, err = s.FindLogin(t.Context(), "anybody")
	if !fault.Is(err, fault.Unavailable) {
		t.Errorf("got %v, want unavailable", err)
	}
}
