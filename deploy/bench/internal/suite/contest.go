package suite

import (
	"context"
	"fmt"
	"io"
	"time"
)

// contender is one side of a comparison: it puts load on its server for a while.
type contender struct {
	name string
	load loading
}

// loading loads one side for about so long, or for a fixed amount of work.
type loading func(ctx context.Context, lasting time.Duration) (Round, error)

// measureSides warms all sides up and then measures them by turns.
func (m *measurement) measureSides(ctx context.Context, lasting time.Duration, sides ...contender) ([]Side, error) {
	for _, side := range sides {
		m.sayf("warming up %s", side.name)
		if _, err := side.load(ctx, min(lasting, warmLimit)); err != nil {
			return nil, fmt.Errorf("warm up %s: %w", side.name, err)
		}
	}
	rounds := make([][]Round, len(sides))
	for n := range m.options.Rounds {
		for i, side := range sides {
			r, err := side.load(ctx, lasting)
			if err != nil {
				return nil, fmt.Errorf("%s, round %d: %w", side.name, n+1, err)
			}
			rounds[i] = append(rounds[i], r)
			m.sayf("round %d of %d, %s: %.0f/s, p50 %.2f ms, p99 %.2f ms", n+1, m.options.Rounds, side.name, r.PerSecond, r.P50, r.P99)
		}
	}
	measured := make([]Side, len(sides))
	for i := range sides {
		measured[i] = side(rounds[i])
	}
	return measured, nil
}

// Contest is one load on the system and on several others that do the same.
type Contest struct {
	Name string `json:"name"`
	// Of names the system's side.
	Of      string  `json:"of"`
	Rounds  int     `json:"rounds"`
	Seconds float64 `json:"seconds,omitempty"` // of a round; zero when a round is a fixed number of jobs
	Side    Side    `json:"side"`
	Rivals  []Rival `json:"rivals"`
}

// Rival is another side of a contest, and how the system compares with it.
type Rival struct {
	Name    string  `json:"name"`
	Side    Side    `json:"side"`
	Against Against `json:"ratio"`
	Goal    Goal    `json:"goal"`
}

// contest measures ours and its rivals, and completes the contest. The rivals have names and goals already, and their loads stand in
// the same order.
func (m *measurement) contest(ctx context.Context, c Contest, lasting time.Duration, ours loading, loads ...loading) (*Contest, error) {
	m.sayf("%s", c.Name)
	sides := append(make([]contender, 0, 1+len(loads)), contender{c.Of, ours})
	for i, load := range loads {
		sides = append(sides, contender{c.Rivals[i].Name, load})
	}
	measured, err := m.measureSides(ctx, lasting, sides...)
	if err != nil {
		return nil, err
	}
	c.Rounds, c.Side = m.options.Rounds, measured[0]
	for i := range c.Rivals {
		c.Rivals[i].Side = measured[1+i]
		c.Rivals[i].Against = against(c.Side, c.Rivals[i].Side)
	}
	return &c, nil
}

// print writes all sides, the ratios, and how they stand with the goals.
func (c *Contest) print(out io.Writer) {
	fmt.Fprintf(out, "\n%s, medians of %d rounds%s\n", c.Name, c.Rounds, each(c.Seconds))
	fmt.Fprintln(out, "\tper second\tp50\tp99\t")
	row(out, c.Of, c.Side)
	for _, r := range c.Rivals {
		row(out, r.Name, r.Side)
	}
	for _, r := range c.Rivals {
		ratio(out, "ratio to "+r.Name, r.Against)
		r.Goal.print(out, r.Against)
	}
	c.Side.priceHead(out)
	c.Side.price(out, c.Of)
	for _, r := range c.Rivals {
		r.Side.price(out, r.Name)
	}
}

// each says how long a round is, if that is fixed.
func each(seconds float64) string {
	if seconds == 0 {
		return ""
	}
	return fmt.Sprintf(" of %gs", seconds)
}
