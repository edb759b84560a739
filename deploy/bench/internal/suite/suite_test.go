package suite_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/tarento/copilot/deploy/bench/internal/suite"
	"github.com/tarento/copilot/deploy/bench/internal/system"
)

// page is a PDF of one page. It lacks the table of its objects, which readers make themselves.
const page = `%PDF-1.4
1 0 obj <</Type /Catalog /Pages 2 0 R>> endobj
2 0 obj <</Type /Pages /Kids [3 0 R] /Count 1>> endobj
3 0 obj <</Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents 4 0 R /Resources <</Font <</F 5 0 R>>>>>> endobj
4 0 obj <</Length 83>> stream
BT /F 12 Tf 72 720 Td (The quick brown fox jumps over the lazy dog, all day.) Tj ET
endstream endobj
5 0 obj <</Type /Font /Subtype /Type1 /BaseFont /Helvetica>> endobj
trailer <</Root 1 0 R>>
%%EOF
`

// measure runs parts of the measurement for a moment, and returns the report and the tables.
func measure(t *testing.T, only string, args ...string) (r suite.Report, tables string) {
	t.Helper()
	var out, log bytes.Buffer
	file := filepath.Join(t.TempDir(), "report.json")
	args = append(args, "-volatile", "-rounds", "1", "-connections", "4", "-only", only, "-json", file)
	err := suite.Run(t.Context(), args, suite.Environment{Getenv: os.Getenv, Dir: ".", Out: &out, Log: &log})
	if err != nil {
		t.Fatalf("%v\n%s", err, &log)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &r); err != nil {
		t.Fatal(err)
	}
	return r, out.String()
}

// sensible checks that something was measured.
func sensible(t *testing.T, c suite.Comparison) {
	t.Helper()
	for name, side := range map[string]suite.Side{c.Of: c.Side, c.To: c.Floor} {
		if len(side.Rounds) != 1 || side.PerSecond <= 0 || side.P50 <= 0 || side.P99 < side.P50 {
			t.Errorf("%s: the figures of %s make no sense: %+v", c.Name, name, side)
		}
	}
	if c.Against.PerSecond.Median <= 0 || c.Against.P99.Median <= 0 {
		t.Errorf("%s: the ratios make no sense: %+v", c.Name, c.Against)
	}
}

// fair checks that something was measured on every side.
func fair(t *testing.T, c suite.Contest, rivals int) {
	t.Helper()
	if len(c.Rivals) != rivals {
		t.Errorf("%s: %d rivals, want %d", c.Name, len(c.Rivals), rivals)
	}
	for _, r := range c.Rivals {
		sensible(t, suite.Comparison{Name: c.Name, Of: c.Of, Side: c.Side, To: r.Name, Floor: r.Side, Against: r.Against})
	}
}

// TestEveryPartMeasures runs the measurement for a moment, but for its longest part. What it measures is not looked at, only that it
// measures.
func TestEveryPartMeasures(t *testing.T) {
	t.Parallel()
	document := filepath.Join(t.TempDir(), "page.pdf")
	if err := os.WriteFile(document, []byte(page), 0o600); err != nil {
		t.Fatal(err)
	}
	r, tables := measure(t, "submit,latency,memory,pdf,rest,login,jobs,sse", "-duration", "300ms", "-rate", "10", "-jobs", "50", "-followers", "50",
		"-bcrypt-cost", "4", "-pdf", document)
	for _, want := range []string{
		"Submit of an agent run over REST, 4 connections", "Submit to done, 10 embedding jobs/s", "Resident memory", "Binaries", "page.pdf",
		"GET one agent, 4 connections", "list 20 agents, 4 connections", "goal, ", "processor time of one answer", "The flood: ",
		"50 jobs that do nothing, from submit to committed end, in batches", "Submit to start, 10 jobs/s", "idle followers", "Token relay",
	} {
		if !strings.Contains(tables, want) {
			t.Errorf("the tables lack %q:\n%s", want, tables)
		}
	}
	if len(r.Submit) != 1 || r.Latency == nil || r.Memory == nil || r.PDF == nil || len(r.Rest) != 4 || r.Login == nil {
		t.Fatalf("a part is missing: %+v", r)
	}
	for _, c := range r.Submit {
		fair(t, c, 2)
	}
	if len(r.Jobs) != 5 {
		t.Fatalf("%d contests of jobs, want 5", len(r.Jobs))
	}
	if r.SSE == nil || r.SSE.Memory.Followers != 50 || len(r.SSE.Memory.Gateway) != 1 || len(r.SSE.Memory.Floor) != 1 {
		t.Fatalf("the memory of followers makes no sense: %+v", r.SSE)
	}
	sensible(t, r.SSE.Topics)
	sensible(t, r.SSE.Relay)
	for i, rivals := range []int{1, 2, 2, 2, 1} {
		fair(t, r.Jobs[i], rivals)
	}
	for name, side := range map[string]suite.Side{"system": r.Latency.System, "the loop": r.Latency.Floor} {
		if len(side.Rounds) != 1 || side.PerSecond <= 0 || side.P50 <= 0 || side.P99 < side.P50 {
			t.Errorf("the figures of %s make no sense: %+v", name, side)
		}
	}
	for _, c := range append(r.Rest, r.Login.Logins, r.Login.Busy, r.Login.Paced) {
		sensible(t, c)
	}
	if r.Login.Places < 1 || r.Login.Tried <= 0 {
		t.Errorf("the logins make no sense: %+v", r.Login)
	}
	if c := r.Rest[0]; c.Side.Server <= 0 || c.Side.Postgres <= 0 || c.Floor.Server <= 0 {
		t.Errorf("%s: it cost no processor time: %+v, %+v", c.Name, c.Side, c.Floor)
	}
	if ratio := r.Latency.Against.P50.Median; ratio <= 0 {
		t.Errorf("the ratio of the latency is %v", ratio)
	}
	const least = 1 << 20 // no Go program is smaller
	for _, p := range r.Memory.Programs {
		if p.Idle.Resident < least || p.Idle.Peak < p.Idle.Resident || p.Busy.Resident < least || p.Busy.Peak < p.Busy.Resident {
			t.Errorf("the memory of %s makes no sense: %+v", p.Program, p)
		}
	}
	for _, program := range system.Programs() {
		if r.Memory.Binaries[program] < least {
			t.Errorf("%s has %d bytes", program, r.Memory.Binaries[program])
		}
	}
	if r.PDF.Pages != 1 || r.PDF.Chunks == 0 || r.PDF.PagesPerSecond <= 0 || len(r.PDF.Rounds) != 1 {
		t.Errorf("the ingest makes no sense: %+v", r.PDF)
	}
}

func TestQueuesAreMeasured(t *testing.T) {
	t.Parallel()
	r, tables := measure(t, "queue,fairness", "-few", "200", "-many", "400", "-duration", "10ms", "-jobs", "100")
	if r.Queue == nil || r.Queue.Few != 200 || r.Queue.Many != 4000 || len(r.Queue.Statements) != 4 {
		t.Fatalf("the queue makes no sense: %+v", r.Queue)
	}
	for _, g := range r.Queue.Statements {
		if g.Few <= 0 || g.Many <= 0 || g.Ratio.Median <= 0 {
			t.Errorf("%s: the figures make no sense: %+v", g.List, g)
		}
	}
	sensible(t, r.Queue.Dispatch)
	if len(r.Fairness) != 2 {
		t.Fatalf("%d floods, want 2", len(r.Fairness))
	}
	for _, f := range r.Fairness {
		if len(f.Alone) != 1 || len(f.Beside) != 1 || f.Alone[0].P95 <= 0 || f.Beside[0].P95 <= 0 || f.Ratio.Median <= 0 {
			t.Errorf("%s: the waits make no sense: %+v", f.Name, f)
		}
	}
	for _, want := range []string{"newest 20", "Dispatch of ", "Interactive beside bulk"} {
		if !strings.Contains(tables, want) {
			t.Errorf("the tables lack %q:\n%s", want, tables)
		}
	}
}

func TestListsAreMeasured(t *testing.T) {
	t.Parallel()
	r, tables := measure(t, "rows", "-few", "200", "-many", "400", "-duration", "1ms")
	if r.Rows == nil || r.Rows.Few != 200 || r.Rows.Many != 400 || r.Rows.Loaded <= 0 {
		t.Fatalf("the rows make no sense: %+v", r.Rows)
	}
	pages := map[string]bool{}
	for _, g := range r.Rows.Lists {
		if !g.Forbidden && (g.Few <= 0 || g.Many <= 0 || g.Ratio.Median <= 0) {
			t.Errorf("%s as %s: the figures make no sense: %+v", g.List, g.As, g)
		}
		pages[g.List] = pages[g.List] || !g.Forbidden
		if g.Forbidden && (g.As != system.Member || !strings.HasPrefix(g.List, "/audit-logs")) {
			t.Errorf("%s as %s is forbidden, and so was not measured", g.List, g.As)
		}
	}
	for _, list := range []string{"/conversations", "/conversations, second page", "/conversations/search?q={rare}", "/conversations/{conversation}/messages", "/documents"} {
		if !pages[list] {
			t.Errorf("%s was not measured:\n%s", list, tables)
		}
	}
	if !strings.Contains(tables, "goal met by ") {
		t.Errorf("the tables do not tell how many lists meet the goal:\n%s", tables)
	}
}

func TestAWrongCallIsExplained(t *testing.T) {
	t.Parallel()
	engines := map[string]string{
		"TEST_DATABASE_URL": os.Getenv("TEST_DATABASE_URL"), "TEST_NATS_URL": "x", "TEST_REDIS_URL": "x", "TEST_QDRANT_URL": "x",
		"TEST_GEMINI_URL": "x",
	}
	for name, c := range map[string]struct {
		args []string
		env  map[string]string
		dir  string
		want []string
	}{
		"no engines":               {nil, nil, ".", []string{"TEST_DATABASE_URL, TEST_NATS_URL", "make bench", "devstack exec --durable"}},
		"a Postgres without fsync": {nil, engines, ".", []string{"without fsync", "--durable"}},
		"outside the repository":   {[]string{"-volatile"}, engines, t.TempDir(), []string{"not in the repository"}},
		"no such part":             {[]string{"-only", "submit,speed"}, engines, ".", []string{`"speed" is none of submit, latency, memory, pdf, rest, login, rows, jobs, sse, queue, fairness`}},
		"no rounds":                {[]string{"-rounds", "0"}, engines, ".", []string{"must be positive"}},
		"a word too many":          {[]string{"fast"}, engines, ".", []string{`unexpected argument "fast"`}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			getenv := func(name string) string { return c.env[name] }
			err := suite.Run(t.Context(), c.args, suite.Environment{Getenv: getenv, Dir: c.dir, Out: &bytes.Buffer{}, Log: &bytes.Buffer{}})
			if err == nil {
				t.Fatal("it ran")
			}
			for _, want := range c.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("it said %q, want %q", err, want)
				}
			}
		})
	}
}

func TestHelpListsThePartsAndTheFlags(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	if err := suite.Run(t.Context(), []string{"-h"}, suite.Environment{Out: &out}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"submit ", "latency ", "memory ", "pdf ", "rest ", "login ", "rows ", "jobs ", "sse ", "queue ", "fairness ", "-only", "-rounds", "-duration", "-pdf", "-json", "make bench"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("help does not mention %q", want)
		}
	}
}

func TestOnlyTheWantedPartsRun(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ args, want []string }{
		"all by default": {nil, []string{"submit", "latency", "memory", "pdf", "rest", "login", "rows", "jobs", "sse", "queue", "fairness"}},
		"one":            {[]string{"-only", "pdf"}, []string{"pdf"}},
		"two at once":    {[]string{"-only", "memory,submit"}, []string{"submit", "memory"}},
		"two one by one": {[]string{"-only", "memory", "-only", "submit"}, []string{"submit", "memory"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got, err := suite.WantedParts(c.args); err != nil || !slices.Equal(got, c.want) {
				t.Errorf("got %v, %v, want %v", got, err, c.want)
			}
		})
	}
}
