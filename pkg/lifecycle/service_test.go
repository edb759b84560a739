package lifecycle_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tarento/copilot/pkg/lifecycle"
)

// waiter is a service that records when it is stopped, a second after it is asked to.
func waiter(name string, stopped *[]string) lifecycle.Service {
	return lifecycle.Service{Name: name, Run: func(ctx context.Context) error {
		<-ctx.Done()
		<-time.After(time.Second)
		*stopped = append(*stopped, name) // unguarded on purpose: services stop one after the other
		return ctx.Err()
	}}
}

func TestRunStopsInReverseOrderWhenTheContextEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		asked := errors.New("asked to end")
		ctx, cancel := context.WithCancelCause(t.Context())
		var stopped []string
		var seen error
		tail := lifecycle.Service{Name: "tail", Run: func(ctx context.Context) error {
			<-ctx.Done()
			seen = context.Cause(ctx)
			return seen
		}}
		time.AfterFunc(time.Minute, func() { cancel(asked) })
		err := lifecycle.Run(ctx, waiter("a", &stopped), waiter("b", &stopped), waiter("c", &stopped), tail)
		if err != nil {
			t.Errorf("Run = %v", err)
		}
		if want := []string{"c", "b", "a"}; !slices.Equal(stopped, want) {
			t.Errorf("stopped %v, want %v", stopped, want)
		}
		if !errors.Is(seen, asked) {
			t.Errorf("the services' cause is %v", seen)
		}
	})
}

func TestRunEndsWithTheFirstFailure(t *testing.T) {
	t.Parallel()
	lost := errors.New("connection lost")
	cases := map[string]struct {
		run  func(context.Context) error
		want error
		text string
	}{
		"an error":                      {func(context.Context) error { return lost }, lost, "middle: connection lost"},
		"returning without being asked": {func(context.Context) error { return nil }, lifecycle.ErrEnded, "middle: ended without"},
		"a panic":                       {func(context.Context) error { panic(lost) }, lost, "middle: panic: connection lost"},
		"a canceled context of its own": {
			func(context.Context) error { return context.Canceled }, context.Canceled, "middle: context canceled",
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var stopped []string
				var seen error
				watcher := lifecycle.Service{Name: "watcher", Run: func(ctx context.Context) error {
					<-ctx.Done()
					seen = context.Cause(ctx)
					return seen // the failure of another is not its own
				}}
				err := lifecycle.Run(t.Context(), waiter("a", &stopped),
					lifecycle.Service{Name: "middle", Run: c.run}, waiter("b", &stopped), watcher)
				if !errors.Is(err, c.want) || !strings.HasPrefix(err.Error(), c.text) {
					t.Errorf("Run = %v, want %v", err, c.text)
				}
				if want := []string{"b", "a"}; !slices.Equal(stopped, want) {
					t.Errorf("stopped %v, want %v", stopped, want)
				}
				if !errors.Is(seen, c.want) {
					t.Errorf("the others' cause is %v", seen)
				}
				if strings.Contains(err.Error(), "watcher") {
					t.Errorf("the failure is said twice: %v", err)
				}
			})
		})
	}
}

func TestRunNamesWhatFailsToStop(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		release := make(chan struct{})
		defer close(release)
		var stopped []string
		err := lifecycle.Run(ctx,
			waiter("below", &stopped),
			lifecycle.Service{Name: "stuck", Grace: 2 * time.Second, Run: func(context.Context) error { <-release; return nil }},
			lifecycle.Service{Name: "bad", Run: func(ctx context.Context) error { <-ctx.Done(); return errors.New("flush: disk full") }},
		)
		if want := "bad: flush: disk full\nstuck: did not stop within 2s"; err == nil || err.Error() != want {
			t.Errorf("Run = %v, want %s", err, want)
		}
		if len(stopped) != 1 {
			t.Error("the service below the stuck one was not stopped")
		}
	})
}

func TestHTTPDrainsOpenRequests(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		drain time.Duration
		want  string // what the client reads of the open request
	}{
		"a request that ends in time gets its answer": {time.Minute, "whole"},
		"a request that does not is cut off":          {time.Millisecond, ""},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			arrived, release := make(chan struct{}), make(chan struct{})
			server := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				close(arrived)
				<-release
				_, _ = io.WriteString(w, "whole")
			})}
			ctx, cancel := context.WithCancel(t.Context())
			ended := make(chan error, 1)
			go func() { ended <- lifecycle.Run(ctx, lifecycle.HTTP("api", server, listener, c.drain)) }()
			answer := make(chan string, 1)
			go func() { answer <- get(t, "http://"+listener.Addr().String()) }()
			<-arrived
			if c.want != "" {
				server.RegisterOnShutdown(func() { close(release) })
			}
			cancel()
			if err := <-ended; err != nil {
				t.Errorf("Run = %v", err)
			}
			if got := <-answer; got != c.want {
				t.Errorf("the client read %q, want %q", got, c.want)
			}
			if c.want == "" {
				close(release)
			}
		})
	}
}

func TestHTTPFailsWhenItCannotServe(t *testing.T) {
	t.Parallel()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	err = lifecycle.Run(t.Context(), lifecycle.HTTP("api", &http.Server{ReadHeaderTimeout: time.Minute}, listener, time.Second))
	if !errors.Is(err, net.ErrClosed) || !strings.HasPrefix(err.Error(), "api: serve 127.0.0.1:") {
		t.Errorf("Run = %v", err)
	}
}

// get returns the body, or nothing if the request failed.
func get(t *testing.T, url string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(context.WithoutCancel(t.Context()), http.MethodGet, url, http.NoBody)
	if err != nil {
		return ""
	}
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	resp, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		return ""
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return ""
	}
	return string(body)
}

// pipes is a listener whose connections are in memory, so that a bubble's clock stands while somebody waits for one of them.
type pipes struct {
	dialed chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newPipes() *pipes { return &pipes{dialed: make(chan net.Conn), closed: make(chan struct{})} }

// Accept implements net.Listener.
func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.dialed:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (p *pipes) Close() error {
	p.once.Do(func() { close(p.closed) })
	return nil
}

// Addr implements net.Listener.
func (*pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipes", Net: "unix"} }

func (p *pipes) dial(context.Context, string, string) (net.Conn, error) {
	near, far := net.Pipe()
	select {
	case p.dialed <- far:
		return near, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func TestExitAnswersEverythingUntilBalancersHaveNoticed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const pause = 5 * time.Second
		listener := newPipes()
		var exit lifecycle.Exit
		server := &http.Server{ReadHeaderTimeout: time.Second, Handler: exit.Handler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, "whole")
		}))}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() {
			ended <- lifecycle.Run(ctx, lifecycle.HTTP("api", server, listener, time.Minute), exit.Service(pause))
		}()
		client := &http.Client{Transport: &http.Transport{DialContext: listener.dial}}
		defer client.CloseIdleConnections()
		ask := func() (closes bool) {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://pipes", http.NoBody)
			if err != nil {
				t.Fatal(err)
			}
			resp, err := client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = resp.Body.Close() }()
			if body, err := io.ReadAll(resp.Body); err != nil || string(body) != "whole" {
				t.Errorf("answered %q, %v", body, err)
			}
			return resp.Close
		}
		if exit.Check(t.Context()) != nil || ask() {
			t.Error("it leaves before it was asked to")
		}
		cancel()
		asked := time.Now()
		synctest.Wait()
		if exit.Check(t.Context()) == nil {
			t.Error("it does not leave")
		}
		time.Sleep(pause - time.Millisecond) //nolint:forbidigo // the bubble's clock
		if !ask() {
			t.Error("an answer keeps its connection open, which is about to be cut")
		}
		if err := <-ended; err != nil {
			t.Errorf("Run = %v", err)
		}
		if took := time.Since(asked); took < pause {
			t.Errorf("it served for %s, which is too short to notice", took)
		}
	})
}
