package seal_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/tarento/copilot/gateway/internal/seal"
	"github.com/tarento/copilot/pkg/secret"
)

func sealer(t *testing.T, keys ...string) *seal.Sealer {
	t.Helper()
	secrets := make([]secret.Text, len(keys))
	for i, key := range keys {
		secrets[i] = secret.New(key)
	}
	s, err := seal.New(secrets...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestOnlyTheRightKeyAndOwnerOpen(t *testing.T) {
	t.Parallel()
	first, second := strings.Repeat("1", 32), strings.Repeat("2", 32)
	value := secret.New("whsec_abc")
	sealed := sealer(t, first).Seal(value, []byte("owner"))
	if bytes.Contains(sealed, []byte("abc")) || bytes.Equal(sealed, sealer(t, first).Seal(value, []byte("owner"))) {
		t.Error("what is sealed tells what it is")
	}
	for name, c := range map[string]struct {
		sealer *seal.Sealer
		sealed []byte
		owner  string
		opens  bool
	}{
		"the key that sealed":          {sealer(t, first), sealed, "owner", true},
		"an earlier key":               {sealer(t, second, "", first), sealed, "owner", true},
		"another key":                  {sealer(t, second), sealed, "owner", false},
		"another row":                  {sealer(t, first), sealed, "another", false},
		"nothing":                      {sealer(t, first), nil, "owner", false},
		"a value of another version":   {sealer(t, first), append([]byte{2}, sealed[1:]...), "owner", false},
		"a value that was cut":         {sealer(t, first), sealed[:len(sealed)-1], "owner", false},
		"a value that is hardly there": {sealer(t, first), sealed[:3], "owner", false},
	} {
		got, err := c.sealer.Open(c.sealed, []byte(c.owner))
		if c.opens && (err != nil || !got.Equal(value)) || !c.opens && !errors.Is(err, seal.ErrUnreadable) {
			t.Errorf("%s: %q, %v", name, got.Reveal(), err)
		}
	}
}

func TestASealerNeedsAKey(t *testing.T) {
	t.Parallel()
	if _, err := seal.New(secret.Text{}); err == nil {
		t.Error("sealed with nothing")
	}
}
