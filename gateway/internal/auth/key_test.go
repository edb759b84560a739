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

func TestAPIKeyIsReadBackAndKnownByItsBeginning(t *testing.T) {
	t.Parallel()
	owner := tenant.FromUUID(uuid.New())
	key, prefix, hash, err := auth.NewKey(owner)
	if err != nil {
		t.Fatal(err)
	}
	plain := key.Reveal()
	if !auth.IsKey(plain) || len(plain) != 73 || len(prefix) != 11 || !strings.HasPrefix(plain, prefix) || len(hash) != 32 {
		t.Errorf("key of %d letters, prefix %q, hash of %d bytes", len(plain), prefix, len(hash))
	}
	got, found, err := auth.ParseKey(plain)
	if err != nil || got != owner || !bytes.Equal(found, hash) {
		t.Errorf("ParseKey = %v, %x, %v; want %v, %x", got, found, err, owner, hash)
	}
	// Two keys of one tenant differ in what people see of them.
	if _, other, otherHash, _ := auth.NewKey(owner); other == prefix || bytes.Equal(otherHash, hash) {
		t.Error("two keys look the same")
	}
	if _, _, _, err := auth.NewKey(tenant.ID{}); !errors.Is(err, tenant.ErrNone) {
		t.Errorf("a key of no tenant: %v", err)
	}
}

func TestGarbledAPIKeyIsRefusedWithoutAQuery(t *testing.T) {
	t.Parallel()
	key, _, _, err := auth.NewKey(tenant.FromUUID(uuid.New()))
	if err != nil {
		t.Fatal(err)
	}
	plain := key.Reveal()
	refresh, _ := newRefresh(t, tenant.FromUUID(uuid.New()))
	for name, text := range map[string]string{
		"empty": "", "only a prefix": "ck_", "cut": plain[:len(plain)-1], "a letter swapped": plain[:9] + swapped(plain[9]) + plain[10:],
		"a refresh token": refresh, "a refresh token under another name": "ck_" + refresh[3:],
	} {
		_, hash, err := auth.ParseKey(text)
		if f := fault.Of(err); f == nil || f.Kind != fault.Unauthenticated || f.Code != "token.invalid" || hash != nil {
			t.Errorf("%s: %x, %v", name, hash, err)
		}
	}
	if _, _, err := auth.ParseRefresh("rt_" + plain[3:]); err == nil {
		t.Error("an API key is a refresh token under another name")
	}
}

func swapped(letter byte) string {
	if letter == 'A' {
		return "B"
	}
	return "A"
}
