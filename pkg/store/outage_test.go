package store_test

import (
	"io"
	"net"
	"net/url"
	"sync"
	"testing"

	"github.com/tarento/copilot/events"
	"github.com/tarento/copilot/pkg/fault"
	"github.com/tarento/copilot/pkg/store"
	"github.com/tarento/copilot/pkg/storetest"
)

// wire stands between a store and its database, and can be cut.
type wire struct {
	listener net.Listener
	pumps    sync.WaitGroup

	mu   sync.Mutex
	open []net.Conn
}

// layWire returns a wire to the database and the address of its near end.
func layWire(t *testing.T, address string) (w *wire, near string) {
	t.Helper()
	far, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	var lc net.ListenConfig
	l, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w = &wire{listener: l}
	to := far.Host
	w.pumps.Go(func() {
		for {
			a, err := l.Accept()
			if err != nil {
				return
			}
			var d net.Dialer
			b, err := d.DialContext(t.Context(), "tcp", to)
			if err != nil {
				_ = a.Close()
				return
			}
			w.mu.Lock()
			w.open = append(w.open, a, b)
			w.mu.Unlock()
			w.pump(a, b)
			w.pump(b, a)
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		w.cut()
		w.pumps.Wait()
	})
	far.Host = l.Addr().String()
	return w, far.String()
}

func (w *wire) pump(to, from net.Conn) {
	w.pumps.Go(func() {
		_, _ = io.Copy(to, from)
		_ = to.Close()
	})
}

// cut breaks every connection without a word.
func (w *wire) cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.open {
		_ = c.Close()
	}
	w.open = nil
}

func TestAConnectionThatBreaksOffMeansUnavailable(t *testing.T) {
	t.Parallel()
	db := storetest.NewSeeded(t)
	w, near := layWire(t, db.AppURL)
	s, err := store.Open(t.Context(), store.Config{URL: near})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	submit := func(tx *store.Tx) error {
		_, err := tx.Jobs().Submit(store.NewJob{Kind: events.KindEmbeddingCreate, Input: struct{}{}})
		return err
	}
	for name, work := range map[string]func(*store.Tx) error{
		"in a statement": func(tx *store.Tx) error {
			w.cut()
			return submit(tx)
		},
		"in the commit": func(tx *store.Tx) error {
			err := submit(tx)
			w.cut()
			return err
		},
	} {
		// One after the other: a cut is felt by all.
		if err := s.InTenant(t.Context(), parse(t, acmeID), work); !fault.Is(err, fault.Unavailable) {
			t.Errorf("%s: got %v, want unavailable", name, err)
		}
		if err := s.InTenant(t.Context(), parse(t, acmeID), submit); err != nil {
			t.Errorf("%s: the next transaction failed too: %v", name, err)
		}
	}
}
