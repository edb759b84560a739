package e2e_test

import (
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"text/tabwriter"
	"time"
)

// drills are the tests named TestDrill...: each does to the system what a promise is about, and measures it. They run small with all
// other tests, and at full size, one after the other and with nothing beside them, for `make drill`.
type drills struct {
	full  bool
	began time.Time

	mu       sync.Mutex
	promises []promise
}

// promise is one line of the report.
type promise struct {
	what, goal, measured string
	held                 bool
}

// parse reads the command line: the flags of package testing, and ours, which decide about those.
func (d *drills) parse() error {
	var only []string
	flag.BoolVar(&d.full, "drill", false, "do the drills, and nothing else, at full size")
	flag.Func("only", "with -drill: only those with this `word` in their name, such as takeover; repeatable", func(word string) error {
		if strings.ContainsFunc(word, func(r rune) bool { return r < 'A' || r > 'z' }) {
			return fmt.Errorf("%q is no word", word)
		}
		only = append(only, word)
		return nil
	})
	flag.Parse()
	d.began = time.Now()
	if !d.full {
		return nil
	}
	_, _ = fmt.Fprintln(os.Stdout, "drill: building the programs")
	for name, value := range map[string]string{
		"test.run": "^TestDrill.*(?i:" + strings.Join(only, "|") + ")", "test.parallel": "1",
	} {
		if err := flag.Set(name, value); err != nil {
			return err
		}
	}
	return nil
}

// write writes the report of a run at full size, and returns the exit code: a run that found out nothing is no success.
func (d *drills) write(out io.Writer, code int) int {
	if !d.full {
		return code
	}
	if len(d.promises) == 0 {
		_, _ = fmt.Fprintln(out, "drill: no promise was put to the test")
		return max(code, 1)
	}
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprint(t, "\npromise\tgoal\tmeasured\t\n")
	for _, p := range d.promises {
		verdict := "held"
		if !p.held {
			verdict = "BROKEN"
		}
		_, _ = fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", p.what, p.goal, p.measured, verdict)
	}
	if err := t.Flush(); err != nil {
		return max(code, 1)
	}
	return code
}

// drill is one of them.
type drill struct {
	*drills

	t *testing.T
}

func newDrill(t *testing.T) *drill {
	t.Helper()
	return &drill{drills: shared.drills, t: t}
}

// size is how much of something there is: little among all the other tests.
func size[N int | time.Duration | string](d *drill, little, full N) N {
	if d.full {
		return full
	}
	return little
}

// sayf tells how it goes.
func (d *drill) sayf(format string, args ...any) {
	d.t.Helper()
	if d.full {
		_, _ = fmt.Fprintf(os.Stdout, "drill: %4.0f s  %s\n", time.Since(d.began).Seconds(), fmt.Sprintf(format, args...))
		return
	}
	d.t.Logf(format, args...)
}

// promised notes what was found out about a promise. One that was not held fails the test.
func (d *drill) promised(what, goal, measured string, held bool) {
	d.t.Helper()
	d.mu.Lock()
	d.promises = append(d.promises, promise{what, goal, measured, held})
	d.mu.Unlock()
	d.sayf("%s: %s, goal %s", what, measured, goal)
	if !held {
		d.t.Errorf("%s: %s, want %s", what, measured, goal)
	}
}

// none is promised for what must not happen at all.
func (d *drill) none(what string, n, of int, unit string) {
	d.t.Helper()
	d.promised(what, "0", strings.TrimSpace(fmt.Sprintf("%d of %d %s", n, of, unit)), n == 0 && of > 0)
}

// patience is what is added to every goal where the machine does much else: then only a wrong result fails.
const patience = 20 * time.Second

// within is promised for what must be quick.
func (d *drill) within(what string, goal time.Duration, times []time.Duration, percent int) {
	d.t.Helper()
	if len(times) == 0 {
		d.promised(what, goal.String(), "nothing", false)
		return
	}
	slices.Sort(times)
	measured := times[min(len(times)*percent/100, len(times)-1)]
	limit := goal
	if !d.full {
		limit += patience
	}
	which := ""
	if percent < 100 {
		which = fmt.Sprintf("p%d ", percent)
	}
	d.promised(what, fmt.Sprintf("%sat most %s", which, goal), fmt.Sprintf("%s, median %s, of %d", rounded(measured),
		rounded(times[len(times)/2]), len(times)), measured <= limit)
}

func rounded(d time.Duration) time.Duration { return d.Round(time.Millisecond) }

// pause waits; false means that the test is over.
func pause(t *testing.T, d time.Duration) bool {
	t.Helper()
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-t.Context().Done():
		return false
	}
}
