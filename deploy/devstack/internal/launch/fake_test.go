package launch

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"syscall"
	"time"
)

// behavior is the variable that says what a fake program does.
const behavior = "FAKE_BEHAVIOR"

// IsFakeProgram reports whether the test program was started under the name of one of the system's programs.
func IsFakeProgram(path string) bool {
	return slices.ContainsFunc(programs(), func(p program) bool { return p.name == filepath.Base(path) })
}

// PlayProgram is a program as the launcher sees it: it serves /readyz until SIGTERM, or misbehaves as it is told to.
func PlayProgram(path string) error {
	name := filepath.Base(path)
	if os.Getenv(behavior) == "die:"+name {
		fmt.Println(`{"level":"ERROR","msg":"the color of the sky is wrong"}`)
		return errors.New("giving up")
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	mux := http.NewServeMux()
	mux.HandleFunc("GET /readyz", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("POST /die", func(http.ResponseWriter, *http.Request) { os.Exit(9) })
	mux.HandleFunc("GET /env", func(w http.ResponseWriter, _ *http.Request) {
		for _, entry := range os.Environ() {
			_, _ = fmt.Fprintln(w, entry)
		}
	})
	server := &http.Server{Addr: os.Getenv(varOps), Handler: mux, ReadHeaderTimeout: time.Minute}
	go func() {
		<-ctx.Done()
		_ = server.Close()
	}()
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
