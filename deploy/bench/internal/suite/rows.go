package suite

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/tarento/copilot/deploy/bench/internal/load"
	"github.com/tarento/copilot/deploy/bench/internal/rows"
	"github.com/tarento/copilot/deploy/bench/internal/stat"
	"github.com/tarento/copilot/deploy/bench/internal/system"
)

const rowsRound = 200 * time.Millisecond

// growthGoal is how much longer a list may take with many rows than with few.
const growthGoal = 2.5

// Rows is how long lists take with many rows, against the same lists with few.
type Rows struct {
	Few    int      `json:"few"`
	Many   int      `json:"many"`
	Rounds int      `json:"rounds"`
	Loaded float64  `json:"many_loaded_seconds"`
	Lists  []Growth `json:"lists"`
}

// Growth is one list as one user.
type Growth struct {
	List string `json:"list"`
	As   string `json:"as"`
	// Few and Many are medians of the rounds' medians, in milliseconds; zero when the list was not measured.
	Few   float64    `json:"few_p50_ms,omitempty"`
	Many  float64    `json:"many_p50_ms,omitempty"`
	Ratio stat.Ratio `json:"ratio"`
	// Forbidden lists are not this user's to read, and so are not measured.
	Forbidden bool `json:"forbidden,omitempty"`
}

// met reports whether the list grows no more than it may.
func (g *Growth) met() bool { return g.Ratio.Median <= growthGoal }

func (r *Rows) print(out io.Writer) {
	fmt.Fprintf(out, "\nLists, p50 on one connection, with %d and with %d rows in each table (loaded in %.0f s), medians of %d rounds\n",
		r.Few, r.Many, r.Loaded, r.Rounds)
	fmt.Fprintf(out, "list\tas\t%d\t%d\tratio\tgoal <=%.1f\t\n", r.Few, r.Many, growthGoal)
	measured, met := 0, 0
	for i := range r.Lists {
		g := &r.Lists[i]
		if g.Forbidden {
			fmt.Fprintf(out, "%s\t%s\t\t\t\tforbidden\t\n", g.List, g.As)
			continue
		}
		measured++
		if g.met() {
			met++
		}
		fmt.Fprintf(out, "%s\t%s\t%.2f ms\t%.2f ms\t%.2f\t%s\t\n", g.List, g.As, g.Few, g.Many, g.Ratio.Median, verdict(g.met()))
	}
	fmt.Fprintf(out, "goal met by %d of %d lists\t\t\t\t\t\t\n", met, measured)
}

// filled is a system with rows.
type filled struct {
	*system.System

	known   rows.Known
	readers []*system.Client // as the names of asUsers
}

// asUsers are who reads the lists: one who may see everything of the tenant, and one who may not.
func asUsers() []string { return []string{system.Admin, system.Member} }

// rows measures every list on two systems with different numbers of rows, by turns.
func (m *measurement) rows(ctx context.Context, report *Report) error {
	return m.on(ctx, []string{system.Gateway}, func(small *system.System) error {
		return m.on(ctx, []string{system.Gateway}, func(large *system.System) error {
			measured := &Rows{Few: m.options.Few, Many: m.options.Many, Rounds: m.options.Rounds}
			if err := known(ctx, small); err != nil {
				return err
			}
			few, _, err := m.fill(ctx, small, measured.Few)
			if err != nil {
				return err
			}
			many, took, err := m.fill(ctx, large, measured.Many)
			if err != nil {
				return err
			}
			measured.Loaded = took.Seconds()
			for i, name := range asUsers() {
				m.sayf("reading lists as %s", name)
				for _, l := range listings() {
					grown, err := m.grow(ctx, l, few, many, i)
					if err != nil {
						return err
					}
					measured.Lists = append(measured.Lists, grown...)
				}
			}
			report.Rows = measured
			return nil
		})
	})
}

// known checks that the API has all the lists that are to be measured.
func known(ctx context.Context, s *system.System) error {
	var api contract
	if err := s.Get(ctx, s.Address, "/openapi.json", &api); err != nil {
		return err
	}
	var lacking []error
	for _, l := range listings() {
		lacking = append(lacking, api.has(l))
	}
	return errors.Join(lacking...)
}

// fill loads a system and logs its readers in.
func (m *measurement) fill(ctx context.Context, s *system.System, n int) (f *filled, took time.Duration, err error) {
	m.sayf("loading %d rows into each table", n)
	f = &filled{System: s}
	start := time.Now()
	if f.known, err = rows.Load(ctx, s.Database, n); err != nil {
		return nil, 0, err
	}
	took = time.Since(start)
	m.sayf("loaded %d rows in %.0f s", n, took.Seconds())
	for _, name := range asUsers() {
		reader, err := s.As(ctx, name)
		if err != nil {
			return nil, 0, err
		}
		f.readers = append(f.readers, reader)
	}
	return f, took, nil
}

// grow measures a list, and its second page where it has one.
func (m *measurement) grow(ctx context.Context, l listing, few, many *filled, as int) ([]Growth, error) {
	first := Growth{List: l.name(), As: asUsers()[as]}
	pages := [2]string{l.url(few.known), l.url(many.known)}
	if err := m.race(ctx, &first, few, many, as, pages); err != nil || first.Forbidden || !l.paged {
		return []Growth{first}, err
	}
	second := Growth{List: l.name() + ", second page", As: first.As}
	for i, side := range []*filled{few, many} {
		next, err := nextPage(ctx, side.readers[as], pages[i])
		if err != nil {
			return nil, err
		}
		if next == "" {
			return []Growth{first}, nil // the list ends with its first page
		}
		pages[i] = next
	}
	err := m.race(ctx, &second, few, many, as, pages)
	return []Growth{first, second}, err
}

// race reads one path on each side by turns.
func (m *measurement) race(ctx context.Context, g *Growth, few, many *filled, as int, paths [2]string) error {
	lasting := m.options.lasting(rowsRound)
	var took [2][]float64
	for round := range 1 + m.options.Rounds {
		for i, side := range []*filled{few, many} {
			request := load.Request{
				Address: side.Address, Method: http.MethodGet, Path: paths[i], Token: side.readers[as].Token, Want: http.StatusOK,
			}
			if round == 0 { // what is made once, a plan or a cache, is not the list's
				var out json.RawMessage
				if err := side.readers[as].Get(ctx, side.Address, paths[i], &out); err != nil {
					return g.excuse(err)
				}
				continue
			}
			result, err := load.Closed(ctx, request, 1, lasting)
			if err != nil {
				return err
			}
			took[i] = append(took[i], milliseconds(stat.Percentile(result.Latencies, 0.5)))
		}
	}
	g.Few, g.Many, g.Ratio = stat.Median(took[0]), stat.Median(took[1]), stat.Compare(took[1], took[0])
	return nil
}

// excuse takes the answer that somebody may not read the list as the reason for its absence. Nothing else is one.
func (g *Growth) excuse(err error) error {
	refused, ok := errors.AsType[*system.StatusError](err)
	if !ok || refused.Status != http.StatusForbidden {
		return fmt.Errorf("list %s as %s: %w", g.List, g.As, err)
	}
	g.Forbidden = true
	return nil
}

// nextPage returns the path of the page after the first one; empty when there is none.
func nextPage(ctx context.Context, c *system.Client, first string) (string, error) {
	var page struct {
		NextCursor string `json:"next_cursor"`
	}
	if err := c.Get(ctx, c.Address, first, &page); err != nil {
		return "", err
	}
	if page.NextCursor == "" {
		return "", nil
	}
	joint := "?"
	if strings.Contains(first, "?") {
		joint = "&"
	}
	return first + joint + "cursor=" + url.QueryEscape(page.NextCursor), nil
}
