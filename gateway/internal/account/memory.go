package account

import (
	"context"
	"sync"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sync/singleflight"

	"github.com/tarento/copilot/pkg/store"
	"github.com/tarento/copilot/pkg/tenant"
)

// memory keeps who was looked up a moment ago, because a client that submits a hundred jobs a second is the same one a hundred
// times. What it remembers is shared and must not be changed. Its ttl bounds how long a change elsewhere can go unnoticed.
type memory struct {
	ttl     time.Duration
	flights singleflight.Group

	mu    sync.Mutex
	known map[identity]remembered
}

type identity struct {
	tenant tenant.ID
	user   uuid.UUID
}

type remembered struct {
	user  *store.Principal
	until time.Time
}

// memoryMax bounds how many are remembered; beyond, all are forgotten, which costs one look-up each.
const memoryMax = 10_000

func newMemory(ttl time.Duration) *memory {
	return &memory{ttl: ttl, known: map[identity]remembered{}}
}

// get returns what is remembered, or asks; callers who ask for the same at once share one answer.
func (m *memory) get(ctx context.Context, id identity, ask func(context.Context) (*store.Principal, error)) (*store.Principal, error) {
	if m.ttl <= 0 {
		return ask(ctx)
	}
	m.mu.Lock()
	hit, ok := m.known[id]
	m.mu.Unlock()
	// The age counts from before the record was read.
	now := time.Now()
	if ok && now.Before(hit.until) {
		return hit.user, nil
	}
	flight := m.flights.DoChan(id.tenant.String()+id.user.String(), func() (any, error) {
		// It is everybody's who waits, so it does not end with the first caller.
		user, err := ask(context.WithoutCancel(ctx))
		if err == nil {
			m.keep(id, remembered{user, now.Add(m.ttl)})
		}
		return user, err
	})
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case answer := <-flight:
		user, _ := answer.Val.(*store.Principal)
		return user, answer.Err
	}
}

func (m *memory) keep(id identity, r remembered) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.known) >= memoryMax {
		clear(m.known)
	}
	m.known[id] = r
}
