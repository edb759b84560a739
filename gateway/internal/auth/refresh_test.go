package auth_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/tarento/copilot/gateway/internal/auth"
	"github.com/tarento/copilot/pkg/fault"
	"github.com/tarento/copilot/pkg/tenant"
)

func newRefresh(t *testing.T, owner tenant.ID) (plain string, hash []byte) {
	t.Helper()
	token, hash, err := auth.NewRefresh(owner)
	if err != nil {
		t.Fatal(err)
	}
	return token.Reveal(), hash
}

func TestRefreshTokenIsReadBack(t *testing.T) {
	t.Parallel()
	owner := tenant.FromUUID(uuid.New())
	plain, hash := newRefresh(t, owner)
	if !strings.HasPrefix(plain, "rt_") || len(plain) != 73 || len(hash) != 32 {
		t.Errorf("token of %d letters, hash of %d bytes", len(plain), len(hash))
	}
	got, found, err := auth.ParseRefresh(plain)
	if err != nil || got != owner || !bytes.Equal(found, hash) {
		t.Errorf("ParseRefresh = %v, %x, %v; want %v, %x", got, found, err, owner, hash)
	}
	other, otherHash := newRefresh(t, owner)
	if other == plain || bytes.Equal(otherHash, hash) {
		t.Error("two tokens are the same")
	}
}

func TestGarbledRefreshTokenIsRefusedWithoutAQuery(t *testing.T) {
	t.Parallel()
	plain, _ := newRefresh(t, tenant.FromUUID(uuid.New()))
	cases := map[string]string{
		"empty": "", "only a prefix": "rt_", "without a prefix": plain[3:], "another prefix": "at_" + plain[3:],
		"cut":        plain[:len(plain)-1],
		"lengthened": plain + "A", "with a line break": plain[:20] + "\n" + plain[21:], "with a space before": " " + plain,
		"an access token": "eyJhbGciOiJIUzI1NiJ9.e30.x", "padded": plain[:len(plain)-1] + "=",
	}
	for i := 3; i < len(plain); i += 7 {
		letter := byte('A')
		if plain[i] == letter {
			letter = 'B'
		}
		cases["with another letter at "+string(rune('a'+i/7))] = plain[:i] + string(letter) + plain[i+1:]
	}
	for name, token := range cases {
		owner, hash, err := auth.ParseRefresh(token)
		f := fault.Of(err)
		if f == nil || f.Kind != fault.Unauthenticated || f.Code != "token.invalid" || hash != nil || !owner.IsZero() {
			t.Errorf("%s: ParseRefresh = %v, %x, %v", name, owner, hash, err)
		}
	}
}

func TestRefreshTokenNeedsATenant(t *testing.T) {
	t.Parallel()
	if _, _, err := auth.NewRefresh(tenant.ID{}); !errors.Is(err, tenant.ErrNone) {
		t.Errorf("NewRefresh = %v", err)
	}
}

func FuzzParseRefresh(f *testing.F) {
	plain, _, err := auth.NewRefresh(tenant.FromUUID(uuid.New()))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(plain.Reveal())
	f.Add("rt_")
	f.Fuzz(func(t *testing.T, token string) {
		owner, hash, err := auth.ParseRefresh(token)
		if (err == nil) == owner.IsZero() || (err == nil) != (len(hash) == 32) {
			t.Errorf("ParseRefresh(%q) = %v, %x, %v", token, owner, hash, err)
		}
	})
}
