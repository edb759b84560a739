package client_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tarento/copilot/gateway/client"
)

// scripted is an event stream that plays one script after the other, one for each connection; the last one is repeated.
type scripted struct {
	scripts []func(io.Writer, *http.Request)
	resumed []string // the Last-Event-ID of each connection
	at      []time.Time
}

func (s *scripted) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	play := s.scripts[min(len(s.resumed), len(s.scripts)-1)]
	s.resumed, s.at = append(s.resumed, r.Header.Get("Last-Event-ID")), append(s.at, time.Now())
	w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
	w.WriteHeader(http.StatusOK)
	play(w, r)
}

// send plays these lines and ends the connection as a server does that shuts down.
func send(lines ...string) func(io.Writer, *http.Request) {
	return func(w io.Writer, _ *http.Request) { _, _ = io.WriteString(w, strings.Join(lines, "")) }
}

// cut plays these lines and breaks off.
func cut(lines ...string) func(io.Writer, *http.Request) {
	return func(w io.Writer, r *http.Request) {
		send(lines...)(w, r)
		panic(http.ErrAbortHandler)
	}
}

// hang plays these lines and then says nothing.
func hang(lines ...string) func(io.Writer, *http.Request) {
	return func(w io.Writer, r *http.Request) {
		send(lines...)(w, r)
		<-r.Context().Done()
	}
}

func delta(id string, offset int, text string) string {
	return fmt.Sprintf("id: %s\nevent: text.delta\ndata: {\"start\":1,\"offset\":%d,\"text\":%q}\n\n", id, offset, text)
}

const (
	hello     = "retry: 1000\n\n: hello\n\n"
	running   = "id: 1\nevent: job.state\ndata: {\"status\":\"running\",\"attempt\":1}\n\n"
	succeeded = "id: 9\nevent: job.state\ndata: {\"status\":\"succeeded\"}\n\n"
)

// read follows the job to its end and returns the ids of the events.
func read(ctx context.Context, c *client.Client, options ...client.CallOption) (ids []string, text string, err error) {
	var all client.Transcript
	for e, err := range c.FollowJob(ctx, "1", options...) {
		if err != nil {
			return ids, all.String(), err
		}
		ids = append(ids, e.ID)
		if e.Type == client.EventTextDelta {
			var d client.TextDelta
			if err := e.Into(&d); err != nil {
				return ids, all.String(), err
			}
			all.Add(d)
		}
	}
	return ids, all.String(), nil
}

func TestFollowComesBackToWhereItWas(t *testing.T) {
	t.Parallel()
	broken := func(w io.Writer, _ *http.Request) {
		if w, ok := w.(http.ResponseWriter); ok {
			_, _ = io.WriteString(w, "event: error\ndata: {\"code\":\"internal\",\"status\":500}\n\n")
		}
	}
	tests := map[string]struct {
		scripts []func(io.Writer, *http.Request)
		options []client.CallOption
		ids     string
		text    string
		resumed string
	}{
		"a stream that goes well is read once": {
			scripts: []func(io.Writer, *http.Request){send(hello, running, delta("2", 0, "Hello"), succeeded)},
			ids:     "1 2 9", text: "Hello", resumed: "[]",
		},
		"a cut stream goes on after the last event": {
			scripts: []func(io.Writer, *http.Request){
				cut(hello, running, delta("2.3", 0, "Hel"), "id: 3\nevent: text.delta\ndata: {\"sta"),
				cut(hello), send(hello, delta("2.5", 3, "lo"), succeeded),
			},
			ids: "1 2.3 2.5 9", text: "Hello", resumed: "[ 2.3 2.3]",
		},
		"a gateway that shuts down is left for another": {
			scripts: []func(io.Writer, *http.Request){send(hello, running, "retry: 500\n: shutting down\n\n"), send(hello, succeeded)},
			ids:     "1 9", resumed: "[ 1]",
		},
		"a silent stream is opened again": {
			scripts: []func(io.Writer, *http.Request){hang(hello, running), send(hello, succeeded)},
			ids:     "1 9", resumed: "[ 1]",
		},
		"a stream that the server breaks off is opened again": {
			scripts: []func(io.Writer, *http.Request){broken, send(hello, running, succeeded)},
			ids:     "1 9", resumed: "[ ]",
		},
		"a position of the caller's is where it begins": {
			scripts: []func(io.Writer, *http.Request){cut(hello), send(hello, succeeded)},
			options: []client.CallOption{client.After("7.5")}, ids: "9", resumed: "[7.5 7.5]",
		},
		"an id without an event is where it goes on": {
			scripts: []func(io.Writer, *http.Request){
				cut("retry: 1000\nid: a\n\n"), cut("retry: 1000\nid: b\n\n", ": still here\nid: c\n\n"), send(hello, succeeded),
			},
			ids: "9", resumed: "[ a c]",
		},
		"a stream that ends for a reason that passes goes on": {
			scripts: []func(io.Writer, *http.Request){
				send(hello, running, "event: access.changed\ndata: {\"status\":403}\n\n"),
				send(hello, "event: reader.slow\ndata: {\"status\":429}\n\n"), send(hello, succeeded),
			},
			ids: "1 9", resumed: "[ 1 1]",
		},
		"an event that is not known is passed on": {
			scripts: []func(io.Writer, *http.Request){send("id: 5\nevent: job.sang\ndata: la\n\n", succeeded)},
			ids:     "5 9", resumed: "[]",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				server := &scripted{scripts: test.scripts}
				ids, text, err := read(t.Context(), dial(t, server), test.options...)
				if err != nil {
					t.Error(err)
				}
				if got := strings.Join(ids, " "); got != test.ids || text != test.text {
					t.Errorf("events %q with the text %q, want %q with %q", got, text, test.ids, test.text)
				}
				if got := fmt.Sprint(server.resumed); got != test.resumed {
					t.Errorf("connected after %s, want %s", got, test.resumed)
				}
			})
		})
	}
}

func TestFollowRenewsTheTokenOfALongStream(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		i := &issuer{}
		var seen []string
		c := dial(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if !strings.HasSuffix(r.URL.Path, "/events") {
				i.ServeHTTP(w, r)
				return
			}
			given := r.Header.Get("Authorization")
			seen = append(seen, given+" "+r.Header.Get("Last-Event-ID"))
			if given != fmt.Sprintf("Bearer a%d", i.refreshes+1) {
				refuse(w, http.StatusUnauthorized, "token.expired")
				return
			}
			w.Header().Set("Content-Type", "text/event-stream")
			if i.refreshes == 0 {
				i.expire()
				send(hello, running, "event: token.expired\ndata: {}\n\n")(w, r)
				return
			}
			send(hello, succeeded)(w, r)
		}))
		if _, err := c.Login(t.Context(), client.Credentials{}); err != nil {
			t.Fatal(err)
		}
		ids, _, err := read(t.Context(), c)
		if err != nil || strings.Join(ids, " ") != "1 9" {
			t.Errorf("events %v, %v", ids, err)
		}
		if want := []string{"Bearer a1 ", "Bearer a1 1", "Bearer a3 1"}; !slices.Equal(seen, want) {
			t.Errorf("connections %q, want %q", seen, want)
		}
	})
}

func TestStreamOfASubmitSubmitsOnceAndThenFollowsTheJob(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var calls []string
		keys := map[string]bool{}
		c := dial(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			calls = append(calls, r.Method+" "+r.URL.Path+" "+r.Header.Get("Last-Event-ID"))
			w.Header().Set("Content-Type", "text/event-stream")
			switch len(calls) {
			case 1:
				keys[r.Header.Get("Idempotency-Key")] = true
				cut(hello)(w, r) // the answer has no Location: nobody knows whether the work was submitted
			case 2:
				keys[r.Header.Get("Idempotency-Key")] = true
				w.Header().Set("Location", "/api/v1/jobs/7")
				cut(hello, running)(w, r)
			default:
				send(hello, succeeded)(w, r)
			}
		}))
		var ids []string
		for e, err := range c.StreamAgent(t.Context(), client.Execution{AgentID: "1", UserInput: "Hello"}) {
			if err != nil {
				t.Fatal(err)
			}
			ids = append(ids, e.ID)
		}
		if want := []string{"POST /api/v1/agents/stream ", "POST /api/v1/agents/stream ", "GET /api/v1/jobs/7/events 1"}; !slices.Equal(calls, want) {
			t.Errorf("calls %q, want %q", calls, want)
		}
		if !slices.Equal(ids, []string{"1", "9"}) || len(keys) != 1 || keys[""] {
			t.Errorf("events %v, keys %v; want one key", ids, keys)
		}
	})
}

func TestFollowGivesUp(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		handler http.Handler
		want    string
		calls   int
	}{
		"on a stream that only breaks": {
			handler: &scripted{scripts: []func(io.Writer, *http.Request){cut(hello)}},
			want:    "gave up after 10 connections without a new event: the event stream was cut",
		},
		"on a job that is not there": {
			handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { refuse(w, http.StatusNotFound, "job.not_found") }),
			want:    "GET /api/v1/jobs/1/events: 404 Not Found: So it is.",
		},
		"on an answer that is no stream": {
			handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { reply(w, http.StatusOK, "hello") }),
			want:    `expected an event stream, got "application/json"`,
		},
		"on an event without an end": {
			handler: &scripted{scripts: []func(io.Writer, *http.Request){func(w io.Writer, _ *http.Request) {
				for range 5 {
					if _, err := io.WriteString(w, "data: "+strings.Repeat("x", 1<<20)); err != nil {
						return
					}
				}
			}}},
			want: "server-sent event is larger than 4 MiB",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				_, _, err := read(t.Context(), dial(t, test.handler, client.WithRetries(0)))
				if err == nil || !strings.Contains(err.Error(), test.want) {
					t.Errorf("error %v, want %q", err, test.want)
				}
			})
		})
	}
}

func TestFollowEndsWithItsReaderAndItsContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := &scripted{scripts: []func(io.Writer, *http.Request){hang(hello, running)}}
		c := dial(t, server)
		for _, err := range c.FollowJob(t.Context(), "1") {
			if err != nil {
				t.Error(err)
			}
			break // the bubble would not end if the connection stayed
		}
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Second, errors.New("no time"))
		defer cancel()
		ids, _, err := read(ctx, c)
		if err == nil || err.Error() != "no time" || len(ids) != 1 {
			t.Errorf("events %v, error %v", ids, err)
		}
	})
}

func TestReaderMayTakeItsTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := &scripted{scripts: []func(io.Writer, *http.Request){send(hello, running, succeeded)}}
		for _, err := range dial(t, server).FollowJob(t.Context(), "1") {
			if err != nil {
				t.Error(err)
			}
			time.Sleep(time.Hour) //nolint:forbidigo // of synctest
		}
		if len(server.resumed) != 1 {
			t.Errorf("%d connections, want 1: the server was not silent, its reader was slow", len(server.resumed))
		}
	})
}

func TestConnectionsKeepTheDistanceThatTheServerAsksFor(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := &scripted{scripts: []func(io.Writer, *http.Request){cut("retry: 700\n\n", running), send(succeeded)}}
		if _, _, err := read(t.Context(), dial(t, server)); err != nil {
			t.Fatal(err)
		}
		if apart := server.at[1].Sub(server.at[0]); apart < 700*time.Millisecond || apart > 2*time.Second {
			t.Errorf("connected again after %s, want 700ms", apart)
		}
	})
}

func TestTranscriptHoldsTheLastTextOnce(t *testing.T) {
	t.Parallel()
	var all client.Transcript
	steps := []struct {
		delta     client.TextDelta
		piece     string
		restarted bool
	}{
		{client.TextDelta{Start: 2, Offset: 0, Text: "Hel"}, "Hel", false},
		{client.TextDelta{Start: 2, Offset: 1, Text: "ello"}, "lo", false},
		{client.TextDelta{Start: 2, Offset: 0, Text: "Hello"}, "", false},
		{client.TextDelta{Start: 4, Offset: 0, Text: "Good"}, "Good", true},
		{client.TextDelta{Start: 2, Offset: 5, Text: ", world"}, "", false},
		{client.TextDelta{Start: 4, Offset: 4, Text: "bye"}, "bye", false},
	}
	for i, step := range steps {
		if piece, restarted := all.Add(step.delta); piece != step.piece || restarted != step.restarted {
			t.Errorf("step %d yields %q, %t; want %q, %t", i, piece, restarted, step.piece, step.restarted)
		}
	}
	if all.String() != "Goodbye" {
		t.Errorf("the text is %q", all.String())
	}
}

func TestWaitReturnsTheJobWhenItHasEnded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		c := dial(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			asked++
			if r.Header.Get("Prefer") != "wait=30" {
				t.Errorf("asked with Prefer %q", r.Header.Get("Prefer"))
			}
			time.Sleep(30 * time.Second) //nolint:forbidigo // of synctest
			job := map[string]any{"id": "1", "kind": "agent.run", "status": "running"}
			if asked == 3 {
				job["status"], job["error"] = "failed", map[string]any{"code": "model.blocked", "message": "The prompt was blocked."}
			}
			reply(w, http.StatusOK, job)
		}))
		job, err := c.Wait(t.Context(), "1")
		if err != nil {
			t.Fatal(err)
		}
		failure, ok := errors.AsType[*client.JobFailure](job.Into(nil))
		if !ok || failure.Error() != "job 1 (agent.run) is failed: The prompt was blocked. (model.blocked)" || asked != 3 {
			t.Errorf("%v after %d questions", failure, asked)
		}
	})
}
