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

// TestEveryPartMeasures runs the whole measurement for a moment. What it measures is not looked at, only that it measures.
func TestEveryPartMeasures(t *testing.T) {
	t.Parallel()
	var out, log bytes.Buffer
	file, document := filepath.Join(t.TempDir(), "report.json"), filepath.Join(t.TempDir(), "page.pdf")
	if err := os.WriteFile(document, []byte(page), 0o600); err != nil {
		t.Fatal(err)
	}
	args := []string{
		"-volatile", "-rounds", "1", "-duration", "300ms", "-connections", "4", "-rate", "10", "-pdf", document, "-json", file,
	}
	err := suite.Run(t.Context(), args, suite.Environment{Getenv: os.Getenv, Dir: ".", Out: &out, Log: &log})
	if err != nil {
		t.Fatalf("%v\n%s", err, &log)
	}
	for _, want := range []string{
		"Submit over REST, 4 connections", "Submit to done, 10 embedding jobs/s", "Resident memory", "Binaries", "page.pdf",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the tables lack %q:\n%s", want, &out)
		}
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var r suite.Report
	if err := json.Unmarshal(text, &r); err != nil {
		t.Fatal(err)
	}
	if r.Submit == nil || r.Latency == nil || r.Memory == nil || r.PDF == nil {
		t.Fatalf("a part is missing: %s", text)
	}
	for name, side := range map[string]suite.Side{
		"gateway": r.Submit.Gateway, "its floor": r.Submit.Floor, "system": r.Latency.System, "the loop": r.Latency.Floor,
	} {
		if len(side.Rounds) != 1 || side.PerSecond <= 0 || side.P50 <= 0 || side.P99 < side.P50 {
			t.Errorf("the figures of %s make no sense: %+v", name, side)
		}
	}
	for name, ratio := range map[string]float64{"submit": r.Submit.Against.PerSecond.Median, "latency": r.Latency.Against.P50.Median} {
		if ratio <= 0 {
			t.Errorf("the ratio of %s is %v", name, ratio)
		}
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
		"no such part":             {[]string{"-only", "submit,speed"}, engines, ".", []string{`"speed" is none of submit, latency, memory, pdf`}},
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
	for _, want := range []string{"submit ", "latency ", "memory ", "pdf ", "-only", "-rounds", "-duration", "-pdf", "-json", "make bench"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("help does not mention %q", want)
		}
	}
}

func TestOnlyTheWantedPartsRun(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ args, want []string }{
		"all by default": {nil, []string{"submit", "latency", "memory", "pdf"}},
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
