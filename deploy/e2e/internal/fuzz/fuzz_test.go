package fuzz_test

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/tarento/copilot/deploy/e2e/internal/fuzz"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// try runs the program's heart against a fake with a flaw.
func try(t *testing.T, flaw string, cases int) fuzz.Result {
	t.Helper()
	result, err := fuzz.Run(t.Context(), fuzz.Options{URL: newFake(t, flaw), Seed: 7, Cases: cases, Number: -1, Workers: 2, Out: io.Discard})
	if err != nil {
		t.Fatal(err)
	}
	return result
}

func TestAnAPIThatIsRightHasNoFailures(t *testing.T) {
	t.Parallel()
	result := try(t, "", 100)
	var out strings.Builder
	if err := result.Write(&out); err != nil {
		t.Fatal(err)
	}
	if len(result.Failures) > 0 || len(result.Unreached) > 0 {
		t.Errorf("found\n%s", &out)
	}
	if result.Operations != 5 || result.Cases < 5*100 {
		t.Errorf("tried %d cases of %d operations", result.Cases, result.Operations)
	}
	for _, status := range []int{200, 201, 204, 401, 404, 405, 412, 413, 415, 422} {
		if result.Statuses[status] == 0 {
			t.Errorf("nothing was answered with %d", status)
		}
	}
	if want := fmt.Sprintf("operations: 5, cases: %d, failures: 0\n", result.Cases); !strings.HasSuffix(out.String(), want) {
		t.Errorf("the last line is not %q in %s", want, &out)
	}
}

func TestEveryFlawIsFound(t *testing.T) {
	t.Parallel()
	for flaw, want := range map[string]struct{ kind, reason string }{
		"lets everybody in":          {"login", "not logged in"},
		"lists everybody's":          {"tenant", "another tenant's"},
		"shows everybody's":          {"tenant", "another tenant's"},
		"tells that it is another's": {"tenant", "can be told from"},
		"makes it twice":             {"twice", "made 8 things"},
		"loses updates":              {"lost update", "updates of one version succeeded"},
		"falls over NUL":             {"fault", "status 500"},
		"takes unknown fields":       {"accepted", "the body does not fit"},
		"takes any name":             {"accepted", "the body does not fit"},
		"shows too much":             {"contract", "owner"},
		"shows a stack":              {"inside", "a stack"},
		"shows SQL":                  {"inside", "SQLSTATE"},
		"shows a password":           {"secret", "a password"},
		"answers with HTML":          {"contract", "text/html"},
		"answers as a teapot":        {"contract", "418"},
		"forgets the location":       {"header", "Location"},
		"forgets the request id":     {"header", "X-Request-ID"},
		"hangs up":                   {"silence", "no answer"},
	} {
		t.Run(flaw, func(t *testing.T) {
			t.Parallel()
			result := try(t, flaw, 30)
			for _, f := range result.Failures {
				if f.Kind == want.kind && strings.Contains(f.Reason, want.reason) && f.Count > 0 && strings.HasPrefix(f.Curl, "curl ") {
					return
				}
			}
			t.Errorf("not found among %+v", result.Failures)
		})
	}
}

func TestACaseIsReplayed(t *testing.T) {
	t.Parallel()
	url := newFake(t, "falls over NUL")
	first, err := fuzz.Run(t.Context(), fuzz.Options{URL: url, Seed: 7, Cases: 100, Number: -1, Workers: 2, Out: io.Discard})
	if err != nil {
		t.Fatal(err)
	}
	if len(first.Failures) == 0 {
		t.Fatal("nothing was found to replay")
	}
	f := first.Failures[0]
	var out, progress bytes.Buffer
	code := fuzz.Main(t.Context(), []string{"--url", url, "--seed", "7", "--replay", fmt.Sprintf("%s:%d", f.Operation, f.Number)},
		func(string) string { return "" }, &out, &progress)
	if code != 1 || !strings.Contains(out.String(), f.Reason) || !strings.HasSuffix(out.String(), "operations: 1, cases: 1, failures: 1\n") {
		t.Errorf("exit code %d, said %s%s", code, &out, &progress)
	}
}

func TestTheProgramIsToldWhatToDo(t *testing.T) {
	t.Parallel()
	url := newFake(t, "")
	for name, c := range map[string]struct {
		args []string
		env  string
		code int
		says string
	}{
		"nothing":                          {nil, "", 2, "make fuzz-api"},
		"a word too many":                  {[]string{"now"}, url, 2, `unexpected argument "now"`},
		"a case without its seed":          {[]string{"--replay", "get-lamp:1"}, url, 2, "--seed"},
		"a case without its number":        {[]string{"--seed", "1", "--replay", "get-lamp"}, url, 2, "--replay needs"},
		"to go on for ever":                {[]string{"--cases", "0"}, url, 2, "never end"},
		"an operation that does not exist": {[]string{"--only", "fly"}, url, 1, `no operation "fly"`},
		"a system that is not there":       {[]string{"--url", "http://127.0.0.1:1"}, "", 1, "fuzz-api: fuzz:"},
		"one operation, with a seed":       {[]string{"--only", "get-lamp", "--seed", "3", "--cases", "5"}, url, 0, "seed 3"},
		"until a time":                     {[]string{"--cases", "0", "--for", "200ms"}, url, 0, "seed"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var out, progress bytes.Buffer
			code := fuzz.Main(t.Context(), c.args, func(string) string { return c.env }, &out, &progress)
			if said := progress.String() + out.String(); code != c.code || !strings.Contains(said, c.says) {
				t.Errorf("exit code %d, said %q; want %d and %q", code, said, c.code, c.says)
			}
		})
	}
}
