package app_test

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tarento/copilot/gateway/internal/app"
	"github.com/tarento/copilot/gateway/internal/auth/authtest"
	"github.com/tarento/copilot/pkg/config"
)

func TestTokenKeysThatDoNotFitAreNamed(t *testing.T) {
	t.Parallel()
	private, public := authtest.Pair(t)
	file := filepath.Join(t.TempDir(), "key.pem")
	if err := os.WriteFile(file, []byte(private), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		settings []string
		says     string
	}{
		"an unknown algorithm":          {[]string{"JWT_ALGORITHM", "none"}, "JWT_ALGORITHM must be HS256 or EdDSA"},
		"EdDSA without a key":           {[]string{"JWT_ALGORITHM", "EdDSA"}, "JWT_PRIVATE_KEY is not set, but JWT_ALGORITHM is EdDSA"},
		"a key that nothing would use":  {[]string{"JWT_PRIVATE_KEY", private}, "JWT_PRIVATE_KEY is set, but JWT_ALGORITHM is HS256"},
		"the public half to sign with":  {[]string{"JWT_ALGORITHM", "EdDSA", "JWT_PRIVATE_KEY", public}, "JWT_PRIVATE_KEY cannot be used"},
		"an unreadable key":             {[]string{"JWT_ALGORITHM", "EdDSA", "JWT_PRIVATE_KEY", "key.pem"}, "the text is not PEM"},
		"a key as text and as a file":   {[]string{"JWT_ALGORITHM", "EdDSA", "JWT_PRIVATE_KEY", private, "JWT_PRIVATE_KEY_FILE", file}, "set one of them"},
		"a file that is not there":      {[]string{"JWT_ALGORITHM", "EdDSA", "JWT_PRIVATE_KEY_FILE", file + ".old"}, "JWT_PRIVATE_KEY cannot be read"},
		"the private half as the other": {[]string{"JWT_PREVIOUS_PUBLIC_KEY", private}, "JWT_PREVIOUS_PUBLIC_KEY cannot be used"},
		"a key before itself": {
			[]string{"JWT_ALGORITHM", "EdDSA", "JWT_PRIVATE_KEY_FILE", file, "JWT_PREVIOUS_PUBLIC_KEY", public},
			"JWT_PREVIOUS_PUBLIC_KEY belongs to the key that signs now",
		},
		"a secret before itself": {[]string{"JWT_PREVIOUS_SECRET", strings.Repeat("s", 32)}, "JWT_PREVIOUS_SECRET is the secret that signs now"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := app.Run(t.Context(), nil, environ(c.settings...), app.Streams{Out: io.Discard, Err: io.Discard})
			if _, ok := errors.AsType[*config.Error](err); !ok || !strings.Contains(err.Error(), c.says) {
				t.Errorf("%v, want %q", err, c.says)
			}
			if err != nil && strings.Contains(err.Error(), strings.Split(private, "\n")[1]) {
				t.Errorf("the error holds the key: %v", err)
			}
		})
	}
}

func TestTokenKeysThatFit(t *testing.T) {
	t.Parallel()
	private, public := authtest.Pair(t)
	_, other := authtest.Pair(t)
	file := filepath.Join(t.TempDir(), "key.pem")
	if err := os.WriteFile(file, []byte(private), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, settings := range map[string][]string{
		"a secret":                     {},
		"a secret before which was":    {"JWT_PREVIOUS_SECRET", strings.Repeat("t", 32)},
		"a secret, and a key to come":  {"JWT_PREVIOUS_PUBLIC_KEY", public},
		"a key on one line":            {"JWT_ALGORITHM", "EdDSA", "JWT_PRIVATE_KEY", strings.ReplaceAll(private, "\n", `\n`)},
		"a key in a file, and another": {"JWT_ALGORITHM", "EdDSA", "JWT_PRIVATE_KEY_FILE", file, "JWT_PREVIOUS_PUBLIC_KEY", other},
		"a key, and the secret that signed before": {
			"JWT_ALGORITHM", "EdDSA", "JWT_PRIVATE_KEY", private, "JWT_PREVIOUS_SECRET", strings.Repeat("s", 32),
		},
	} {
		var cfg app.Config
		if err := config.Load(&cfg, environ(settings...)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
