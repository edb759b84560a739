package account

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/google/uuid"

	"github.com/tarento/copilot/gateway/internal/auth"
	"github.com/tarento/copilot/gateway/internal/rbac"
	"github.com/tarento/copilot/pkg/access"
	"github.com/tarento/copilot/pkg/fault"
	"github.com/tarento/copilot/pkg/secret"
	"github.com/tarento/copilot/pkg/store"
	"github.com/tarento/copilot/pkg/tenant"
)

// Options are what a Service works with.
type Options struct {
	Store     *store.Store
	Passwords *auth.Passwords
	Tokens    *auth.Tokens
	// RefreshKey derives the successors of refresh tokens; all gateways share it.
	RefreshKey secret.Text
	// RefreshTTL is how long a session lasts without being used; zero means a week.
	RefreshTTL time.Duration
	// Access knows what sessions and API keys allow.
	Access *Access
	Log    *slog.Logger
}

const defaultRefreshTTL = 7 * 24 * time.Hour

// Service is safe for concurrent use.
type Service struct {
	Options

	uses   *uses
	vigils vigils
}

// New builds a service.
func New(o Options) *Service {
	if o.RefreshTTL == 0 {
		o.RefreshTTL = defaultRefreshTTL
	}
	return &Service{Options: o, uses: newUses()}
}

// Client is where a request comes from; it is kept with the session.
type Client struct{ IP, Agent string }

// Session is what a client gets to stay logged in.
type Session struct {
	Access    string
	Refresh   secret.Text
	ExpiresIn time.Duration
}

// Registration is a new account. Exactly one of OrganizationID and OrganizationName is set: an organization to join, or the
// name of one to found.
type Registration struct {
	Email, Username, Password, FullName string
	OrganizationID                      tenant.ID
	OrganizationName                    string
}

// Register makes an account and logs it in. Who founds an organization becomes its Admin, who joins one a Member. An
// organization that does not exist, is inactive or takes no strangers is fault.Forbidden.
func (s *Service) Register(ctx context.Context, r Registration, c Client) (*store.Principal, Session, error) {
	t, founding := r.OrganizationID, r.OrganizationName != ""
	if founding {
		id, err := uuid.NewV7()
		if err != nil {
			return nil, Session{}, fmt.Errorf("account: make an organization's id: %w", err)
		}
		t = tenant.FromUUID(id)
	} else if err := s.Store.View(ctx, t, func(tx *store.Tx) error { return joinable(tx, t) }); err != nil {
		return nil, Session{}, err
	}
	hash, err := s.Passwords.Hash(ctx, r.Password)
	if err != nil {
		return nil, Session{}, err
	}
	var user *store.Principal
	var session Session
	err = s.in(ctx, t, func(tx *store.Tx) error {
		role, err := roleFor(tx, t, r.OrganizationName)
		if err != nil {
			return err
		}
		u := &store.User{
			Email: r.Email, Username: r.Username, FullName: r.FullName, PasswordHash: hash, RoleID: &role.ID,
		}
		if err := tx.Users().Create(u); err != nil {
			return err
		}
		if session, err = s.open(tx, u, hash, c); err != nil {
			return err
		}
		user, err = tx.Users().Principal(u.ID)
		return err
	})
	return user, session, err
}

// joinable refuses an organization that takes no strangers. That it does not exist is the same to a stranger.
func joinable(tx *store.Tx, t tenant.ID) error {
	o, err := tx.Organizations().Get(t.UUID())
	if err != nil && !fault.Is(err, fault.NotFound) {
		return err
	}
	if err != nil || !o.IsActive || !o.AllowsSelfRegistration {
		return fault.New(fault.Forbidden, "registration.closed",
			"This organization does not take registrations. Ask its administrator for an account.")
	}
	return nil
}

// roleFor returns the role of a new account, and founds the organization where it is to be founded.
func roleFor(tx *store.Tx, t tenant.ID, founded string) (*store.Role, error) {
	if founded == "" {
		if err := joinable(tx, t); err != nil {
			return nil, err
		}
		return tx.Roles().ByName(access.Member)
	}
	if err := tx.Organizations().Create(&store.Organization{Name: founded}); err != nil {
		return nil, err
	}
	if _, err := tx.Roles().CreateSystemRoles(); err != nil {
		return nil, err
	}
	return tx.Roles().ByName(access.Admin)
}

// Login opens a session for a username or email address and its password. An unknown name and a wrong password cost the same
// and give the same fault.Unauthenticated.
func (s *Service) Login(ctx context.Context, identifier, password string, c Client) (*store.Principal, Session, error) {
	id, t, err := s.Store.FindLogin(ctx, identifier)
	if fault.Is(err, fault.NotFound) {
		return nil, Session{}, s.Passwords.DummyVerify(ctx, password)
	}
	if err != nil {
		return nil, Session{}, err
	}
	user, session, err := s.login(ctx, t, id, password, c)
	if fault.Is(err, fault.NotFound) {
		// Something changed while the password was verified: the password, the account, or only the cost of its hash.
		user, session, err = s.login(ctx, t, id, password, c)
	}
	if fault.Is(err, fault.NotFound) {
		err = errRefused()
	}
	return user, session, err
}

// login is fault.NotFound when the account changed while the password was verified.
func (s *Service) login(ctx context.Context, t tenant.ID, id uuid.UUID, password string, c Client) (*store.Principal, Session, error) {
	user, err := s.read(ctx, t, id)
	if err != nil {
		return nil, Session{}, err
	}
	// Outside of a transaction: hashing takes a quarter of a second, and must not hold a connection.
	verified := user.User.PasswordHash
	if err := s.Passwords.Verify(ctx, verified, password); err != nil {
		return nil, Session{}, err
	}
	if err := active(user); err != nil {
		return nil, Session{}, err
	}
	if s.Passwords.NeedsRehash(verified) {
		if user.User.PasswordHash, err = s.Passwords.Hash(ctx, password); err != nil {
			return nil, Session{}, err
		}
	}
	var session Session
	err = s.in(ctx, t, func(tx *store.Tx) (err error) {
		session, err = s.open(tx, &user.User, verified, c)
		return err
	})
	return user, session, err
}

// open starts a session of a user whose password was verified against a hash.
func (s *Service) open(tx *store.Tx, u *store.User, verified string, c Client) (Session, error) {
	plain, hash, err := auth.NewRefresh(tx.Tenant())
	if err != nil {
		return Session{}, fmt.Errorf("account: %w", err)
	}
	row := &store.RefreshToken{
		UserID: u.ID, TokenHash: hash, ExpiresAt: time.Now().Add(s.RefreshTTL), UserAgent: c.Agent, IP: c.IP,
	}
	if err := tx.RefreshTokens().Open(row, verified, u.PasswordHash); err != nil {
		return Session{}, err
	}
	u.LastLogin, u.LastActivity = &row.CreatedAt, &row.CreatedAt
	return s.session(u, row.FamilyID, plain)
}

func (s *Service) session(u *store.User, family uuid.UUID, refresh secret.Text) (Session, error) {
	token, expires, err := s.Tokens.Issue(auth.Subject{
		UserID: u.ID, Tenant: tenant.FromUUID(u.OrganizationID), SessionID: family, Superuser: u.IsSuperuser,
	})
	if err != nil {
		return Session{}, fmt.Errorf("account: %w", err)
	}
	return Session{Access: token, Refresh: refresh, ExpiresIn: time.Until(expires).Round(time.Second)}, nil
}

func active(user *store.Principal) error {
	if !user.User.IsActive || !user.OrganizationActive {
		return errInactive()
	}
	return nil
}

func errInactive() error {
	return fault.New(fault.Unauthenticated, "account.inactive", "This account is deactivated. Ask your administrator.")
}

// errRefused is what a bad refresh token comes to, whatever is wrong with it.
func errRefused() error {
	return fault.New(fault.Unauthenticated, "token.refused", "This session has ended. Log in again.")
}

// Refresh exchanges a refresh token for new tokens and spends it. Sent twice within store.RotationGrace it gives the same
// refresh token again; later it counts as stolen, and the session ends.
func (s *Service) Refresh(ctx context.Context, spent string, c Client) (Session, error) {
	t, hash, err := auth.ParseRefresh(spent)
	if err != nil {
		return Session{}, err
	}
	plain, nextHash, err := auth.NextRefresh(spent, s.RefreshKey)
	if err != nil {
		return Session{}, fmt.Errorf("account: %w", err)
	}
	var session Session
	refused := false
	err = s.in(ctx, t, func(tx *store.Tx) error {
		done, err := tx.RefreshTokens().Rotate(hash, store.NextToken{
			TokenHash: nextHash, ExpiresAt: time.Now().Add(s.RefreshTTL), UserAgent: c.Agent, IP: c.IP,
		})
		if err != nil {
			return err
		}
		good := done.Outcome == store.TokenRotated || done.Outcome == store.TokenReplayed
		if !good || !bytes.Equal(done.Successor.TokenHash, nextHash) {
			// Nothing is undone: a family that was revoked just now must stay so.
			refused = true
			return nil
		}
		user, err := tx.Users().Principal(done.Token.UserID)
		if err != nil {
			return err
		}
		if err := active(user); err != nil {
			return err
		}
		session, err = s.session(&user.User, done.Successor.FamilyID, plain)
		return err
	})
	if err == nil && refused {
		err = errRefused()
	}
	return session, err
}

// ChangePassword replaces the caller's password and ends all its other sessions.
func (s *Service) ChangePassword(ctx context.Context, p *rbac.Principal, current, next string) error {
	user, err := s.read(ctx, p.Tenant, p.UserID)
	if err != nil {
		return err
	}
	err = s.Passwords.Verify(ctx, user.User.PasswordHash, current)
	if fault.Is(err, fault.Unauthenticated) {
		// Not 401: the caller's token is good.
		return fault.Wrap(err, fault.Invalid, "password.wrong", "The current password is wrong.")
	}
	if err != nil {
		return err
	}
	hash, err := s.Passwords.Hash(ctx, next)
	if err != nil {
		return err
	}
	return s.in(ctx, p.Tenant, func(tx *store.Tx) error {
		if err := tx.Users().UpdatePassword(p.UserID, hash); err != nil {
			return err
		}
		return tx.RefreshTokens().EndOthers(p.UserID, p.Family, store.EndedByPassword)
	})
}

// Logout ends the session that the caller's token came from.
func (s *Service) Logout(ctx context.Context, p *rbac.Principal) error {
	err := s.in(ctx, p.Tenant, func(tx *store.Tx) error {
		return tx.RefreshTokens().End(p.UserID, p.Family, store.EndedByLogout)
	})
	if fault.Is(err, fault.NotFound) {
		return nil // somebody else was quicker
	}
	return err
}

// Me returns the caller's account.
func (s *Service) Me(ctx context.Context, p *rbac.Principal) (*store.Principal, error) {
	return s.read(ctx, p.Tenant, p.UserID)
}

func (s *Service) read(ctx context.Context, t tenant.ID, id uuid.UUID) (user *store.Principal, err error) {
	err = s.Store.View(ctx, t, func(tx *store.Tx) error {
		user, err = tx.Users().Principal(id)
		return err
	})
	return user, err
}

func (s *Service) in(ctx context.Context, t tenant.ID, fn func(*store.Tx) error) error {
	return s.Store.InTenant(ctx, t, fn)
}
