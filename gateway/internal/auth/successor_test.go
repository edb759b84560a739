package auth_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/tarento/copilot/gateway/internal/auth"
	"github.com/tarento/copilot/pkg/fault"
	"github.com/tarento/copilot/pkg/secret"
	"github.com/tarento/copilot/pkg/tenant"
)

func TestSuccessorOfARefreshTokenIsOneAndNobodysGuess(t *testing.T) {
	t.Parallel()
	org := tenant.FromUUID(uuid.New())
	spent, spentHash, err := auth.NewRefresh(org)
	if err != nil {
		t.Fatal(err)
	}
	next := func(spent string, key secret.Text) (string, []byte) {
		t.Helper()
		plain, hash, err := auth.NextRefresh(spent, key)
		if err != nil {
			t.Fatal(err)
		}
		return plain.Reveal(), hash
	}
	key, other := secret.New(strings.Repeat("k", 32)), secret.New(strings.Repeat("o", 32))
	first, hash := next(spent.Reveal(), key)
	again, sameHash := next(spent.Reveal(), key)
	if first != again || !bytes.Equal(hash, sameHash) {
		t.Error("the same token has two successors")
	}
	if elsewhere, _ := next(spent.Reveal(), other); elsewhere == first {
		t.Error("the successor does not depend on the key")
	}
	if second, _ := next(first, key); second == first || second == spent.Reveal() {
		t.Error("the chain runs in a circle")
	}
	parsedOrg, parsedHash, err := auth.ParseRefresh(first)
	if err != nil || parsedOrg != org || !bytes.Equal(parsedHash, hash) || bytes.Equal(parsedHash, spentHash) {
		t.Errorf("the successor reads as %v, %x, %v", parsedOrg, parsedHash, err)
	}
}

func TestSuccessorNeedsATokenAndAKey(t *testing.T) {
	t.Parallel()
	spent, _, err := auth.NewRefresh(tenant.FromUUID(uuid.New()))
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := auth.NextRefresh("rt_garbage", secret.New(strings.Repeat("k", 32))); !fault.Is(err, fault.Unauthenticated) {
		t.Errorf("of garbage: %v", err)
	}
	if _, _, err := auth.NextRefresh(spent.Reveal(), secret.New("short")); err == nil {
		t.Error("a short key was taken")
	}
}
