package client

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"time"
)

// session holds the tokens of who is logged in.
type session struct {
	// renewing has room for one: whoever exchanges the refresh token.
	renewing chan struct{}

	// told is called with new tokens.
	told func(Tokens)

	mu      sync.Mutex
	tokens  Tokens
	expires time.Time // of the access token; zero when that is not known
}

// early is how long before its end an access token counts as expired, so that it does not expire on the way.
const early = 5 * time.Second

// tokenExpired is the code of the one refusal that new tokens help against.
const tokenExpired = "token.expired"

// keep takes tokens that the server has just given.
func (s *session) keep(t Tokens) {
	s.mu.Lock()
	s.tokens, s.expires = t, time.Time{}
	if t.ExpiresIn > 0 {
		s.expires = time.Now().Add(time.Duration(t.ExpiresIn) * time.Second)
	}
	s.mu.Unlock()
	if s.told != nil {
		s.told(t)
	}
}

// resume takes tokens that somebody has kept for an unknown time.
func (s *session) resume(t Tokens) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tokens, s.expires = t, time.Time{}
}

// current returns the tokens, and whether the access token has expired as far as that is known.
func (s *session) current() (t Tokens, expired bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.tokens, !s.expires.IsZero() && time.Until(s.expires) < early
}

// Login logs in by username or email address. Later calls carry the access token, which is renewed as long as the session lasts.
func (c *Client) Login(ctx context.Context, in Credentials, options ...CallOption) (*LoggedIn, error) {
	out, err := c.login(ctx, in, options...)
	if err == nil {
		c.session.keep(out.Tokens)
	}
	return out, err
}

// Register makes an account and logs in with it, as [Client.Login] does.
func (c *Client) Register(ctx context.Context, in Registration, options ...CallOption) (*LoggedIn, error) {
	out, err := c.register(ctx, in, options...)
	if err == nil {
		c.session.keep(out.Tokens)
	}
	return out, err
}

// Refresh renews the tokens now. Calls do so by themselves when the access token has expired.
func (c *Client) Refresh(ctx context.Context) error {
	t, _ := c.session.current()
	_, err := c.renew(ctx, t.AccessToken)
	return err
}

// Logout ends the session at the server and forgets its tokens.
func (c *Client) Logout(ctx context.Context, options ...CallOption) error {
	_, err := c.logout(ctx, options...)
	if err == nil {
		c.session.keep(Tokens{})
	}
	return err
}

// Tokens returns the tokens of the session, for a program that wants to go on with it later ([WithTokens]); the zero value before
// a login. They are secrets. [OnTokens] tells of new ones.
func (c *Client) Tokens() Tokens {
	t, _ := c.session.current()
	return t
}

// errNoSession means that there is nothing to renew.
var errNoSession = errors.New("client: there is no session to renew; log in")

// renew exchanges the refresh token, unless the access token is no longer the one that was used: then another call has done so.
// Calls that come meanwhile wait for the one that does it.
func (c *Client) renew(ctx context.Context, used string) (access string, err error) {
	select {
	case c.session.renewing <- struct{}{}:
		defer func() { <-c.session.renewing }()
	case <-ctx.Done():
		return "", context.Cause(ctx)
	}
	t, _ := c.session.current()
	if t.AccessToken != used {
		return t.AccessToken, nil
	}
	if t.RefreshToken == "" {
		return "", errNoSession
	}
	// The server answers a refresh token twice within seconds with the same successor, for answers that got lost.
	out, err := c.refresh(ctx, RefreshRequest{RefreshToken: t.RefreshToken}, repeatable())
	if err != nil {
		return "", err
	}
	c.session.keep(Tokens{
		AccessToken: out.AccessToken, RefreshToken: out.RefreshToken, TokenType: out.TokenType, ExpiresIn: out.ExpiresIn,
	})
	return out.AccessToken, nil
}

// authorize puts the credentials on a request and returns the access token that it used.
func (c *Client) authorize(ctx context.Context, h http.Header) (used string, err error) {
	if c.apiKey != "" {
		h.Set("Authorization", "Bearer "+c.apiKey)
		return "", nil
	}
	t, expired := c.session.current()
	used = t.AccessToken
	if expired && t.RefreshToken != "" {
		if used, err = c.renew(ctx, used); err != nil {
			return "", err
		}
	}
	if used != "" {
		h.Set("Authorization", "Bearer "+used)
	}
	return used, nil
}
