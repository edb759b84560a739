package load_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tarento/copilot/deploy/bench/internal/load"
)

// serve answers with the handler and returns a request that fits it.
// A load lasts so long that all its connections get their turn on a machine that stands still for a moment, at a pace that leaves it
// time for other things.
const lasting, pace = 2 * time.Second, 5 * time.Millisecond

func serve(t *testing.T, handler http.HandlerFunc) load.Request {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return load.Request{
		Address: strings.TrimPrefix(server.URL, "http://"), Path: "/work", Token: "secret", Body: []byte(`{"n":1}`),
		Want: http.StatusAccepted,
	}
}

func TestClosedKeepsEveryConnectionBusyAndAlive(t *testing.T) {
	t.Parallel()
	var (
		served atomic.Int64
		mu     sync.Mutex
		peers  = map[string]bool{}
	)
	request := serve(t, func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil || r.Method != http.MethodPost || r.URL.Path != "/work" || string(body) != `{"n":1}` ||
			r.Header.Get("Authorization") != "Bearer secret" || r.Header.Get("Content-Type") != "application/json" {
			t.Errorf("got %s %s with %q, %v, %v", r.Method, r.URL, body, r.Header, err)
		}
		<-time.After(pace)
		served.Add(1)
		mu.Lock()
		peers[r.RemoteAddr] = true
		mu.Unlock()
		w.WriteHeader(http.StatusAccepted)
		_, _ = io.WriteString(w, strings.Repeat("x", 10_000))
	})
	result, err := load.Closed(t.Context(), request, 4, lasting)
	if err != nil {
		t.Fatal(err)
	}
	if len(peers) != 4 {
		t.Errorf("%d connections were used, want 4", len(peers))
	}
	if got := int64(len(result.Latencies)); got != served.Load() || got <= 4 {
		t.Errorf("%d answers were counted, %d were given, want the same and more than one a connection", got, served.Load())
	}
	if result.Took < lasting || result.PerSecond() <= 0 {
		t.Errorf("took %s at %.0f a second, want at least %s and a rate", result.Took, result.PerSecond(), lasting)
	}
}

func TestClosedStopsAtTheFirstFailure(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		handler http.HandlerFunc
		want    string
	}{
		"an answer with another status": {
			func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "too many", http.StatusTooManyRequests) },
			"status 429: too many",
		},
		"a server that hangs up": {
			func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Connection", "close")
				w.WriteHeader(http.StatusAccepted)
			},
			"keep the connection alive",
		},
		"an answer that is cut": {
			func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
			"read the answer",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := load.Closed(t.Context(), serve(t, c.handler), 2, time.Hour)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

func TestClosedSaysThatNobodyListens(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.NotFoundHandler())
	address := strings.TrimPrefix(server.URL, "http://")
	server.Close()
	_, err := load.Closed(t.Context(), load.Request{Address: address, Path: "/"}, 2, time.Hour)
	if err == nil || !strings.Contains(err.Error(), "open connection 1 of 2") {
		t.Errorf("got %v, want that the connection failed", err)
	}
}

func TestClosedEndsWithItsContext(t *testing.T) {
	t.Parallel()
	reason := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	request := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // only then does the server notice a closed connection
		cancel(reason)
		<-r.Context().Done() // until the generator hangs up
	})
	if _, err := load.Closed(ctx, request, 2, time.Hour); !errors.Is(err, reason) {
		t.Errorf("got %v, want %v", err, reason)
	}
}

func TestClosedReadsWithoutABody(t *testing.T) {
	t.Parallel()
	request := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet || r.ContentLength != 0 || r.Header.Get("Content-Type") != "" || r.URL.RawQuery != "limit=20" {
			t.Errorf("got %s %s with %d bytes, %v", r.Method, r.URL, r.ContentLength, r.Header)
		}
		<-time.After(pace)
		w.WriteHeader(http.StatusOK)
	})
	request.Method, request.Path, request.Body, request.Want = http.MethodGet, "/things?limit=20", nil, http.StatusOK
	if result, err := load.Closed(t.Context(), request, 1, lasting); err != nil || len(result.Latencies) == 0 {
		t.Errorf("got %d answers, %v", len(result.Latencies), err)
	}
}

func TestAFloodLastsUntilItsContextEnds(t *testing.T) {
	t.Parallel()
	ctx, stop := context.WithCancel(t.Context())
	var served atomic.Int64
	request := serve(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		switch n := served.Add(1); {
		case n > 10:
			stop()
		case n%2 == 0:
			w.WriteHeader(http.StatusServiceUnavailable)
		default:
			w.WriteHeader(http.StatusAccepted)
		}
	})
	request.Bear = []int{http.StatusServiceUnavailable}
	result, err := load.Flood(ctx, request, 1)
	if err != nil {
		t.Fatal(err)
	}
	if result.Refused != 5 || len(result.Latencies) < 5 {
		t.Errorf("%d refusals and %d wanted answers, want 5 and at least 5", result.Refused, len(result.Latencies))
	}
}

func TestAFloodThatFailsSaysWhy(t *testing.T) {
	t.Parallel()
	request := serve(t, func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", http.StatusForbidden) })
	if _, err := load.Flood(t.Context(), request, 2); err == nil || !strings.Contains(err.Error(), "status 403: no") {
		t.Errorf("got %v, want the refusal", err)
	}
}
