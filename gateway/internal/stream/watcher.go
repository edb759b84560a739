package stream

import "sync"

// watcher is one reader's end of the fan-out. A reader that waits for something to happen takes next to nothing; the queue grows with
// what happens.
type watcher struct {
	// most is how many events may wait.
	most int
	// at is where the watcher stands among those of its topic; the hub's lock guards it.
	at int

	mu    sync.Mutex
	queue []*told
	// behind says that the queue does not tell everything: read the record instead.
	behind bool
	// One of them is told when there is something to take: the channel of a reader that waits, or the line that a client is
	// written to.
	stirred chan struct{}
	line    *Line
}

func newWatcher(most int) *watcher { return &watcher{stirred: make(chan struct{}, 1), most: most} }

// put adds an event; one too many leaves the reader behind.
func (w *watcher) put(t *told) {
	w.mu.Lock()
	if len(w.queue) < w.most {
		w.queue = append(w.queue, t)
	} else {
		w.behind = true
	}
	w.stir()
	w.mu.Unlock()
}

// fallBehind has the reader read the record.
func (w *watcher) fallBehind() {
	w.mu.Lock()
	w.behind = true
	w.stir()
	w.mu.Unlock()
}

// stir is called with the lock.
func (w *watcher) stir() {
	if w.line != nil {
		w.line.wake()
		return
	}
	select {
	case w.stirred <- struct{}{}:
	default: // it has been told already
	}
}

// wakes has a line told from now on.
func (w *watcher) wakes(l *Line) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.line, w.stirred = l, nil
}

// take empties the queue, and reports whether there is more that only the record tells.
func (w *watcher) take() (list []*told, behind bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	list, behind = w.queue, w.behind
	w.queue, w.behind = nil, false
	return list, behind
}
