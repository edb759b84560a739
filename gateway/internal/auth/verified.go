package auth

import (
	"sync"
	"time"
)

// verifiedMax bounds how many tokens are remembered; beyond, all are forgotten, which costs one verification each.
const verifiedMax = 10_000

// verified remembers the tokens whose signature and claims were found good, because a client sends the same one with every request
// and reading it costs more than anything else in most of them. A token's meaning cannot change; its end is checked each time.
type verified struct {
	mu    sync.RWMutex
	known map[string]Access
}

func (v *verified) get(token string, now time.Time) (Access, bool) {
	v.mu.RLock()
	defer v.mu.RUnlock()
	a, ok := v.known[token]
	return a, ok && now.Before(a.ExpiresAt)
}

func (v *verified) keep(token string, a Access) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.known == nil || len(v.known) >= verifiedMax {
		v.known = make(map[string]Access)
	}
	v.known[token] = a
}
