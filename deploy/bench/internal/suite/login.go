package suite

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/crypto/bcrypt"

	"github.com/tarento/copilot/deploy/bench/internal/load"
	"github.com/tarento/copilot/deploy/bench/internal/system"
)

const (
	loginRound = 10 * time.Second
	// defaultCost is that of the gateway's password hashes.
	defaultCost = 12
	// loginConnections are people who log in, floodConnections those who do nothing else.
	loginConnections, floodConnections = 8, 32
	// paced is the rate of reads in the part of the flood that leaves the machine some air.
	paced = 200
)

// Login is how fast people log in, and what it does to others when very many do.
type Login struct {
	// Places is how many passwords the gateway works on at once, and the floor with it.
	Places int        `json:"places"`
	Logins Comparison `json:"logins"`
	// Busy reads as fast as it can, which leaves no processor unused; Paced reads at a fixed rate.
	Busy  Comparison `json:"flood_busy"`
	Paced Comparison `json:"flood_paced"`
	// Tried is how many logins of the flood were answered a second; Shed is the share that was refused for being too many.
	Tried float64 `json:"flood_per_second"`
	Shed  float64 `json:"flood_shed"`
}

func (l *Login) print(out io.Writer) {
	l.Logins.print(out)
	l.Busy.print(out)
	l.Paced.print(out)
	fmt.Fprintf(out, "\nThe flood: %.1f logins answered a second, %.0f %% of them refused for being too many\n", l.Tried, 100*l.Shed)
}

// places is how many passwords a gateway works on at once: all processors but the one that everybody else needs.
func places() int { return max(1, runtime.GOMAXPROCS(0)-1) }

// login measures logins against bcrypt alone, and then a read beside a flood of them against the same read without.
func (m *measurement) login(ctx context.Context, report *Report) error {
	lasting := m.options.lasting(loginRound)
	return m.on(ctx, []string{system.Gateway}, func(s *system.System) error {
		measured := &Login{Places: places()}
		good, err := attempt(s.Address, system.Password)
		if err != nil {
			return err
		}
		good.Want = http.StatusOK
		hash, err := m.password(ctx, s)
		if err != nil {
			return err
		}
		logins, err := m.compared(ctx, Comparison{
			Name: fmt.Sprintf("Logins, %d connections", loginConnections), Of: system.Gateway,
			To: fmt.Sprintf("bcrypt alone, %d at once", measured.Places), Seconds: lasting.Seconds(), Goal: Goal{PerSecond: 0.95},
		}, func(ctx context.Context, lasting time.Duration) (Round, error) {
			return round(load.Closed(ctx, good, loginConnections, lasting))
		}, bcryptAlone(hash, measured.Places))
		if err != nil {
			return err
		}
		measured.Logins = *logins
		if err := m.flood(ctx, s, measured); err != nil {
			return err
		}
		report.Login = measured
		return nil
	})
}

// flood measures reads with and without a flood of logins.
func (m *measurement) flood(ctx context.Context, s *system.System, measured *Login) error {
	agent, err := firstAgent(ctx, s)
	if err != nil {
		return err
	}
	path := system.PathAgents + "/" + agent
	read := load.Request{Address: s.Address, Method: http.MethodGet, Path: path, Token: s.Token, Want: http.StatusOK}
	busy := func(ctx context.Context, lasting time.Duration) (Round, error) {
		return round(load.Closed(ctx, read, few, lasting))
	}
	calm := func(ctx context.Context, lasting time.Duration) (Round, error) {
		return round(load.Open(ctx, paced, lasting, func(ctx context.Context) error {
			var out json.RawMessage
			return s.Get(ctx, s.Address, path, &out)
		}))
	}
	wrong, err := attempt(s.Address, "not "+system.Password)
	if err != nil {
		return err
	}
	wrong.Want, wrong.Bear = http.StatusUnauthorized, []int{http.StatusServiceUnavailable, http.StatusTooManyRequests}
	water := &water{request: wrong}
	lasting := m.options.lasting(loginRound)
	for _, c := range []struct {
		into *Comparison
		name string
		load loading
		goal Goal
	}{
		{&measured.Busy, fmt.Sprintf("GET one agent, %d connections", few), busy, Goal{P99: 1.5}},
		{&measured.Paced, fmt.Sprintf("GET one agent, %d a second", paced), calm, Goal{P99: 1.5}},
	} {
		compared, err := m.compared(ctx, Comparison{
			Name: c.name, Of: fmt.Sprintf("beside %d connections that log in", floodConnections), To: "alone", Seconds: lasting.Seconds(),
			Goal: c.goal,
		}, water.over(c.load), c.load)
		if err != nil {
			return err
		}
		*c.into = *compared
	}
	measured.Tried, measured.Shed = water.rate()
	return nil
}

// water is the flood, and what became of it.
type water struct {
	request load.Request

	mu       sync.Mutex
	answered int
	refused  int
	took     time.Duration
}

// over puts a load under the flood.
func (w *water) over(of loading) loading {
	return func(ctx context.Context, lasting time.Duration) (Round, error) {
		flooding, stop := context.WithCancel(ctx)
		ended := make(chan error, 1)
		go func() {
			result, err := load.Flood(flooding, w.request, floodConnections)
			w.mu.Lock()
			defer w.mu.Unlock()
			w.answered, w.refused, w.took = w.answered+len(result.Latencies), w.refused+result.Refused, w.took+result.Took
			ended <- err
		}()
		r, err := of(ctx, lasting)
		stop()
		if drained := <-ended; drained != nil {
			return r, fmt.Errorf("flood with logins: %w", drained)
		}
		return r, err
	}
}

// rate returns how many logins were answered a second, and the share of them that was refused for being too many.
func (w *water) rate() (perSecond, shed float64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	all := float64(w.answered + w.refused)
	if all == 0 {
		return 0, 0
	}
	return all / w.took.Seconds(), float64(w.refused) / all
}

// attempt is a login as a user whom no other part of the measurement logs in.
func attempt(address, password string) (load.Request, error) {
	body, err := json.Marshal(map[string]string{"username": system.Member, "password": password})
	if err != nil {
		return load.Request{}, fmt.Errorf("write a login: %w", err)
	}
	return load.Request{Address: address, Path: system.PathLogin, Body: body}, nil
}

// password gives the user who logs in a hash of the cost that is asked for, and returns it.
func (m *measurement) password(ctx context.Context, s *system.System) (hash []byte, err error) {
	if hash, err = bcrypt.GenerateFromPassword([]byte(system.Password), m.options.Cost); err != nil {
		return nil, fmt.Errorf("hash a password: %w", err)
	}
	return hash, s.Database(ctx, func(conn *pgx.Conn) error {
		if _, err := conn.Exec(ctx, "UPDATE users SET password_hash = $1 WHERE email = $2", string(hash), system.Member); err != nil {
			return fmt.Errorf("set a password: %w", err)
		}
		return nil
	})
}

// bcryptAlone compares passwords with a hash and does nothing else, so many at once.
func bcryptAlone(hash []byte, places int) loading {
	return func(ctx context.Context, lasting time.Duration) (Round, error) {
		var (
			wg     sync.WaitGroup
			mu     sync.Mutex
			result load.Result
		)
		start := time.Now()
		for range places {
			wg.Go(func() {
				for begun := time.Now(); begun.Sub(start) < lasting && ctx.Err() == nil; {
					_ = bcrypt.CompareHashAndPassword(hash, []byte(system.Password)) // it is the right one
					now := time.Now()
					mu.Lock()
					result.Latencies = append(result.Latencies, now.Sub(begun))
					mu.Unlock()
					begun = now
				}
			})
		}
		wg.Wait()
		result.Took = time.Since(start)
		return round(result, ctx.Err())
	}
}

// firstAgent returns the id of an agent that everybody may read.
func firstAgent(ctx context.Context, s *system.System) (string, error) {
	var agents struct {
		Data []struct {
			ID string `json:"id"`
		} `json:"data"`
	}
	if err := s.Get(ctx, s.Address, system.PathAgents, &agents); err != nil {
		return "", err
	}
	if len(agents.Data) == 0 {
		return "", errNoAgent
	}
	return agents.Data[0].ID, nil
}
