package httpapi

import (
	"bytes"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/gin-gonic/gin"
)

func TestPanicBecomesAProblemThatTellsNothing(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	s := &Server{log: slog.New(slog.NewJSONHandler(&log, nil))}
	router := gin.New()
	router.Use(s.identify, survive)
	router.GET("/", func(*gin.Context) { panic("the secret is sesame") })
	w := httptest.NewRecorder()
	router.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil))
	if w.Code != 500 || w.Header().Get("Content-Type") != problemMedia || strings.Contains(w.Body.String(), "sesame") ||
		!strings.Contains(w.Body.String(), w.Header().Get(headerRequestID)) {
		t.Errorf("answered %d %v %s", w.Code, w.Header(), w.Body)
	}
	if !strings.Contains(log.String(), "sesame") || !strings.Contains(log.String(), w.Header().Get(headerRequestID)) {
		t.Errorf("logged %s", log.String())
	}
}

func TestPreferenceIsReadAsItIsMeant(t *testing.T) {
	t.Parallel()
	for prefer, want := range map[string]string{
		"": "0s", "wait=5": "5s", "respond-async, wait=5": "5s", "Wait = 7": "7s", `wait="9"; x=y`: "9s", "wait=3600": "30s",
		"wait=-1": "0s", "wait=soon": "0s", "waiting=5": "0s",
	} {
		if got := preferredWait(prefer).String(); got != want {
			t.Errorf("Prefer: %s waits %s, want %s", prefer, got, want)
		}
	}
}

func TestFileNamesLoseTheirPath(t *testing.T) {
	t.Parallel()
	for sent, want := range map[string]string{
		"a.pdf": "a.pdf", `C:\x\a.pdf`: "a.pdf", "../../etc/passwd": "passwd", "": "unnamed", "/": "unnamed", "a\nb.md": "ab.md",
	} {
		if got := fileName(sent); got != want {
			t.Errorf("%q becomes %q, want %q", sent, got, want)
		}
	}
	if got := fileName(strings.Repeat("ü", 300)); len(got) > 255 || !strings.HasPrefix(got, "ü") {
		t.Errorf("a long name becomes %d bytes", len(got))
	}
}
