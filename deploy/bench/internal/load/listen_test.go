package load_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/tarento/copilot/deploy/bench/internal/load"
)

// streaming answers each path with what is sent on its channel.
func streaming(t *testing.T, send chan string) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/refused" {
			http.Error(w, "no such job", http.StatusNotFound)
			return
		}
		control := http.NewResponseController(w)
		_ = control.Flush()
		for {
			select {
			case text, more := <-send:
				if !more {
					return
				}
				fmt.Fprintf(w, "data: {%q}\n\n", text)
				_ = control.Flush()
			case <-r.Context().Done():
				return
			}
		}
	}))
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://")
}

func TestListenersMeasureHowLongMarksTake(t *testing.T) {
	t.Parallel()
	send := make(chan string)
	l, err := load.Listen(t.Context(), streaming(t, send), "token", []string{"/a", "/b", "/c"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	const old = time.Minute
	for range 3 {
		send <- "no mark"
		send <- load.Mark(time.Now().Add(-old)) + " and more"
	}
	took, err := l.Arrived(t.Context(), 3, time.Minute)
	if err != nil || len(took) != 3 {
		t.Fatalf("%d marks, %v, want 3", len(took), err)
	}
	for _, d := range took {
		if d < old || d > 2*old {
			t.Errorf("a mark took %s, want a little more than %s", d, old)
		}
	}
	const patience = time.Millisecond
	if took, err = l.Arrived(t.Context(), 2, patience); err != nil || len(took) != 2 || took[0] != patience {
		t.Errorf("got %v, %v, want two that took all patience", took, err)
	}
}

func TestAStreamThatCannotBeFollowedIsAnError(t *testing.T) {
	t.Parallel()
	send := make(chan string)
	address := streaming(t, send)
	if _, err := load.Listen(t.Context(), address, "", []string{"/a", "/refused"}); err == nil || !strings.Contains(err.Error(), "no such job") {
		t.Errorf("refused: %v", err)
	}
	l, err := load.Listen(t.Context(), address, "", []string{"/a"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	close(send)
	if _, err := l.Arrived(t.Context(), 1, time.Minute); err == nil || !strings.Contains(err.Error(), "a stream ended") {
		t.Errorf("ended: %v", err)
	}
}
