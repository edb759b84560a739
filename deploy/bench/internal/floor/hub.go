package floor

import (
	"fmt"
	"net/http"
	"sync"

	"github.com/nats-io/nats.go"

	"github.com/tarento/copilot/events"
)

// The paths below which streams of server-sent events are, each by a job's id. The hub has one subscription to the broker and finds
// the followers of a message; the relay has a subscription for each follower.
const (
	PathHub   = "/hub/"
	PathRelay = "/relay/"
)

// Live is where whatever a job's followers are to see is published.
func (c Config) Live(job string) string { return c.Namespace + ".floor.live." + job }

// follower is the end of one stream; what does not fit is lost.
type follower chan []byte

// followerRoom is how many messages may wait for a client, as many as in the system.
const followerRoom = 128

func (f follower) take(m *nats.Msg) {
	select {
	case f <- m.Data:
	default:
	}
}

// hub finds the followers of a message. The zero hub is ready.
type hub struct {
	mu        sync.RWMutex
	followers map[string]map[*follower]struct{} // by the subject
}

// deliver gives a message to all who follow.
func (h *hub) deliver(m *nats.Msg) {
	h.mu.RLock()
	defer h.mu.RUnlock()
	for f := range h.followers[m.Subject] {
		f.take(m)
	}
}

// follow adds a follower; leave takes it away again.
func (h *hub) follow(subject string, f *follower) (leave func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.followers == nil {
		h.followers = map[string]map[*follower]struct{}{}
	}
	if h.followers[subject] == nil {
		h.followers[subject] = map[*follower]struct{}{}
	}
	h.followers[subject][f] = struct{}{}
	return func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		delete(h.followers[subject], f)
		if len(h.followers[subject]) == 0 {
			delete(h.followers, subject)
		}
	}
}

// streams puts the bare streams before the router: nothing but net/http.
func (a *api) streams(others http.Handler) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+PathHub+"{job}", func(w http.ResponseWriter, r *http.Request) {
		f := make(follower, followerRoom)
		defer a.hub.follow(a.config.Live(r.PathValue("job")), &f)()
		a.stream(w, r, f)
	})
	mux.HandleFunc("GET "+PathRelay+"{job}", func(w http.ResponseWriter, r *http.Request) {
		f := make(follower, followerRoom)
		subscription, err := a.nats.Subscribe(a.config.Live(r.PathValue("job")), f.take)
		if err == nil {
			defer func() { _ = subscription.Unsubscribe() }() // it goes with the connection otherwise
			err = a.nats.Flush()                              // the broker knows of it from here on
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		a.stream(w, r, f)
	})
	mux.Handle("/", others)
	return mux
}

// stream writes what a follower gets until the client leaves.
func (a *api) stream(w http.ResponseWriter, r *http.Request, f follower) {
	if _, err := a.caller(r); err != nil {
		http.Error(w, err.Error(), http.StatusUnauthorized)
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	control := http.NewResponseController(w)
	if control.Flush() != nil {
		return
	}
	for {
		select {
		case data := <-f:
			if _, err := fmt.Fprintf(w, "event: %s\ndata: %s\n\n", events.TypeTextDelta, data); err != nil || control.Flush() != nil {
				return
			}
		case <-r.Context().Done():
			return
		}
	}
}
