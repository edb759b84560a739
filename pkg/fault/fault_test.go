package fault_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/tarento/copilot/pkg/fault"
)

func TestOfNeverShowsWhatWasNotMeantForTheCaller(t *testing.T) {
	t.Parallel()
	secret := errors.New("password is swordfish")
	away := fault.Wrap(secret, fault.Unavailable, "x.away", "It is away.").After(time.Second)
	tests := map[string]struct {
		err  error
		kind fault.Kind
		code string
	}{
		"an unknown error is internal":                  {secret, fault.Internal, "internal"},
		"a fault keeps its kind through wrapping":       {fmt.Errorf("while asking: %w", away), fault.Unavailable, "x.away"},
		"the first fault of a chain counts":             {fault.Wrap(away, fault.Conflict, "y", "No."), fault.Conflict, "y"},
		"a deadline is a timeout":                       {fmt.Errorf("ask: %w", context.DeadlineExceeded), fault.Timeout, "timeout"},
		"one of several joined errors may be the fault": {errors.Join(secret, away), fault.Unavailable, "x.away"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := fault.Of(test.err)
			if f.Kind != test.kind || f.Code != test.code || strings.Contains(f.Message, "swordfish") {
				t.Errorf("got %s %s: %s", f.Kind, f.Code, f.Message)
			}
			if !errors.Is(f, test.err) && !errors.Is(test.err, f) {
				t.Error("the cause is lost to the log")
			}
		})
	}
	if fault.Of(nil) != nil {
		t.Error("no error became a fault")
	}
	if away.RetryAfter != time.Second || !strings.Contains(away.Error(), "swordfish") {
		t.Errorf("got %v after %v", away, away.RetryAfter)
	}
}

func TestEveryKindIsKnownByItsName(t *testing.T) {
	t.Parallel()
	retryable := 0
	for kind := fault.Internal; kind <= fault.Upstream; kind++ {
		if fault.KindOf(kind.String()) != kind {
			t.Errorf("kind %d is %q, which names %s", kind, kind, fault.KindOf(kind.String()))
		}
		if kind.Retryable() {
			retryable++
		}
	}
	if retryable != 5 {
		t.Errorf("%d kinds may pass by themselves, want 5", retryable)
	}
	if fault.KindOf("no such kind") != fault.Internal || fault.Kind(-1).String() != "internal" || fault.Kind(99).String() != "internal" {
		t.Error("an unknown kind is not internal")
	}
}
