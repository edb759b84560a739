package system

import (
	"context"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/tarento/copilot/events"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestMemoryIsReadFromTheKernelsWords(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		status string
		want   Memory
		fails  string
	}{
		"both lines":          {status: "Name:\tx\nVmHWM:\t    200 kB\nVmRSS:\t     100 kB\n", want: Memory{Resident: 100 << 10, Peak: 200 << 10}},
		"at the very start":   {status: "VmRSS: 1 kB\nVmHWM: 2 kB", want: Memory{Resident: 1 << 10, Peak: 2 << 10}},
		"a process that died": {status: "Name:\tx\nState:\tZ (zombie)\n", fails: "there is no Vm"},
		"another unit":        {status: "VmRSS: 1 MB\nVmHWM: 2 MB\n", fails: "there is no Vm"},
		"no number":           {status: "VmRSS: much kB\nVmHWM: much kB\n", fails: "is no number"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := parseMemory([]byte(c.status))
			if c.fails != "" {
				if err == nil || !strings.Contains(err.Error(), c.fails) {
					t.Errorf("got %v, want %q", err, c.fails)
				}
				return
			}
			if err != nil || got != c.want {
				t.Errorf("got %+v, %v, want %+v", got, err, c.want)
			}
		})
	}
}

func TestProcessorTimeIsReadFromTheKernelsWords(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		stat  string
		want  time.Duration
		fails bool
	}{
		"of a program":                   {stat: "7 (gateway) S 1 7 7 0 -1 4194560 9 0 0 0 150 50 0 0 20 0 9 0 1 2 3", want: 2 * time.Second},
		"of one with spaces in its name": {stat: "7 (a) b c) S 1 7 7 0 -1 4194560 9 0 0 0 1 2 0 0 20 0 9 0 1 2 3", want: 30 * time.Millisecond},
		"of nothing":                     {stat: "", fails: true},
		"of a line that is cut":          {stat: "7 (gateway) S 1 7 7", fails: true},
		"of a line with words for times": {stat: "7 (gateway) S 1 7 7 0 -1 4194560 9 0 0 0 x y 0 0", fails: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got, err := parseProcessor([]byte(c.stat)); got != c.want || (err != nil) != c.fails {
				t.Errorf("got %s, %v, want %s", got, err, c.want)
			}
		})
	}
}

func TestTheFamilyOfAProcessIsReadFromTheKernelsWords(t *testing.T) {
	t.Parallel()
	stat := []byte("7 (postgres) S 3 7 7 0 -1 4194560 9 0 0 0 150 50 20 30 20 0 9 0 1 2 3")
	if parent, err := parseParent(stat); parent != 3 || err != nil {
		t.Errorf("the parent is %d, %v, want 3", parent, err)
	}
	if ended, err := parseEnded(stat); ended != 500*time.Millisecond || err != nil {
		t.Errorf("children that have ended took %s, %v, want 500ms", ended, err)
	}
	if _, err := parseParent([]byte("7 (postgres) S x")); err == nil {
		t.Error("a parent that is no number was read")
	}
}

func TestOnlyTroubleIsQuoted(t *testing.T) {
	t.Parallel()
	p := &process{log: filepath.Join(t.TempDir(), "log")}
	text := `{"level":"WARN","msg":"a"}
{"level":"WARN","msg":"b"}
{"level":"INFO","msg":"c"}
panic: d
{"level":"INFO","msg":"e"}
`
	if err := os.WriteFile(p.log, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, want := p.last(2, trouble), "{\"level\":\"WARN\",\"msg\":\"b\"}\npanic: d"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got, want := p.last(2, nil), "panic: d\n{\"level\":\"INFO\",\"msg\":\"e\"}"; got != want {
		t.Errorf("without a filter got %q, want %q", got, want)
	}
}

func TestADatabaseIsNamedWithItsRole(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		server, role, want string
		fails              bool
	}{
		"as the owner":   {server: "postgres://u:p@h:1/postgres?sslmode=disable", want: "postgres://u:p@h:1/x?sslmode=disable"},
		"in a role":      {server: "postgres://u:p@h:1/postgres", role: "app", want: "postgres://u:p@h:1/x?role=app"},
		"no URL at all":  {server: "host=h user=u", fails: true},
		"not a Postgres": {server: "mysql://u:p@h:1/x", fails: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := Engines{Database: c.server}.database("x", c.role)
			if got != c.want || (err != nil) != c.fails {
				t.Errorf("got %q, %v, want %q", got, err, c.want)
			}
		})
	}
}

func TestAProgramThatFailsIsQuoted(t *testing.T) {
	t.Parallel()
	p, err := start(t.Context(), "sh", "/bin/sh", t.TempDir(), nil, "-c", "echo the disk is full >&2; exit 3")
	if err != nil {
		t.Fatal(err)
	}
	err = p.awaitReady(t.Context(), http.DefaultClient)
	if err == nil || !strings.Contains(err.Error(), "the disk is full") || !strings.Contains(err.Error(), "exit status 3") {
		t.Errorf("got %v, want what it said and how it ended", err)
	}
	if err := p.end(); err != nil {
		t.Error(err)
	}
}

func TestAProgramEndsWithItsContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	p, err := start(ctx, "sleep", "/bin/sleep", t.TempDir(), nil, "60")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat((&System{processes: []*process{p}}).proc("sleep", "status")); err != nil {
		t.Errorf("its process is not there: %v", err)
	}
	cancel()
	<-p.done
	if p.err == nil {
		t.Error("it ended by itself")
	}
}

func TestAJobSaysWhyItDidNotSucceed(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		job  Job
		want string
	}{
		"that succeeded":           {Job{Status: events.StatusSucceeded}, ""},
		"that still runs":          {Job{ID: "7", Status: events.StatusRunning}, "job 7 is running"},
		"that failed and says why": {Job{ID: "7", Status: events.StatusFailed, Error: &events.Failure{Code: "full", Message: "No room."}}, "job 7 is failed: No room. (full)"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := ""
			if err := c.job.Succeeded(); err != nil {
				got = err.Error()
			}
			if got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}
