package stream_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tarento/copilot/events"
	"github.com/tarento/copilot/gateway/internal/stream"
	"github.com/tarento/copilot/pkg/fault"
)

// audience is the viewer of a line.
type audience struct {
	left    chan struct{}
	why     error
	written int64
}

func newAudience() *audience { return &audience{left: make(chan struct{})} }

func (*audience) Farewell(why error) string { return fmt.Sprintf(": %v\n\n", why) }

func (a *audience) Left(_ context.Context, written int64, why error) {
	a.written, a.why = written, why
	close(a.left)
}

// ended waits until the line has ended, and returns why.
func (a *audience) ended(t *testing.T) error {
	t.Helper()
	select {
	case <-a.left:
		return a.why
	case <-time.After(patience):
		t.Fatal("the line does not end")
		return nil
	}
}

// showing is a client that is shown a job over HTTP.
type showing struct {
	*audience

	line *stream.Line
	resp *http.Response
	src  *bufio.Reader
}

// way is how an answer gets to its client.
type way func(t *testing.T, c http.ResponseWriter, r *http.Request, waits <-chan struct{}) (wire stream.Wire, wait func())

// takenOver has the connection taken over after the head.
func takenOver(t *testing.T, w http.ResponseWriter, r *http.Request, _ <-chan struct{}) (stream.Wire, func()) {
	t.Helper()
	control := http.NewResponseController(w)
	if err := control.Flush(); err != nil {
		t.Error(err)
	}
	conn, _, err := control.Hijack()
	if err != nil {
		t.Error(err)
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetWriteBuffer(128 << 10) // so that a client that does not read shows soon
	}
	return stream.NewSocket(conn, r.ProtoAtLeast(1, 1)), func() {}
}

// answered leaves it to net/http.
func answered(t *testing.T, w http.ResponseWriter, r *http.Request, left <-chan struct{}) (stream.Wire, func()) {
	t.Helper()
	if err := http.NewResponseController(w).Flush(); err != nil {
		t.Error(err)
	}
	return stream.NewAnswer(r.Context(), w), func() { <-left }
}

func ways() map[string]way {
	return map[string]way{"a connection that was taken over": takenOver, "an answer of net/http": answered}
}

// show shows the job to a client.
func (w *world) show(by way, from events.Position, expires time.Time) *showing {
	w.t.Helper()
	return w.showSource(by, w.subscribe(from), expires)
}

func (w *world) showSource(by way, source stream.Source, expires time.Time) *showing {
	w.t.Helper()
	s := &showing{audience: newAudience()}
	shown := make(chan *stream.Line, 1)
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		wire, wait := by(w.t, rw, r, s.left)
		line := w.hub.Line(wire, source, s, expires)
		shown <- line
		line.Show(w.ctx, 0)
		wait()
	}))
	w.t.Cleanup(server.Close)
	req, err := http.NewRequestWithContext(w.ctx, http.MethodGet, server.URL, http.NoBody)
	if err != nil {
		w.t.Fatal(err)
	}
	if s.resp, err = server.Client().Do(req); err != nil {
		w.t.Fatal(err)
	}
	s.src = bufio.NewReader(s.resp.Body)
	s.line = <-shown
	w.t.Cleanup(func() {
		_ = s.resp.Body.Close()
		server.CloseClientConnections()
		_ = s.ended(w.t)
	})
	return s
}

// until reads until a line with the text has come; without a text, to the end.
func (s *showing) until(t *testing.T, text string) string {
	t.Helper()
	seen, err := s.reads(text)
	if err != nil {
		t.Fatalf("%v before %q; saw %.1000s", err, text, seen)
	}
	return seen
}

func (s *showing) reads(text string) (string, error) {
	var seen strings.Builder
	for {
		line, err := s.src.ReadString('\n')
		seen.WriteString(line)
		switch {
		case text != "" && strings.Contains(line, text):
			return seen.String(), nil
		case errors.Is(err, io.EOF) && text == "":
			return seen.String(), nil
		case err != nil:
			return seen.String(), err
		}
	}
}

func later() time.Time { return time.Now().Add(time.Hour) }

func TestALineShowsWhatWasAndWhatComesUntilTheEnd(t *testing.T) {
	t.Parallel()
	for name, by := range ways() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, stream.Config{})
			w.append(w.store, events.JobProgress{Stage: "parse", Done: 1, Total: 2})
			s := w.show(by, events.Position{Seq: 2}, later())
			s.until(t, `"done":1`)
			start := w.append(w.store, model(1, 1))
			s.until(t, "step.started")
			text := ""
			for i := range 20 {
				piece := fmt.Sprintf("piece %d ", i)
				w.live(start, len(text), piece)
				text += piece
			}
			s.until(t, "piece 19")
			w.append(w.store, events.TextDelta{Start: start, Text: text})
			w.succeed()
			rest := s.until(t, "")
			if strings.Contains(rest, "piece") || !strings.Contains(rest, "succeeded") {
				t.Errorf("then came %s", rest)
			}
			if why := s.ended(t); !errors.Is(why, io.EOF) || s.written == 0 {
				t.Errorf("ended with %v after %d bytes", why, s.written)
			}
		})
	}
}

func TestALineSaysWhyItEnds(t *testing.T) {
	t.Parallel()
	refusal := fault.New(fault.Forbidden, "permission.missing", "no more")
	for name, by := range ways() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, stream.Config{Heartbeat: 50 * time.Millisecond})
			at := events.Position{Seq: 2}
			refused, expired, moved := w.show(by, at, later()), w.show(by, at, time.Now().Add(2*time.Second)), w.show(by, at, later())
			for what, s := range map[string]*showing{"refused": refused, "moved": moved} {
				if seen := s.until(t, "still here"); strings.Contains(seen, "id:") {
					t.Errorf("%s: a silent job tells %s", what, seen)
				}
			}
			refused.line.End(refusal)
			refused.line.End(errors.New("too late"))
			if seen := refused.until(t, ""); !strings.Contains(seen, refusal.Error()) {
				t.Errorf("refused, it says %s", seen)
			}
			if seen := expired.until(t, ""); !strings.Contains(seen, stream.ErrExpired.Error()) {
				t.Errorf("expired, it says %s", seen)
			}
			w.hub.Drain()
			if seen := moved.until(t, ""); !strings.Contains(seen, "shutting down") {
				t.Errorf("moved, it says %s", seen)
			}
			if !errors.Is(refused.ended(t), refusal) || !errors.Is(expired.ended(t), stream.ErrExpired) ||
				!fault.Is(moved.ended(t), fault.Unavailable) {
				t.Errorf("ended with %v, %v and %v", refused.why, expired.why, moved.why)
			}
			late := w.show(by, at, later())
			if seen := late.until(t, ""); !strings.Contains(seen, "shutting down") {
				t.Errorf("after the end, it says %s", seen)
			}
		})
	}
}

func TestAClientThatHasLeftIsNoticedThoughNothingHappens(t *testing.T) {
	t.Parallel()
	for name, by := range ways() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, stream.Config{Heartbeat: time.Hour})
			s := w.show(by, events.Position{Seq: 2}, later())
			_ = s.resp.Body.Close()
			if why := s.ended(t); !errors.Is(why, stream.ErrGone) {
				t.Errorf("ended with %v", why)
			}
		})
	}
}

func TestAClientThatLeavesWhileItsStreamBeginsHasLeft(t *testing.T) {
	t.Parallel()
	w := newWorld(t, stream.Config{})
	mine, theirs := net.Pipe()
	defer mine.Close()
	go func() { _, _ = io.Copy(io.Discard, mine) }()
	request, leave := context.WithCancel(w.ctx)
	leave()
	a := newAudience()
	w.hub.Line(stream.NewSocket(theirs, true), unread{w.subscribe(events.Position{})}, a, later()).Show(request, 0)
	if why := a.ended(t); !errors.Is(why, stream.ErrGone) {
		t.Errorf("ended with %v, want %v", why, stream.ErrGone)
	}
}

// unread is a source all of which is in the log, which nobody reads whose context has ended.
type unread struct{ *stream.Subscription }

func (unread) Take(frames []byte) (_ []byte, more bool, err error) { return frames, true, nil }

func (unread) Read(ctx context.Context, frames []byte) ([]byte, error) { return frames, ctx.Err() }

// searching is a source whose log has no end of pages that hold nothing for its reader.
type searching struct {
	*stream.Feed

	beats []time.Time
}

func (*searching) Take(frames []byte) (_ []byte, more bool, err error) { return frames, true, nil }

func (*searching) Read(ctx context.Context, frames []byte) ([]byte, error) {
	select {
	case <-ctx.Done():
		return frames, ctx.Err()
	case <-time.After(time.Millisecond): // a page takes a while
		return frames, nil
	}
}

func (s *searching) Beat(frames []byte) []byte {
	s.beats = append(s.beats, time.Now())
	return s.Feed.Beat(frames)
}

func TestALineThatSearchesTheLogShowsThatItIsAliveAndWhereItStands(t *testing.T) {
	t.Parallel()
	for name, by := range ways() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const heartbeat = 50 * time.Millisecond
			w := newWorld(t, stream.Config{Heartbeat: heartbeat, CursorKeys: keys})
			source := &searching{Feed: w.feed(stream.FeedOptions{})}
			s := w.showSource(by, source, later())
			for range 5 {
				if seen := s.until(t, "id: "+source.Cursor()); !strings.Contains(seen, "still here") {
					t.Errorf("instead of a sign of life came %s", seen)
				}
			}
			s.line.End(io.EOF)
			_ = s.ended(t)
			for i := 1; i < len(source.beats); i++ {
				if after := source.beats[i].Sub(source.beats[i-1]); after < heartbeat/2 {
					t.Errorf("a sign of life %s after another", after)
				}
			}
		})
	}
}

func TestAClientThatHasLeftIsNoticedWhileTheLogIsSearched(t *testing.T) {
	t.Parallel()
	for name, by := range ways() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, stream.Config{Heartbeat: time.Hour, CursorKeys: keys})
			s := w.showSource(by, &searching{Feed: w.feed(stream.FeedOptions{})}, later())
			_ = s.resp.Body.Close()
			if why := s.ended(t); !errors.Is(why, stream.ErrGone) {
				t.Errorf("ended with %v", why)
			}
		})
	}
}

// One client does not read. The others see everything at once, and it sees everything when it reads at last.
func TestAClientThatDoesNotReadHoldsNobodyUp(t *testing.T) {
	t.Parallel()
	for name, by := range ways() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, stream.Config{Queue: 8, Within: patience})
			start := w.append(w.store, model(1, 1))
			at := events.Position{Seq: start}
			slow := w.show(by, at, later())
			const readers, pieces = 3, 24
			fast := make([]*showing, readers)
			for i := range fast {
				fast[i] = w.show(by, at, later())
			}
			piece := strings.Repeat("X", 60<<10)
			var reading errgroup.Group
			for _, s := range fast {
				reading.Go(func() error { _, err := s.reads("succeeded"); return err })
			}
			offset := 0
			for range pieces { // more than all buffers on the way hold
				w.live(start, offset, piece)
				offset += len(piece)
			}
			w.append(w.store, events.TextDelta{Start: start, Text: strings.Repeat(piece, pieces)})
			w.succeed()
			if err := reading.Wait(); err != nil {
				t.Fatal(err)
			}
			seen := slow.until(t, "")
			if n := strings.Count(seen, "X"); n != pieces*len(piece) {
				t.Errorf("who read late saw %d bytes of text, want %d", n, pieces*len(piece))
			}
			if why := slow.ended(t); !errors.Is(why, io.EOF) {
				t.Errorf("ended with %v", why)
			}
		})
	}
}

func TestAClientThatDoesNotReadForLongIsSentAway(t *testing.T) {
	t.Parallel()
	w := newWorld(t, stream.Config{Within: 50 * time.Millisecond})
	start := w.append(w.store, model(1, 1))
	s := w.show(takenOver, events.Position{Seq: start}, later())
	w.append(w.store, events.TextDelta{Start: start, Text: strings.Repeat("X", 8<<20)})
	if why := s.ended(t); !errors.Is(why, stream.ErrSlow) {
		t.Errorf("ended with %v", why)
	}
}

func TestAnAnswerOfHTTP10EndsWithItsConnection(t *testing.T) {
	t.Parallel()
	w := newWorld(t, stream.Config{})
	near, far := net.Pipe() // one whose writes cannot be tried, either
	a := newAudience()
	line := w.hub.Line(stream.NewSocket(near, false), w.subscribe(events.Position{Seq: 1}), a, later())
	go line.Show(w.ctx, 0)
	go w.succeed()
	seen, err := io.ReadAll(far)
	if err != nil {
		t.Fatal(err)
	}
	if got := string(seen); !strings.HasPrefix(got, "id: 2\nevent: job.state\ndata: {") || !strings.HasSuffix(got, "}\n\n") ||
		strings.Count(got, "id: ") != 2 {
		t.Errorf("got %q", got)
	}
	if why := a.ended(t); !errors.Is(why, io.EOF) || a.written != int64(len(seen)) {
		t.Errorf("ended with %v after %d of %d bytes", why, a.written, len(seen))
	}
}
