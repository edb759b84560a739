package auth_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/crypto/bcrypt"

	"github.com/tarento/copilot/gateway/internal/auth"
	"github.com/tarento/copilot/pkg/fault"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const correct = "SecurePassword123!"

// cheap makes passwords that cost next to nothing.
func cheap(t *testing.T) *auth.Passwords {
	t.Helper()
	return passwords(t, auth.PasswordOptions{Cost: bcrypt.MinCost, Queue: 1000})
}

func passwords(t *testing.T, opts auth.PasswordOptions) *auth.Passwords {
	t.Helper()
	p, err := auth.NewPasswords(opts)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestPasswordIsVerifiedAgainstItsHash(t *testing.T) {
	t.Parallel()
	p := cheap(t)
	full := strings.Repeat("ä", 36) // 72 bytes
	cases := []struct {
		name          string
		hashed, given string
		wantCode      string
	}{
		{name: "the right password is accepted", hashed: correct, given: correct},
		{name: "72 bytes are accepted", hashed: full, given: full},
		{name: "eight characters outside ASCII are accepted", hashed: "ääääääää", given: "ääääääää"},
		{name: "a wrong password is refused", hashed: correct, given: correct + "x", wantCode: "credentials.wrong"},
		{name: "an empty password is wrong, not invalid", hashed: correct, given: "", wantCode: "credentials.wrong"},
		{name: "a short password is wrong, not invalid", hashed: correct, given: "x", wantCode: "credentials.wrong"},
		{name: "73 bytes that share 72 with the right one are refused", hashed: full, given: full + "x", wantCode: "password.too-long"},
		{
			name:   "a NUL is refused, bcrypt would take it for a repetition",
			hashed: "aaaaaaaa", given: "aaaaaaaa\x00aaaaaaaa", wantCode: "password.unusable",
		},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			hash, err := p.Hash(t.Context(), c.hashed)
			if err != nil {
				t.Fatal(err)
			}
			err = p.Verify(t.Context(), hash, c.given)
			if c.wantCode == "" {
				if err != nil {
					t.Fatalf("Verify = %v", err)
				}
				return
			}
			if got := fault.Of(err); got == nil || got.Code != c.wantCode {
				t.Errorf("Verify = %v, want %s", err, c.wantCode)
			}
		})
	}
}

func TestNewPasswordsAreBounded(t *testing.T) {
	t.Parallel()
	p := cheap(t)
	for name, c := range map[string]struct{ password, code string }{
		"seven characters":              {"1234567", "password.too-short"},
		"seven characters, many bytes":  {"äöüäöüä", "password.too-short"},
		"73 bytes":                      {strings.Repeat("a", 73), "password.too-long"},
		"a NUL in the middle":           {"aaaa\x00aaaa", "password.unusable"},
		"two megabytes are not touched": {strings.Repeat("a", 2<<20), "password.too-long"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := p.Hash(t.Context(), c.password)
			if got := fault.Of(err); got == nil || got.Kind != fault.Invalid || got.Code != c.code {
				t.Errorf("Hash = %v, want %s", err, c.code)
			}
			if err != nil && strings.Contains(err.Error(), c.password) {
				t.Error("the error repeats the password")
			}
		})
	}
}

func TestUnknownUserGetsTheAnswerOfAWrongPassword(t *testing.T) {
	t.Parallel()
	p := cheap(t)
	hash, err := p.Hash(t.Context(), correct)
	if err != nil {
		t.Fatal(err)
	}
	for name, given := range map[string]string{"short": "x", "usual": "not the password", "too long": strings.Repeat("x", 80)} {
		wrong := fault.Of(p.Verify(t.Context(), hash, given))
		unknown := fault.Of(p.DummyVerify(t.Context(), given))
		unset := fault.Of(p.Verify(t.Context(), "", given))
		if *wrong != *unknown || *wrong != *unset {
			t.Errorf("%s: wrong password %v, unknown user %v, user without password %v", name, wrong, unknown, unset)
		}
	}
}

func TestUnknownUserTakesTheTimeOfAWrongPassword(t *testing.T) {
	t.Parallel()
	const cost = 5 // long enough to be measured, short enough to be done before something more important comes
	p := passwords(t, auth.PasswordOptions{Cost: cost, Parallel: 1})
	hash, err := p.Hash(t.Context(), correct)
	if err != nil {
		t.Fatal(err)
	}
	// The fastest of many is the work itself; everything above it is the machine, whose load both meet by turns.
	wrong, unknown := time.Hour, time.Hour
	measure := func(fastest *time.Duration, f func() error) {
		start := time.Now()
		if f() == nil {
			t.Error("a wrong password was accepted")
		}
		*fastest = min(*fastest, time.Since(start))
	}
	for range 15 {
		measure(&wrong, func() error { return p.Verify(t.Context(), hash, "not the password") })
		measure(&unknown, func() error { return p.DummyVerify(t.Context(), "not the password") })
	}
	if unknown < wrong/2 || unknown > wrong*2 {
		t.Errorf("an unknown user takes %v, a wrong password %v", unknown, wrong)
	}
}

func TestBrokenHashIsOurFault(t *testing.T) {
	t.Parallel()
	err := cheap(t).Verify(t.Context(), "no hash", correct)
	if got := fault.Of(err); got == nil || got.Kind != fault.Internal {
		t.Errorf("Verify = %v", err)
	}
}

func TestNeedsRehashWhenTheCostChanged(t *testing.T) {
	t.Parallel()
	hash, err := cheap(t).Hash(t.Context(), correct)
	if err != nil {
		t.Fatal(err)
	}
	dearer := passwords(t, auth.PasswordOptions{Cost: bcrypt.MinCost + 1})
	if cheap(t).NeedsRehash(hash) || !dearer.NeedsRehash(hash) || !dearer.NeedsRehash("no hash") {
		t.Error("NeedsRehash does not follow the cost")
	}
	if err := dearer.Verify(t.Context(), hash, correct); err != nil {
		t.Errorf("a hash of another cost does not verify: %v", err)
	}
}

func TestImpossibleCostIsRefused(t *testing.T) {
	t.Parallel()
	if _, err := auth.NewPasswords(auth.PasswordOptions{Cost: 32}); err == nil {
		t.Error("a cost of 32 was accepted")
	}
}

func TestFloodIsServedOrToldToComeBack(t *testing.T) {
	t.Parallel()
	const parallel, queue, callers = 2, 3, 40
	p := passwords(t, auth.PasswordOptions{Cost: 6, Parallel: parallel, Queue: queue})
	hash, err := p.Hash(t.Context(), correct)
	if err != nil {
		t.Fatal(err)
	}
	var served, refused atomic.Int64
	var all sync.WaitGroup
	start := make(chan struct{})
	for range callers {
		all.Go(func() {
			<-start
			err := p.Verify(t.Context(), hash, correct)
			switch f := fault.Of(err); {
			case err == nil:
				served.Add(1)
			case f.Kind == fault.Unavailable && f.Code == "auth.busy" && f.RetryAfter >= time.Second:
				refused.Add(1)
			default:
				t.Errorf("Verify = %v", err)
			}
		})
	}
	close(start)
	all.Wait()
	if served.Load() < parallel+queue || served.Load()+refused.Load() != callers {
		t.Errorf("%d served, %d refused of %d", served.Load(), refused.Load(), callers)
	}
	if err := p.Verify(t.Context(), hash, correct); err != nil {
		t.Errorf("after the flood: %v", err)
	}
}

func TestAnEndedContextHashesNothing(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := cheap(t).DummyVerify(ctx, correct); !errors.Is(err, context.Canceled) {
		t.Errorf("DummyVerify = %v", err)
	}
}
