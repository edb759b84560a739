package account

import (
	"context"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/tarento/copilot/pkg/store"
	"github.com/tarento/copilot/pkg/tenant"
)

// use is that an API key was used.
type use struct {
	tenant tenant.ID
	key    uuid.UUID
	at     time.Time
	ip     string
}

// uses keeps when API keys were last used, beside the requests that use them. Each key's use is kept at most once in
// store.UseKept; when more keys are used than can be kept, some uses are not.
type uses struct {
	queue chan use

	mu     sync.Mutex
	noted  map[uuid.UUID]time.Time
	pruned time.Time
}

// usesMax is how many uses wait to be kept.
const usesMax = 1024

func newUses() *uses { return &uses{queue: make(chan use, usesMax), noted: map[uuid.UUID]time.Time{}} }

// note remembers a use, unless the key's last one is not long ago.
func (u *uses) note(what use, last *time.Time) {
	if last != nil && what.at.Sub(*last) < store.UseKept || !u.due(what) {
		return
	}
	select {
	case u.queue <- what:
	default:
	}
}

func (u *uses) due(what use) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if what.at.Sub(u.pruned) > store.UseKept {
		for key, at := range u.noted {
			if what.at.Sub(at) >= store.UseKept {
				delete(u.noted, key)
			}
		}
		u.pruned = what.at
	}
	if last, ok := u.noted[what.key]; ok && what.at.Sub(last) < store.UseKept {
		return false
	}
	u.noted[what.key] = what.at
	return true
}

// KeepUses writes down when API keys were last used, until ctx ends.
func (s *Service) KeepUses(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case what := <-s.uses.queue:
			err := s.in(ctx, what.tenant, func(tx *store.Tx) error { return tx.APIKeys().Used(what.key, what.at, what.ip) })
			if err != nil && ctx.Err() == nil {
				s.Log.WarnContext(ctx, "use of an API key not kept", "key_id", what.key, "error", err)
			}
		}
	}
}
