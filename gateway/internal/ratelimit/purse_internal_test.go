package ratelimit

import (
	"strconv"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

func TestPurseRemembersABoundedNumberOfKeys(t *testing.T) {
	t.Parallel()
	client := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1", ContextTimeoutEnabled: true, MaxRetries: -1, DialerRetries: 1})
	t.Cleanup(func() {
		if err := client.Close(); err != nil {
			t.Error(err)
		}
	})
	l, err := New(client, Options{Pause: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	p := NewPurse(l, PurseOptions{Pockets: 8 * shards})
	rule := PerMinute("many", 10, 10)
	for i := range 10_000 {
		if _, err := p.Allow(t.Context(), rule, strconv.Itoa(i)); err != nil {
			t.Fatal(err)
		}
	}
	kept := 0
	for i := range p.shards {
		kept += len(p.shards[i].pockets)
	}
	if kept > 8*shards || kept < 2*shards {
		t.Errorf("%d of 10000 keys are remembered, want a few and at most %d", kept, 8*shards)
	}
}

func TestPocketsInUseAreNotForgotten(t *testing.T) {
	t.Parallel()
	now := time.Unix(100, 0)
	s := shard{pockets: map[pocketKey]*pocket{
		{"r", "asking"}: {drawing: make(chan struct{})},
		{"r", "waited"}: {waiting: 1},
		{"r", "lapsed"}: {lapse: now.Add(-time.Second)},
		{"r", "filled"}: {lapse: now.Add(time.Second), permits: 3},
	}}
	s.clear(now, 3)
	if s.pockets[pocketKey{"r", "lapsed"}] != nil || len(s.pockets) != 3 {
		t.Errorf("with room for three %v are left, want all but the lapsed one", s.pockets)
	}
	s.clear(now, 0)
	if s.pockets[pocketKey{"r", "filled"}] != nil || len(s.pockets) != 2 {
		t.Errorf("without room %v are left, want those in use", s.pockets)
	}
}
