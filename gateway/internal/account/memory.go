package account

import (
	"context"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/tarento/copilot/pkg/tenant"
)

// credentialID tells a session or an API key from all others: the ids of session and user, or the hash of the key.
type credentialID [32]byte

// memory keeps what was looked up a moment ago, because a client that submits a hundred jobs a second is the same one a hundred
// times. What it remembers is shared and must not be changed. Its ttl bounds how long a change that nobody told can go unnoticed.
type memory struct {
	ttl time.Duration

	mu    sync.Mutex
	rooms map[tenant.ID]*room
	size  int
}

// room is what is remembered of a tenant until somebody of it may do more or less. Then the whole room goes, with the look-ups that
// are under way in it: what they find is of before the change, and only who waits already gets it.
type room struct {
	flights singleflight.Group
	// gone is closed with the room.
	gone chan struct{}

	known map[credentialID]remembered // guarded by the memory
}

type remembered struct {
	*standing

	until time.Time
}

const (
	// memoryMax bounds how much is remembered; beyond, all is forgotten, which costs one look-up each.
	memoryMax = 10_000
	// lookupWithin bounds a look-up that several wait for.
	lookupWithin = 10 * time.Second
)

func newMemory(ttl time.Duration) *memory {
	return &memory{ttl: ttl, rooms: map[tenant.ID]*room{}}
}

// get returns what is remembered, or asks; callers who ask for the same at once share one answer. It says whether it remembered.
func (m *memory) get(
	ctx context.Context, t tenant.ID, id credentialID, ask func(context.Context) (*standing, error),
) (*standing, bool, error) {
	if m.ttl <= 0 {
		s, err := ask(ctx)
		return s, false, err
	}
	// The age counts from before the record is read.
	now := time.Now()
	r, hit := m.look(t, id)
	if hit.standing != nil && now.Before(hit.until) {
		return hit.standing, true, nil
	}
	flight := r.flights.DoChan(string(id[:]), func() (any, error) {
		// It is everybody's who waits, so it does not end with the first caller.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lookupWithin)
		defer cancel()
		s, err := ask(ctx)
		if err == nil {
			m.keep(r, id, remembered{s, now.Add(m.ttl)})
		}
		return s, err
	})
	select {
	case <-ctx.Done():
		return nil, false, ctx.Err()
	case answer := <-flight:
		s, _ := answer.Val.(*standing)
		return s, false, answer.Err
	}
}

func (m *memory) look(t tenant.ID, id credentialID) (*room, remembered) {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := m.room(t)
	return r, r.known[id]
}

// room returns the tenant's room, a new one where there is none. The caller holds the lock.
func (m *memory) room(t tenant.ID) *room {
	r, ok := m.rooms[t]
	if !ok {
		m.grow()
		r = &room{gone: make(chan struct{}), known: map[credentialID]remembered{}}
		m.rooms[t] = r
	}
	return r
}

func (m *memory) keep(r *room, id credentialID, what remembered) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, known := r.known[id]; !known {
		m.grow()
	}
	select {
	case <-r.gone:
	default:
		r.known[id] = what
	}
}

// grow makes space for one more.
func (m *memory) grow() {
	if m.size >= memoryMax {
		for t, r := range m.rooms {
			m.clear(t, r)
		}
		m.size = 0
	}
	m.size++
}

// forget drops all that is remembered of a tenant.
func (m *memory) forget(t tenant.ID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if r, ok := m.rooms[t]; ok {
		m.size = max(0, m.size-len(r.known)-1)
		m.clear(t, r)
	}
}

func (m *memory) clear(t tenant.ID, r *room) {
	delete(m.rooms, t)
	close(r.gone)
}

// changed returns a channel that is closed when what is remembered of a tenant is forgotten.
func (m *memory) changed(t tenant.ID) <-chan struct{} {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.room(t).gone
}
