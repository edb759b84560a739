package account

import (
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/tarento/copilot/pkg/store"
)

func TestTheUseOfAKeyIsKeptOnceAMinute(t *testing.T) {
	t.Parallel()
	u, key, start := newUses(), uuid.New(), time.Now()
	note := func(key uuid.UUID, after time.Duration, last *time.Time) {
		u.note(use{newTenant(), key, start.Add(after), "192.0.2.1"}, last)
	}
	waiting := func(want int) {
		t.Helper()
		if len(u.queue) != want {
			t.Errorf("%d uses wait to be kept, want %d", len(u.queue), want)
		}
	}
	note(key, 0, nil)
	note(key, store.UseKept-1, nil)
	waiting(1)
	// Another gateway has kept it already.
	note(uuid.New(), 0, &start)
	waiting(1)
	note(key, store.UseKept+1, &start)
	note(uuid.New(), 0, nil)
	waiting(3)
	if len(u.noted) > 2 {
		t.Errorf("%d keys are remembered, want those of the last minute", len(u.noted))
	}
	for range 2 * usesMax {
		note(uuid.New(), 0, nil)
	}
	waiting(usesMax)
}
