package stream

import (
	"sync"

	"github.com/tarento/copilot/events"
)

// watcher is one reader's end of the fan-out. A reader that waits for something to happen takes little more than its channel; the queue
// grows with what happens.
type watcher struct {
	// stirred is signaled when there is something to take.
	stirred chan struct{}
	// most is how many events may wait.
	most int

	mu    sync.Mutex
	queue []events.Event
	// behind says that the queue does not tell everything: read the record instead.
	behind bool
}

func newWatcher(most int) *watcher { return &watcher{stirred: make(chan struct{}, 1), most: most} }

// put adds an event; one too many leaves the reader behind.
func (w *watcher) put(e events.Event) {
	w.mu.Lock()
	if len(w.queue) < w.most {
		w.queue = append(w.queue, e)
	} else {
		w.behind = true
	}
	w.mu.Unlock()
	w.stir()
}

// fallBehind has the reader read the record.
func (w *watcher) fallBehind() {
	w.mu.Lock()
	w.behind = true
	w.mu.Unlock()
	w.stir()
}

func (w *watcher) stir() {
	select {
	case w.stirred <- struct{}{}:
	default: // it has been told already
	}
}

// take empties the queue, and reports whether there is more that only the record tells.
func (w *watcher) take() (list []events.Event, behind bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	list, behind = w.queue, w.behind
	w.queue, w.behind = nil, false
	return list, behind
}
