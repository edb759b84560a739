package store_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"

	"github.com/tarento/copilot/pkg/access"
	"github.com/tarento/copilot/pkg/fault"
	"github.com/tarento/copilot/pkg/store"
	"github.com/tarento/copilot/pkg/tenant"
)

// addUser adds a user with a shipped role.
func (w *world) addUser(id tenant.ID, name, role string) uuid.UUID {
	w.t.Helper()
	u := store.User{Email: name + "@example.com", Username: name, PasswordHash: "x"}
	w.in(id, func(tx *store.Tx) error {
		r, err := tx.Roles().ByName(role)
		if err != nil {
			return err
		}
		u.RoleID = &r.ID
		return tx.Users().Create(&u)
	})
	return u.ID
}

func deactivate(u *store.User) error {
	u.IsActive = false
	return nil
}

func TestOfTwoAdminsWhoGoAtOnceOneStays(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 4)
	for round := range 5 {
		second := w.addUser(w.acme, "second"+string(rune('a'+round)), access.Admin)
		var going errgroup.Group
		refused := make([]error, 2)
		for i, id := range []uuid.UUID{adminAcme, second} {
			going.Go(func() error {
				refused[i] = w.InTenant(t.Context(), w.acme, func(tx *store.Tx) error {
					_, err := tx.Users().Update(id, "update", nil, deactivate)
					return err
				})
				return nil
			})
		}
		if err := going.Wait(); err != nil {
			t.Fatal(err)
		}
		failed := slices.DeleteFunc(slices.Clone(refused), func(err error) bool { return err == nil })
		if len(failed) != 1 || fault.Of(failed[0]).Code != "user.last_admin" {
			t.Errorf("round %d: got %v, want one refusal", round, refused)
		}
		w.asOwner("UPDATE users SET is_active = (id = $1), role_id = CASE WHEN id = $1 THEN role_id END WHERE id IN ($1, $2)", adminAcme, second)
	}
	w.refused(w.acme, fault.Conflict, "user.last_admin", func(tx *store.Tx) error {
		_, err := tx.Users().Update(adminAcme, "update", nil, func(u *store.User) error { u.RoleID = nil; return nil })
		return err
	})
}

func TestWhoIsDeactivatedLosesSessionsAndKeysForGood(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2)
	w.in(w.acme, func(tx *store.Tx) error {
		return errors.Join(
			tx.RefreshTokens().Create(&store.RefreshToken{UserID: memberAcme, TokenHash: []byte("token"), ExpiresAt: time.Now().Add(time.Hour)}),
			tx.APIKeys().Create(&store.APIKey{
				UserID: memberAcme, Name: "key", KeyHash: make([]byte, 32), Scopes: store.StringArray{"jobs:read"},
			}),
		)
	})
	for _, active := range []bool{false, true} {
		w.in(w.acme, func(tx *store.Tx) error {
			_, err := tx.Users().Update(memberAcme, "update", nil, func(u *store.User) error { u.IsActive = active; return nil })
			return err
		})
	}
	w.in(w.acme, func(tx *store.Tx) error {
		sessions, err := tx.RefreshTokens().Sessions(memberAcme, store.Page{})
		if err != nil {
			return err
		}
		keys, err := tx.APIKeys().List(store.APIKeyFilter{})
		if len(sessions.Rows) != 0 || len(keys.Rows) != 0 {
			t.Errorf("%d sessions and %d keys are left", len(sessions.Rows), len(keys.Rows))
		}
		return err
	})
}

func TestPeopleAreFoundByWords(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2)
	w.addUser(w.startup, "adam", access.Member)
	w.in(w.acme, func(tx *store.Tx) error {
		for text, want := range map[string]int{"Ada": 1, "adm": 1, "acme.com": 2, "max member": 1, "adam": 0, "startup": 0, "": 2} {
			found, err := tx.Users().List(store.UserFilter{Search: text, Page: store.Page{Count: true}})
			if err != nil {
				return err
			}
			if len(found.Rows) != want || *found.Total != int64(want) {
				t.Errorf("%q: found %d of %d, want %d", text, len(found.Rows), *found.Total, want)
			}
			for _, u := range found.Rows {
				if u.PasswordHash != "" {
					t.Error("a list holds password hashes")
				}
			}
		}
		return nil
	})
}

func TestTheSurveySeesOrganizationsAndOnlyForItself(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1) // so that whatever stays behind on a connection is met again
	for range 2 {
		all, err := w.Organizations(t.Context(), store.OrganizationFilter{Page: store.Page{Count: true, Sort: store.Sort{By: "name", Ascending: true}}})
		if err != nil || len(all.Rows) != 2 || *all.Total != 2 || all.Rows[0].Name != "Acme Corporation" {
			t.Fatalf("got %+v, %v", all, err)
		}
		w.in(w.acme, func(tx *store.Tx) error {
			own, err := tx.Organizations().List(store.OrganizationFilter{})
			if len(own.Rows) != 1 || own.Rows[0].ID != w.acme.UUID() {
				t.Errorf("a tenant lists %+v", own.Rows)
			}
			var seen int64
			return errors.Join(err, tx.DB().Raw("SELECT count(*) FROM organizations").Scan(&seen).Error, only(seen))
		})
	}
	for name, f := range map[string]store.OrganizationFilter{
		"plan": {Plan: store.PlanEnterprise}, "words": {Search: "ACME"}, "id": {ID: new(w.acme.UUID())},
	} {
		if found, err := w.Organizations(t.Context(), f); err != nil || len(found.Rows) != 1 || found.Rows[0].ID != w.acme.UUID() {
			t.Errorf("%s: got %+v, %v", name, found.Rows, err)
		}
	}
}

func only(seen int64) error {
	if seen != 1 {
		return errors.New("row-level security shows other organizations")
	}
	return nil
}

func TestAPersonIsFoundByIdWithoutATenant(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	if where, err := w.OrganizationOf(t.Context(), memberAcme); err != nil || where != w.acme {
		t.Errorf("got %v, %v", where, err)
	}
	if _, err := w.OrganizationOf(t.Context(), uuid.New()); !fault.Is(err, fault.NotFound) {
		t.Errorf("got %v, want not found", err)
	}
}

func TestEnteringATenantIsPartOfTheTransaction(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	founded := tenant.FromUUID(uuid.Must(uuid.NewV7()))
	undone := errors.New("undone")
	found := func(end error) error {
		return w.InTenant(t.Context(), w.acme, func(tx *store.Tx) error {
			if err := tx.Enter(founded, func(tx *store.Tx) error {
				return tx.Organizations().Create(&store.Organization{Name: "New"})
			}); err != nil {
				return err
			}
			if err := tx.Projects().Create(&store.Project{Name: "At home"}); err != nil {
				return err
			}
			return end
		})
	}
	count := func(id tenant.ID) (organizations, projects, entries int64) {
		w.in(id, func(tx *store.Tx) error {
			return errors.Join(
				tx.DB().Model(&store.Organization{}).Count(&organizations).Error,
				tx.DB().Model(&store.Project{}).Where("name = 'At home'").Count(&projects).Error,
				tx.DB().Model(&store.AuditEntry{}).Count(&entries).Error,
			)
		})
		return organizations, projects, entries
	}
	if err := found(undone); !errors.Is(err, undone) {
		t.Fatal(err)
	}
	if o, p, _ := count(founded); o != 0 || p != 0 {
		t.Errorf("%d organizations and %d projects are left of what was undone", o, p)
	}
	if err := found(nil); err != nil {
		t.Fatal(err)
	}
	if o, p, entries := count(founded); o != 1 || p != 0 || entries != 1 {
		t.Errorf("the new tenant has %d organizations, %d projects and %d audit entries", o, p, entries)
	}
	if o, p, entries := count(w.acme); o != 1 || p != 1 || entries != 1 {
		t.Errorf("the old tenant has %d organizations, %d projects and %d audit entries", o, p, entries)
	}
	if err := w.InTenant(t.Context(), w.acme, func(tx *store.Tx) error {
		return tx.Enter(tenant.ID{}, func(*store.Tx) error { return nil })
	}); !errors.Is(err, tenant.ErrNone) {
		t.Errorf("entering no tenant: got %v", err)
	}
}

func TestWhatChangesWhatSomebodyMayDoIsAnnounced(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2)
	var told []tenant.ID
	s, err := store.Open(t.Context(), store.Config{
		URL: w.db.AppURL, MaxConns: 1, AccessChanged: func(_ context.Context, id tenant.ID) { told = append(told, id) },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	role, project := uuid.New(), uuid.New()
	permissions := func(tx *store.Tx) []store.Permission {
		found, err := tx.Permissions().List(store.PermissionFilter{Resource: "audit"})
		if err != nil || len(found.Rows) == 0 {
			t.Fatalf("got %v, %v", found, err)
		}
		return found.Rows
	}
	for _, c := range []struct {
		name string
		tell bool
		do   func(*store.Tx) error
	}{
		{"a new role", false, func(tx *store.Tx) error { return tx.Roles().Create(&store.Role{ID: role, Name: "Own"}) }},
		{"a grant", true, func(tx *store.Tx) error { _, _, err := tx.Roles().Grant(role, nil, permissions(tx)); return err }},
		{"the same grant", false, func(tx *store.Tx) error { _, _, err := tx.Roles().Grant(role, nil, permissions(tx)); return err }},
		{"a revocation", true, func(tx *store.Tx) error { _, _, err := tx.Roles().Revoke(role, nil, permissions(tx)); return err }},
		{"a new project", false, func(tx *store.Tx) error { return tx.Projects().Create(&store.Project{ID: project, Name: "Own"}) }},
		{"a membership", true, func(tx *store.Tx) error { return tx.Projects().AddMember(project, memberAcme) }},
		{"the end of a membership", true, func(tx *store.Tx) error { return tx.Projects().RemoveMember(project, memberAcme) }},
		{"a profile", false, func(tx *store.Tx) error {
			_, err := tx.Users().Update(memberAcme, "update", nil, func(u *store.User) error { u.Bio = "x"; return nil })
			return err
		}},
		{"a role for somebody", true, func(tx *store.Tx) error {
			_, err := tx.Users().Update(memberAcme, "update", nil, func(u *store.User) error { u.RoleID = &role; return nil })
			return err
		}},
		{"a deactivation", true, func(tx *store.Tx) error {
			_, err := tx.Users().Update(memberAcme, "delete", nil, deactivate)
			return err
		}},
		{"an organization's name", false, func(tx *store.Tx) error {
			_, err := tx.Organizations().Update(w.acme.UUID(), "update", nil, func(o *store.Organization) error { o.Name = "x"; return nil })
			return err
		}},
		{"an organization's end", true, func(tx *store.Tx) error {
			_, err := tx.Organizations().Update(w.acme.UUID(), "delete", nil, func(o *store.Organization) error { o.IsActive = false; return nil })
			return err
		}},
	} {
		told = nil
		if err := s.InTenant(t.Context(), w.acme, c.do); err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		if c.tell != slices.Contains(told, w.acme) {
			t.Errorf("%s: announced in %v, want it to be: %t", c.name, told, c.tell)
		}
	}
	told = nil
	err = s.InTenant(t.Context(), w.startup, func(tx *store.Tx) error {
		return tx.Enter(w.acme, func(tx *store.Tx) error { return tx.Projects().AddMember(project, memberAcme) })
	})
	if err != nil || !slices.Equal(told, []tenant.ID{w.acme}) {
		t.Errorf("a membership in an entered tenant: announced in %v, %v", told, err)
	}
}

func TestRolesThatShipAndThoseThatAreHeldStay(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2)
	var system *store.Role
	own := &store.Role{Name: "Own"}
	w.in(w.acme, func(tx *store.Tx) (err error) {
		if system, err = tx.Roles().ByName(access.Viewer); err != nil {
			return err
		}
		return tx.Roles().Create(own)
	})
	holder := w.addUser(w.acme, "holder", "Own")
	for name, c := range map[string]struct {
		kind fault.Kind
		code string
		do   func(store.Roles) error
	}{
		"a role that ships is not changed": {fault.Forbidden, "role.system", func(r store.Roles) error {
			_, err := r.Update(system.ID, nil, func(*store.Role) error { return nil })
			return err
		}},
		"a role that ships is not removed": {fault.Forbidden, "role.system", func(r store.Roles) error { return r.Delete(system.ID, nil) }},
		"a role that ships is not granted more": {fault.Forbidden, "role.system", func(r store.Roles) error {
			_, _, err := r.Grant(system.ID, nil, nil)
			return err
		}},
		"a role that is held is not removed": {fault.Conflict, "role.in_use", func(r store.Roles) error { return r.Delete(own.ID, nil) }},
		"a role at another revision is not removed": {fault.Precondition, "precondition.failed", func(r store.Roles) error {
			return r.Delete(own.ID, store.Match{1})
		}},
		"a role of another tenant does not exist": {fault.NotFound, "role.not_found", func(r store.Roles) error { return r.Delete(uuid.New(), nil) }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w.with(t).refused(w.acme, c.kind, c.code, func(tx *store.Tx) error { return c.do(tx.Roles()) })
		})
	}
	t.Cleanup(func() {
		err := w.InTenant(context.WithoutCancel(t.Context()), w.acme, func(tx *store.Tx) error {
			if _, err := tx.Users().Update(holder, "update", nil, func(u *store.User) error { u.RoleID = &system.ID; return nil }); err != nil {
				return err
			}
			return tx.Roles().Delete(own.ID, nil)
		})
		if err != nil {
			t.Errorf("a role that nobody has any more: %v", err)
		}
	})
}
