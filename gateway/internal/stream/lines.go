package stream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"sync"
	"time"
)

// Source is what a client is shown: a Subscription or a Feed. It is used by one goroutine at a time.
type Source interface {
	// Take appends what there is to show right now, without waiting, as server-sent events. There may be more that takes a while, which
	// Read gets. An error is what comes after the frames: io.EOF at the end.
	Take(frames []byte) (_ []byte, more bool, err error)
	// Read is Take for what is in the log.
	Read(ctx context.Context, frames []byte) ([]byte, error)
	// Beat appends a sign of life.
	Beat(frames []byte) []byte
	// Close ends it.
	Close()

	// wakes has a line told from now on when there may be something to take.
	wakes(l *Line)
}

// Viewer is who a stream is shown to.
type Viewer interface {
	// Farewell returns the last frame, by why the stream ends; it may be empty.
	Farewell(why error) string
	// Left is called once, when the stream has ended, with how many bytes were written.
	Left(ctx context.Context, written int64, why error)
}

// Why a stream ends, beside io.EOF, what the source said and what End was given.
var (
	// ErrGone means that there is nobody to write to.
	ErrGone = errors.New("stream: the client is gone")
	// ErrSlow means that the client did not read what was written to it in time.
	ErrSlow = errors.New("stream: the client does not read")
	// ErrExpired means that the time has come for which the stream was opened.
	ErrExpired = errors.New("stream: expired")
)

const (
	// turns is in how many steps the wheel looks after all lines.
	turns = 10
	// turnMost is how long the wheel takes for that at most. So late at most a line ends with its token, and a client that has left is
	// noticed.
	turnMost = time.Second
	// bufferMost is how large a buffer may be that a writer keeps.
	bufferMost = 64 << 10
)

// lines are the streams of this gateway. A line that waits for something to happen is a connection and a place in a list: no
// goroutine waits with it. When its source has something, a writer takes it and writes, and never waits for a client or for the
// log: a line that must gets a goroutine of its own for as long as that takes. One wheel looks after all of them: it has the writers send
// signs of life, end what has expired, and notices clients that have left.
type lines struct {
	// revolution is how long the wheel takes to look after all lines, and quiet how long one may be silent when it is looked after: so
	// that the next time is not later than the heartbeat.
	revolution, quiet time.Duration
	within            time.Duration
	draining          <-chan struct{}
	log               *slog.Logger
	// patient are the goroutines of lines that wait.
	patient sync.WaitGroup

	mu sync.Mutex
	// some is signaled when a line waits for a writer, none when the last has left.
	some, none sync.Cond
	// Those go first to whom something has happened, before those that the wheel has found.
	stirred, found queue
	wheel          [turns][]*Line
	turn           int
	added, open    int
	closed         bool
}

// queue is lines that wait for a writer, in their order.
type queue struct{ first, last *Line }

func (w *queue) push(l *Line) {
	if w.last == nil {
		w.first = l
	} else {
		w.last.next = l
	}
	w.last = l
}

// pop returns nil when nobody waits.
func (w *queue) pop() *Line {
	l := w.first
	if l == nil {
		return nil
	}
	if w.first, l.next = l.next, nil; w.first == nil {
		w.last = nil
	}
	return l
}

// phase is what happens to a line.
type phase uint8

const (
	idle    phase = iota
	waiting       // for a writer
	busy          // with a goroutine
	stirred       // busy, and something has happened since
	over
)

// Line is one client's stream.
type Line struct {
	lines   *lines
	wire    Wire
	source  Source
	viewer  Viewer
	expires time.Time
	// What the goroutine has written that the line is with, in all, and whether that was since it last rested.
	written int64
	spoke   bool

	// Guarded by the lock of all.
	phase phase
	turn  uint8 // of the wheel
	at    int32 // among those of the turn
	next  *Line // of those that wait
	beat  time.Time
	why   error
}

func newLines(cfg Config, draining <-chan struct{}, log *slog.Logger) *lines {
	revolution := min(turnMost, cfg.Heartbeat/2)
	q := &lines{
		revolution: revolution, quiet: cfg.Heartbeat - revolution, within: cfg.Within, draining: draining, log: log,
	}
	q.some.L, q.none.L = &q.mu, &q.mu
	return q
}

// Line prepares to show a source to a viewer on a wire, until it expires. Show must be called, after which the line closes both.
func (h *Hub) Line(to Wire, source Source, viewer Viewer, expires time.Time) *Line {
	return &Line{lines: h.lines, wire: to, source: source, viewer: viewer, expires: expires, phase: busy}
}

// Show shows what there is, in the caller's goroutine, and returns. What happens later is shown by the hub's goroutines. The number of
// bytes that the viewer has got already counts with those to come.
func (l *Line) Show(ctx context.Context, written int64) {
	l.written = written
	if !l.lines.add(l) {
		l.leave(ctx, errDraining())
		return
	}
	l.source.wakes(l)
	l.patiently(ctx, nil, nil)
}

// End ends the line with a reason. It does not wait, and may be called at any time.
func (l *Line) End(why error) {
	l.lines.mu.Lock()
	defer l.lines.mu.Unlock()
	if l.why == nil {
		l.why = why
	}
	l.lines.stir(l)
}

func (l *Line) wake() {
	l.lines.mu.Lock()
	defer l.lines.mu.Unlock()
	l.lines.stir(l)
}

// stir makes a line wait for a writer. The caller holds the lock.
func (q *lines) stir(l *Line) {
	switch l.phase {
	case idle:
		q.enqueue(l, &q.stirred)
	case busy:
		l.phase = stirred
	case waiting, stirred, over:
	}
}

func (q *lines) enqueue(l *Line, in *queue) {
	l.phase = waiting
	in.push(l)
	q.some.Signal()
}

// add takes a line in, and reports false when it is too late.
func (q *lines) add(l *Line) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return false
	}
	q.open++
	q.added++
	turn := q.added % turns
	l.turn, l.at = uint8(turn), int32(len(q.wheel[turn]))
	q.wheel[turn] = append(q.wheel[turn], l)
	l.beat = time.Now().Add(q.quiet)
	return true
}

// leave is the end of a line.
func (l *Line) leave(ctx context.Context, why error) {
	q := l.lines
	q.mu.Lock()
	if l.phase == over {
		q.mu.Unlock()
		return
	}
	if l.at < int32(len(q.wheel[l.turn])) && q.wheel[l.turn][l.at] == l {
		list := q.wheel[l.turn]
		end := len(list) - 1
		list[l.at] = list[end]
		list[l.at].at = l.at
		list[end] = nil
		q.wheel[l.turn] = list[:end]
		if q.open--; q.open == 0 {
			q.none.Broadcast()
		}
	}
	l.phase = over
	q.mu.Unlock()
	l.source.Close()
	_ = l.wire.close() // nobody is there who could do anything about it
	l.viewer.Left(ctx, l.written, why)
}

// run writes until ctx ends and the last line has left.
func (q *lines) run(ctx context.Context) {
	var crew sync.WaitGroup
	for range max(2, runtime.GOMAXPROCS(0)) {
		crew.Go(func() { q.write(ctx) })
	}
	still := make(chan struct{})
	crew.Go(func() { q.look(still) })
	<-ctx.Done()
	q.mu.Lock()
	for q.open > 0 {
		q.none.Wait()
	}
	q.closed = true
	q.some.Broadcast()
	q.mu.Unlock()
	close(still)
	crew.Wait()
	q.patient.Wait()
}

// drain has all lines look at once.
func (q *lines) drain() {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, list := range q.wheel {
		for _, l := range list {
			q.stir(l)
		}
	}
}

// look turns the wheel, by the clock: a machine with too much to do skips ticks, and the wheel makes up for them.
func (q *lines) look(still <-chan struct{}) {
	step := max(time.Millisecond, q.revolution/turns)
	tick := time.NewTicker(step)
	defer tick.Stop()
	p := newProbe()
	var list []*Line
	turned := time.Now()
	for {
		select {
		case <-still:
			return
		case <-tick.C:
			now := time.Now()
			steps := int(now.Sub(turned)+step/2) / int(step)
			turned = turned.Add(time.Duration(steps) * step)
			list = list[:0]
			for range min(steps, turns) {
				list = q.due(now, list)
			}
			for _, l := range list {
				if l.wire.gone(p) {
					l.End(ErrGone)
				}
			}
			clear(list)
		}
	}
}

// due has those of the next turn looked after that have something to do, and returns the others, but for those that wait for a writer.
func (q *lines) due(now time.Time, others []*Line) []*Line {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.turn = (q.turn + 1) % turns
	for _, l := range q.wheel[q.turn] {
		switch {
		case l.phase == idle && (!now.Before(l.beat) || !now.Before(l.expires)):
			q.enqueue(l, &q.found)
		case l.phase != waiting:
			others = append(others, l) // busy ones, too: who reads the log for long does not notice by itself
		}
	}
	return others
}

// write is one of the writers.
func (q *lines) write(ctx context.Context) {
	var buffer []byte
	for {
		l := q.await()
		if l == nil {
			return
		}
		if buffer = l.write(ctx, buffer); cap(buffer) > bufferMost {
			buffer = nil
		}
	}
}

// await returns the next line that waits; nil when there will be none.
func (q *lines) await() *Line {
	q.mu.Lock()
	defer q.mu.Unlock()
	for {
		l := q.stirred.pop()
		if l == nil {
			l = q.found.pop()
		}
		if l != nil {
			l.phase = busy
			return l
		}
		if q.closed {
			return nil
		}
		q.some.Wait()
	}
}

// write writes what there is. It does not wait.
func (l *Line) write(ctx context.Context, buffer []byte) []byte {
	defer func() { l.survive(ctx, recover()) }()
	frames, more, why := l.gather(buffer)
	silent := len(frames) == frameRoom
	switch {
	case !silent || why != nil:
	case more:
		l.lines.patient.Go(func() { l.patiently(ctx, nil, nil) })
		return frames
	case l.lines.late(l):
		frames = l.source.Beat(frames)
	default:
		l.rest()
		return frames
	}
	frames = l.closing(frames, why)
	out := l.wire.packed(frames, why != nil)
	n, err := l.wire.try(out)
	l.wrote(n)
	switch {
	case err != nil:
		l.leave(ctx, ErrGone)
	case n < len(out) || more && why == nil:
		rest := slices.Clone(out[n:])
		l.lines.patient.Go(func() { l.patiently(ctx, rest, why) })
	case why != nil:
		l.leave(ctx, why)
	default:
		l.rest()
	}
	return frames
}

// patiently writes the rest of something, and then all there is, however long the client or the log takes; why is set if nothing comes
// after the rest.
func (l *Line) patiently(ctx context.Context, rest []byte, why error) {
	defer func() { l.survive(ctx, recover()) }()
	var frames []byte
	for {
		if len(rest) > 0 {
			n, err := l.wire.write(rest, l.lines.within)
			l.wrote(n)
			switch {
			case errors.Is(err, os.ErrDeadlineExceeded):
				why = ErrSlow
			case err != nil:
				why = ErrGone
			default:
				l.lines.heard(l)
			}
		}
		if why != nil {
			l.leave(ctx, why)
			return
		}
		var more bool
		frames, more, why = l.gather(frames)
		if more && why == nil && len(frames) == frameRoom {
			if frames, why = l.source.Read(ctx, frames); why != nil {
				why = l.because(ctx, why)
			}
			// The log may go on for long with what this client is not to see.
			if len(frames) == frameRoom && why == nil && l.lines.late(l) {
				frames = l.source.Beat(frames)
			}
		}
		rest = nil
		switch {
		case len(frames) > frameRoom || why != nil:
			frames = l.closing(frames, why)
			rest = l.wire.packed(frames, why != nil)
		case !more && l.pause():
			return
		}
	}
}

// gather takes what there is, behind room for what packs it, and says why the stream ends if it does.
func (l *Line) gather(buffer []byte) (frames []byte, more bool, why error) {
	frames = slices.Grow(buffer[:0], frameRoom)[:frameRoom]
	if why := l.over(); why != nil {
		return frames, false, why
	}
	return l.source.Take(frames)
}

// over says why a line ends that its source does not end.
func (l *Line) over() error {
	l.lines.mu.Lock()
	why := l.why
	l.lines.mu.Unlock()
	select {
	case <-l.lines.draining:
		if why == nil {
			why = errDraining()
		}
	default:
	}
	if !time.Now().Before(l.expires) {
		why = ErrExpired
	}
	return why
}

// because returns why a line ends whose source could not be read.
func (l *Line) because(ctx context.Context, failed error) error {
	switch why := l.over(); {
	case why != nil:
		return why
	case ctx.Err() != nil:
		return ErrGone // the client left while its stream began
	default:
		return failed
	}
}

// closing adds the last words.
func (l *Line) closing(frames []byte, why error) []byte {
	if why == nil || errors.Is(why, io.EOF) {
		return frames
	}
	return append(frames, l.viewer.Farewell(why)...)
}

func (l *Line) wrote(n int) {
	l.written += int64(n)
	l.spoke = l.spoke || n > 0
}

// late reports whether it is time for a sign of life.
func (q *lines) late(l *Line) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return !time.Now().Before(l.beat)
}

// rest has a line wait for what happens next, or at once for a writer.
func (l *Line) rest() {
	q := l.lines
	q.mu.Lock()
	defer q.mu.Unlock()
	q.listened(l)
	if l.phase == stirred {
		q.enqueue(l, &q.stirred)
		return
	}
	l.phase = idle
}

// heard is listened for a line that goes on.
func (q *lines) heard(l *Line) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.listened(l)
}

// listened puts the next sign of life off if there was something to hear. The caller holds the lock.
func (q *lines) listened(l *Line) {
	if l.spoke {
		l.beat, l.spoke = time.Now().Add(q.quiet), false
	}
}

// pause is rest for a line that has a goroutine; it reports whether the goroutine may go.
func (l *Line) pause() bool {
	q := l.lines
	q.mu.Lock()
	defer q.mu.Unlock()
	q.listened(l)
	if l.phase == stirred {
		l.phase = busy
		return false
	}
	l.phase = idle
	return true
}

// survive ends a line whose source or viewer has panicked. The log tells everything.
func (l *Line) survive(ctx context.Context, value any) {
	if value == nil {
		return
	}
	l.lines.log.ErrorContext(ctx, "stream panicked", "panic", fmt.Sprint(value), "stack", string(debug.Stack()))
	l.leave(ctx, ErrGone)
}
