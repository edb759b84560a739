package chaos

import (
	"context"
	"errors"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
	"time"
)

// supervised is a program of a shell that is ready at once.
func supervised(t *testing.T, script string) *process {
	t.Helper()
	p := &process{name: "script", path: "/bin/sh", args: []string{"-c", script}, env: inherited()}
	if err := start(p, t.TempDir()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.stop(soon) })
	return p
}

// readyNow waits for a program and returns its number.
func readyNow(t *testing.T, p *process) int {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), soon)
	defer cancel()
	if err := p.await(ctx, http.DefaultClient); err != nil {
		t.Fatal(err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.pid
}

func TestAProgramThatEndsByItselfIsStartedAgain(t *testing.T) {
	t.Parallel()
	p := supervised(t, "echo ready $$; exec sleep 60")
	first := readyNow(t, p)
	p.mu.Lock()
	ended := p.ended
	p.mu.Unlock()
	if err := syscall.Kill(first, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	<-ended
	if second := readyNow(t, p); second == first || p.deaths() != 1 {
		t.Errorf("process %d follows %d after %d deaths, want another one after one", second, first, p.deaths())
	}
}

func TestAProgramThatIsTakenDownStaysDownUntilItIsReleased(t *testing.T) {
	t.Parallel()
	p := supervised(t, "echo ready $$; exec sleep 60")
	readyNow(t, p)
	if !p.takeDown(syscall.SIGKILL, soon) {
		t.Error("it outlived SIGKILL")
	}
	if n := p.deaths(); n != 0 {
		t.Errorf("%d deaths are said to be nobody's wish", n)
	}
	p.release()
	readyNow(t, p)
}

func TestAProgramThatDoesNotStopIsKilled(t *testing.T) {
	t.Parallel()
	p := supervised(t, "trap '' TERM; echo ready $$; while :; do sleep 0.05; done")
	readyNow(t, p)
	if p.takeDown(syscall.SIGTERM, 100*time.Millisecond) {
		t.Error("it is said to have ended in time")
	}
}

func TestAFrozenEngineStandsStillWithAllItsProcesses(t *testing.T) {
	t.Parallel()
	beats := filepath.Join(t.TempDir(), "beats")
	p := supervised(t, "(while :; do echo beat >>"+beats+"; sleep 0.02; done) & echo ready $$; wait")
	readyNow(t, p)
	awaitBeats(t, beats, 0)
	thaw := p.freeze()
	if runtime.GOOS == "linux" {
		before := beatsIn(t, beats)
		<-time.After(short)                                           // nothing tells that nothing happens
		if after := beatsIn(t, beats); after > before+len("beat\n") { // one may have been under way
			t.Errorf("it went on from %d bytes of beats to %d", before, after)
		}
	}
	thaw()
	awaitBeats(t, beats, beatsIn(t, beats))
}

func beatsIn(t *testing.T, path string) int {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return len(text)
}

// awaitBeats waits for more.
func awaitBeats(t *testing.T, path string, than int) {
	t.Helper()
	for range 2000 {
		if beatsIn(t, path) > than {
			return
		}
		<-time.After(10 * time.Millisecond)
	}
	t.Fatal("it does not beat")
}
