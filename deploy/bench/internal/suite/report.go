package suite

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/tarento/copilot/deploy/bench/internal/load"
	"github.com/tarento/copilot/deploy/bench/internal/stat"
	"github.com/tarento/copilot/deploy/bench/internal/system"
)

// Report is all that was measured. The parts that were left out are nil. Durations are in milliseconds, sizes in bytes.
type Report struct {
	TakenAt time.Time    `json:"taken_at"`
	Machine Machine      `json:"machine"`
	Submit  []Contest    `json:"submit,omitempty"`
	Latency *Latency     `json:"latency,omitempty"`
	Memory  *Memory      `json:"memory,omitempty"`
	PDF     *PDF         `json:"pdf,omitempty"`
	Rest    []Comparison `json:"rest,omitempty"`
	Login   *Login       `json:"login,omitempty"`
	Rows    *Rows        `json:"rows,omitempty"`
	Jobs    []Contest    `json:"jobs,omitempty"`
	SSE     *SSE         `json:"sse,omitempty"`
	Queue   *Queue       `json:"queue,omitempty"`
	// Fairness has one entry for each kind of flood.
	Fairness []Fairness `json:"fairness,omitempty"`
}

// Machine is where it was measured. Load generator, system and engines share it.
type Machine struct {
	OS    string `json:"os"`
	Arch  string `json:"arch"`
	Cores int    `json:"cores"`
	Go    string `json:"go"`
	// Durable says that Postgres brought every commit to the disk. Without that the figures are worth nothing.
	Durable bool `json:"durable"`
}

func machine(durable bool) Machine {
	return Machine{OS: runtime.GOOS, Arch: runtime.GOARCH, Cores: runtime.GOMAXPROCS(0), Go: runtime.Version(), Durable: durable}
}

// Comparison is one load on two sides.
type Comparison struct {
	Name string `json:"name"`
	// Of and To name the sides: what is measured, and what it is measured against.
	Of      string  `json:"of"`
	To      string  `json:"to"`
	Rounds  int     `json:"rounds"`
	Seconds float64 `json:"seconds,omitempty"` // of a round; zero when a round is a fixed number of jobs
	Side    Side    `json:"side"`
	Floor   Side    `json:"floor"`
	Against Against `json:"ratio"`
	Goal    Goal    `json:"goal"`
}

// Goal is what the medians of the ratios should be. Zero fields ask for nothing.
type Goal struct {
	PerSecond float64 `json:"per_second_at_least,omitempty"`
	P50       float64 `json:"p50_at_most,omitempty"`
	P99       float64 `json:"p99_at_most,omitempty"`
}

// met reports whether the ratios are what they should be.
func (g Goal) met(a Against) bool {
	return a.PerSecond.Median >= g.PerSecond && (g.P50 == 0 || a.P50.Median <= g.P50) && (g.P99 == 0 || a.P99.Median <= g.P99)
}

// print writes how the ratios stand with the goal, if there is one.
func (g Goal) print(out io.Writer, a Against) {
	if g != (Goal{}) {
		fmt.Fprintf(out, "goal, %s\t%s\t%s\t%s\t\n", verdict(g.met(a)), bound(">=", g.PerSecond), bound("<=", g.P50), bound("<=", g.P99))
	}
}

// print writes both sides, their ratio, and how it stands with the goal.
func (c *Comparison) print(out io.Writer) {
	fmt.Fprintf(out, "\n%s, medians of %d rounds%s\n", c.Name, c.Rounds, each(c.Seconds))
	versus(out, c.Of, c.Side, c.To, c.Floor, c.Against)
	c.Goal.print(out, c.Against)
	c.Side.priceHead(out)
	c.Side.price(out, c.Of)
	c.Floor.price(out, c.To)
}

func verdict(met bool) string {
	if met {
		return "met"
	}
	return "missed"
}

// bound writes a limit; zero is none.
func bound(relation string, limit float64) string {
	if limit == 0 {
		return ""
	}
	return fmt.Sprintf("%s%.2f", relation, limit)
}

// Latency is how long it takes from a job's submit to the answer that it is done, against a bare loop over NATS.
type Latency struct {
	PerSecond int     `json:"per_second"`
	Rounds    int     `json:"rounds"`
	Seconds   float64 `json:"seconds"` // of a round
	System    Side    `json:"system"`
	Floor     Side    `json:"floor"`
	Against   Against `json:"ratio"`
}

// Side is one of the two that are compared: the medians of its rounds, and the rounds.
type Side struct {
	Round

	Rounds []Round `json:"rounds"`
}

// Round is one round of one side.
type Round struct {
	PerSecond float64 `json:"per_second"`
	P50       float64 `json:"p50_ms"`
	P99       float64 `json:"p99_ms"`
	// Server and Postgres are the processor time of one answer, in microseconds, where it was measured.
	Server   float64 `json:"server_us,omitempty"`
	Postgres float64 `json:"postgres_us,omitempty"`
}

// Against is one side's figures over the other's, round by round.
type Against struct {
	PerSecond stat.Ratio `json:"per_second"`
	P50       stat.Ratio `json:"p50"`
	P99       stat.Ratio `json:"p99"`
}

// Memory is what the programs hold.
type Memory struct {
	Programs []ProgramMemory  `json:"programs"`
	Binaries map[string]int64 `json:"binaries"`
}

// ProgramMemory is what one program holds.
type ProgramMemory struct {
	Program string `json:"program"`
	// Idle is after the start, its peak that of the start.
	Idle system.Memory `json:"idle"`
	// Busy is after the work, its peak that of the work.
	Busy system.Memory `json:"busy"`
}

// PDF is how fast a document is ingested, from its upload to the end of its job.
type PDF struct {
	File   string `json:"file"`
	Bytes  int    `json:"bytes"`
	Pages  int    `json:"pages"`
	Chunks int    `json:"chunks"`
	// Seconds is the median of Rounds; First came before them, and paid for what is made once.
	Seconds        float64   `json:"seconds"`
	PagesPerSecond float64   `json:"pages_per_second"`
	First          float64   `json:"first_seconds"`
	Rounds         []float64 `json:"rounds_seconds"`
}

// round reduces what a load came to, unless it failed.
func round(r load.Result, err error) (Round, error) {
	return Round{
		PerSecond: r.PerSecond(),
		P50:       milliseconds(stat.Percentile(r.Latencies, 0.50)),
		P99:       milliseconds(stat.Percentile(r.Latencies, 0.99)),
	}, err
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// side puts rounds together.
func side(rounds []Round) Side {
	return Side{Rounds: rounds, Round: Round{
		PerSecond: stat.Median(column(rounds, perSecond)),
		P50:       stat.Median(column(rounds, p50)),
		P99:       stat.Median(column(rounds, p99)),
		Server:    stat.Median(column(rounds, func(r Round) float64 { return r.Server })),
		Postgres:  stat.Median(column(rounds, func(r Round) float64 { return r.Postgres })),
	}}
}

// against compares the rounds of two sides.
func against(s, floor Side) Against {
	compare := func(of func(Round) float64) stat.Ratio {
		return stat.Compare(column(s.Rounds, of), column(floor.Rounds, of))
	}
	return Against{PerSecond: compare(perSecond), P50: compare(p50), P99: compare(p99)}
}

func perSecond(r Round) float64 { return r.PerSecond }
func p50(r Round) float64       { return r.P50 }
func p99(r Round) float64       { return r.P99 }

// column picks one figure out of each round.
func column[T any](rounds []T, of func(T) float64) []float64 {
	values := make([]float64, len(rounds))
	for i, r := range rounds {
		values[i] = of(r)
	}
	return values
}

// Print writes the report as tables for people.
func (r *Report) Print(out io.Writer) error {
	var text strings.Builder
	fmt.Fprintf(&text, "%s/%s, %d cores, %s; load generator and engines beside the system\n", r.Machine.OS, r.Machine.Arch, r.Machine.Cores,
		r.Machine.Go)
	if !r.Machine.Durable {
		fmt.Fprintln(&text, "WITHOUT FSYNC: these figures are worth nothing")
	}
	table := tabwriter.NewWriter(&text, 0, 0, 3, ' ', tabwriter.AlignRight)
	for i := range r.Submit {
		r.Submit[i].print(table)
	}
	if l := r.Latency; l != nil {
		fmt.Fprintf(table, "\nSubmit to done, %d embedding jobs/s, medians of %d rounds of %gs\n", l.PerSecond, l.Rounds, l.Seconds)
		versus(table, "whole system", l.System, "bare row + JetStream + 2 updates", l.Floor, l.Against)
	}
	if m := r.Memory; m != nil {
		m.print(table)
	}
	if p := r.PDF; p != nil {
		fmt.Fprintf(table, "\nPDF from upload to completed: %s, %s\n", p.File, megabytes(int64(p.Bytes)))
		fmt.Fprintf(table, "pages\tchunks\tseconds\tpages/s\tfirst\t\n%d\t%d\t%.2f\t%.0f\t%.2f s\t\n",
			p.Pages, p.Chunks, p.Seconds, p.PagesPerSecond, p.First)
	}
	for i := range r.Rest {
		r.Rest[i].print(table)
	}
	if l := r.Login; l != nil {
		l.print(table)
	}
	if rows := r.Rows; rows != nil {
		rows.print(table)
	}
	for i := range r.Jobs {
		r.Jobs[i].print(table)
	}
	if s := r.SSE; s != nil {
		s.print(table)
	}
	if q := r.Queue; q != nil {
		q.print(table)
	}
	for i := range r.Fairness {
		r.Fairness[i].print(table)
	}
	if err := table.Flush(); err != nil {
		return fmt.Errorf("print the report: %w", err)
	}
	if _, err := io.WriteString(out, text.String()); err != nil {
		return fmt.Errorf("print the report: %w", err)
	}
	return nil
}

// versus prints two sides and their ratio.
func versus(out io.Writer, name string, s Side, floorName string, floor Side, a Against) {
	fmt.Fprintln(out, "\tper second\tp50\tp99\t")
	row(out, name, s)
	row(out, floorName, floor)
	ratio(out, "ratio", a)
}

// row writes one side. Short times get a digit more.
func row(out io.Writer, name string, s Side) {
	fmt.Fprintf(out, "%s\t%.0f\t%s\t%s\t\n", name, s.PerSecond, short(s.P50), short(s.P99))
}

func short(ms float64) string {
	if ms < 1 {
		return fmt.Sprintf("%.2f ms", ms)
	}
	return fmt.Sprintf("%.1f ms", ms)
}

// ratio writes the medians of the ratios and how far the rounds are apart.
func ratio(out io.Writer, name string, a Against) {
	fmt.Fprintf(out, "%s\t%.2f\t%.2f\t%.2f\t\n", name, a.PerSecond.Median, a.P50.Median, a.P99.Median)
	fmt.Fprint(out, "of the rounds")
	for _, r := range []stat.Ratio{a.PerSecond, a.P50, a.P99} {
		fmt.Fprintf(out, "\t%.2f-%.2f", r.Least, r.Most)
	}
	fmt.Fprintln(out, "\t")
}

// priceHead stands over the processor times, where they were measured.
func (s Side) priceHead(out io.Writer) {
	if s.Server > 0 {
		fmt.Fprintln(out, "processor time of one answer\tserver\tPostgres\t\t")
	}
}

// price writes the processor time of one answer, where it was measured.
func (s Side) price(out io.Writer, name string) {
	if s.Server > 0 {
		fmt.Fprintf(out, "%s\t%.0f us\t%.0f us\t\t\n", name, s.Server, s.Postgres)
	}
}

func (m *Memory) print(out io.Writer) {
	fmt.Fprintln(out, "\nResident memory: idle after the start; most during an ingest and three questions; after them")
	fmt.Fprintln(out, "\tidle\tpeak\tafter\t")
	for _, p := range m.Programs {
		fmt.Fprintf(out, "%s\t%s\t%s\t%s\t\n", p.Program, megabytes(p.Idle.Resident), megabytes(p.Busy.Peak), megabytes(p.Busy.Resident))
	}
	fmt.Fprintln(out, "\nBinaries")
	for _, program := range system.Programs() {
		fmt.Fprintf(out, "%s\t%s\t\n", program, megabytes(m.Binaries[program]))
	}
}

func megabytes(n int64) string { return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20)) }

// Write stores the report as JSON.
func (r *Report) Write(path string) error {
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	if err := os.WriteFile(path, append(text, '\n'), 0o600); err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	return nil
}
