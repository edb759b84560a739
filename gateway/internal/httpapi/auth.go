package httpapi

import (
	"context"
	"net/http"

	"github.com/tarento/copilot/gateway/internal/account"
	"github.com/tarento/copilot/gateway/internal/auth"
	"github.com/tarento/copilot/gateway/internal/rbac"
	"github.com/tarento/copilot/pkg/fault"
	"github.com/tarento/copilot/pkg/tenant"
)

// Tokens keep a client logged in.
type Tokens struct {
	AccessToken  string `json:"access_token" doc:"Send it as Authorization: Bearer"`
	RefreshToken string `json:"refresh_token" doc:"Exchange it for new tokens; it is good for one exchange"`
	TokenType    string `json:"token_type" enum:"bearer"`
	ExpiresIn    int    `json:"expires_in" example:"1800" doc:"Seconds until the access token ends"`
}

func showTokens(s account.Session) Tokens {
	return Tokens{
		AccessToken: s.Access, RefreshToken: s.Refresh.Reveal(), TokenType: bearer, ExpiresIn: int(s.ExpiresIn.Seconds()),
	}
}

// LoggedIn is the answer of register and login.
type LoggedIn struct {
	User   Account `json:"user" doc:"Who is logged in"`
	Tokens Tokens  `json:"tokens" doc:"What the next requests need"`
}

type loggedInOutput struct{ Body LoggedIn }

// Registration is a new account: with organization_id in an organization that takes registrations, or with organization_name
// in a new one.
type Registration struct {
	Email            string  `json:"email" format:"email" maxLength:"254" example:"ada@example.com"`
	Username         string  `json:"username" minLength:"3" maxLength:"64" pattern:"^[A-Za-z0-9][A-Za-z0-9._-]*$" patternDescription:"letters, digits, dots, dashes and underscores" example:"ada"`
	Password         string  `json:"password" minLength:"8" maxLength:"72" writeOnly:"true" doc:"At least 8 characters, at most 72 bytes"`
	FullName         string  `json:"full_name,omitempty" maxLength:"200" example:"Ada Lovelace"`
	OrganizationID   *string `json:"organization_id,omitempty" nullable:"true" format:"uuid" doc:"Join this organization, if it takes registrations"`
	OrganizationName *string `json:"organization_name,omitempty" nullable:"true" minLength:"1" maxLength:"200" example:"Analytical Engines" doc:"Found a new organization and become its Admin"`
}

type registerInput struct{ Body Registration }

// Credentials are a name and its password.
type Credentials struct {
	Username string `json:"username,omitempty" maxLength:"254" example:"member@acme.com" doc:"Username or email address"`
	Email    string `json:"email,omitempty" maxLength:"254" doc:"The same; one of the two is needed"`
	Password string `json:"password" minLength:"1" maxLength:"1024" writeOnly:"true"`
}

type loginInput struct{ Body Credentials }

type refreshInput struct {
	Body struct {
		RefreshToken string `json:"refresh_token" minLength:"1" maxLength:"512"`
	} `nameHint:"RefreshRequest"`
}

// Refreshed holds the new tokens, at the top level and under tokens.
type Refreshed struct {
	Tokens

	Nested Tokens `json:"tokens" doc:"The same again, as login answers them"`
}

type refreshedOutput struct{ Body Refreshed }

type changePasswordInput struct {
	Body struct {
		Current string `json:"current_password" minLength:"1" maxLength:"1024" writeOnly:"true"`
		New     string `json:"new_password" minLength:"8" maxLength:"72" writeOnly:"true" doc:"At least 8 characters, at most 72 bytes"`
		Confirm string `json:"confirm_password" minLength:"1" maxLength:"72" writeOnly:"true" doc:"The new password again"`
	} `nameHint:"PasswordChange"`
}

// Notice says that something was done.
type Notice struct {
	Message string `json:"message" example:"Done"`
}

type noticeOutput struct{ Body Notice }

type accountOutput struct{ Body Account }

func (s *Server) authOperations() {
	public(s, operation{
		id: "register", method: http.MethodPost, path: "/auth/register", tag: tagAuth, status: http.StatusCreated,
		summary: "Make an account",
		about:   "In an organization that takes registrations (organization_id), or in a new one (organization_name).",
		errors:  []int{http.StatusForbidden, http.StatusConflict, http.StatusTooManyRequests},
	}, s.register)
	public(s, operation{
		id: "login", method: http.MethodPost, path: "/auth/login", tag: tagAuth, summary: "Log in",
		errors: []int{http.StatusUnauthorized, http.StatusTooManyRequests},
	}, s.login)
	public(s, operation{
		id: "refresh", method: http.MethodPost, path: "/auth/refresh", tag: tagAuth, summary: "Exchange a refresh token for new tokens",
		about:  "A refresh token is good for one exchange; sent again within 30 s it gives the same successor, later it ends the session.",
		errors: []int{http.StatusUnauthorized},
	}, s.refresh)
	secured(s, "", operation{
		id: "change-password", method: http.MethodPost, path: "/auth/change-password", tag: tagAuth, summary: "Change one's password",
		about: "Ends all other sessions at once. API keys stay as they are.", person: true,
	}, s.changePassword)
	secured(s, "", operation{
		id: "get-me", method: http.MethodGet, path: "/auth/me", tag: tagAuth, summary: "Read one's own account",
	}, s.me)
	secured(s, "", operation{
		id: "logout", method: http.MethodPost, path: "/auth/logout", tag: tagAuth, summary: "End the session",
		about: "Its access and refresh tokens are no longer good.", person: true,
	}, s.logout)
}

// authenticate returns who sends these headers. Where both are sent, Authorization counts.
func (s *Server) authenticate(ctx context.Context, authorization, key string) (*rbac.Principal, error) {
	return s.authenticateFrom(ctx, clientOf(ctx), authorization, key)
}

// authenticateFrom is authenticate for a context that is not the request's.
func (s *Server) authenticateFrom(ctx context.Context, from account.Client, authorization, key string) (*rbac.Principal, error) {
	if authorization == "" && key != "" {
		if !auth.IsKey(key) {
			return nil, fault.New(fault.Unauthenticated, "token.invalid", "What %s holds is no API key.", headerAPIKey)
		}
		return s.Accounts.Authenticate(ctx, key, from)
	}
	token, err := bearerToken(authorization)
	if err != nil {
		return nil, err
	}
	return s.Accounts.Authenticate(ctx, token, from)
}

func clientOf(ctx context.Context) account.Client {
	r := requestOf(ctx)
	return account.Client{IP: r.ip, Agent: r.agent}
}

func (s *Server) register(ctx context.Context, in *registerInput) (*loggedInOutput, error) {
	if err := s.Guard.Register(ctx, requestOf(ctx).ip); err != nil {
		return nil, err
	}
	r := account.Registration{
		Email: in.Body.Email, Username: in.Body.Username, Password: in.Body.Password, FullName: in.Body.FullName,
	}
	switch id, name := in.Body.OrganizationID, in.Body.OrganizationName; {
	case (id == nil) == (name == nil):
		return nil, invalid("body", "expected either organization_id or organization_name")
	case id != nil:
		t, err := tenant.Parse(*id)
		if err != nil {
			return nil, invalid("body.organization_id", "expected the id of an organization")
		}
		r.OrganizationID = t
	default:
		r.OrganizationName = *name
	}
	user, session, err := s.Accounts.Register(ctx, r, clientOf(ctx))
	if err != nil {
		return nil, err
	}
	return &loggedInOutput{LoggedIn{showAccount(user), showTokens(session)}}, nil
}

func (s *Server) login(ctx context.Context, in *loginInput) (*loggedInOutput, error) {
	name := in.Body.Username
	if name == "" {
		name = in.Body.Email
	}
	if name == "" {
		return nil, invalid("body.username", "expected a username or an email address")
	}
	if err := s.Guard.Login(ctx, name, requestOf(ctx).ip); err != nil {
		return nil, err
	}
	user, session, err := s.Accounts.Login(ctx, name, in.Body.Password, clientOf(ctx))
	if err != nil {
		return nil, err
	}
	return &loggedInOutput{LoggedIn{showAccount(user), showTokens(session)}}, nil
}

func (s *Server) refresh(ctx context.Context, in *refreshInput) (*refreshedOutput, error) {
	session, err := s.Accounts.Refresh(ctx, in.Body.RefreshToken, clientOf(ctx))
	if err != nil {
		return nil, err
	}
	tokens := showTokens(session)
	return &refreshedOutput{Refreshed{tokens, tokens}}, nil
}

func (s *Server) changePassword(ctx context.Context, p *rbac.Principal, in *changePasswordInput) (*noticeOutput, error) {
	if in.Body.New != in.Body.Confirm {
		return nil, invalid("body.confirm_password", "expected the new password again")
	}
	// Guessing here is as good as at the login.
	if err := s.Guard.Login(ctx, p.UserID.String(), requestOf(ctx).ip); err != nil {
		return nil, err
	}
	if err := s.Accounts.ChangePassword(ctx, p, in.Body.Current, in.Body.New); err != nil {
		return nil, err
	}
	return &noticeOutput{Notice{"The password was changed; all other sessions have ended."}}, nil
}

func (s *Server) me(ctx context.Context, p *rbac.Principal, _ *struct{}) (*accountOutput, error) {
	user, err := s.Accounts.Me(ctx, p)
	if err != nil {
		return nil, err
	}
	return &accountOutput{showAccount(user)}, nil
}

func (s *Server) logout(ctx context.Context, p *rbac.Principal, _ *struct{}) (*noticeOutput, error) {
	if err := s.Accounts.Logout(ctx, p); err != nil {
		return nil, err
	}
	return &noticeOutput{Notice{"Logged out."}}, nil
}
