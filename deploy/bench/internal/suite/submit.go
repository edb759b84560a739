package suite

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/tarento/copilot/deploy/bench/internal/floor"
	"github.com/tarento/copilot/deploy/bench/internal/load"
	"github.com/tarento/copilot/deploy/bench/internal/system"
)

const submitRound = 5 * time.Second

// question is the run that is submitted again and again.
const question = `{"user_input":"What does the travel policy say about taxis?"}`

// submit measures the gateway's submit path alone: no worker runs, so the jobs stay where the commit has put them.
func (m *measurement) submit(ctx context.Context, report *Report) error {
	lasting := m.options.lasting(submitRound)
	return m.on(ctx, []string{system.Gateway}, func(s *system.System) error {
		agent, err := firstAgent(ctx, s)
		if err != nil {
			return err
		}
		bare, err := s.StartFloor(ctx)
		if err != nil {
			return err
		}
		for _, connections := range slices.Compact([]int{m.options.Connections, min(few, m.options.Connections)}) {
			post := func(program, address, path string) loading {
				request := load.Request{Address: address, Path: path, Token: s.Token, Body: []byte(question), Want: http.StatusAccepted}
				return func(ctx context.Context, lasting time.Duration) (Round, error) {
					return priced(ctx, s, program, func() (load.Result, error) { return load.Closed(ctx, request, connections, lasting) })
				}
			}
			c := Contest{
				Name: fmt.Sprintf("Submit of an agent run over REST, %d connections", connections), Of: system.Gateway,
				Seconds: lasting.Seconds(),
				Rivals:  []Rival{{Name: "bare Gin + JWT + insert"}, {Name: "the same, then JetStream"}},
			}
			if connections > few { // with few there is little to gather
				c.Rivals[0].Goal, c.Rivals[1].Goal = Goal{PerSecond: 1.35}, Goal{PerSecond: 1.9, P99: 0.5}
			}
			measured, err := m.contest(ctx, c, lasting, post(system.Gateway, s.Address, system.PathRuns(agent)),
				post(system.Floor, bare, floor.PathInsert), post(system.Floor, bare, floor.PathPublish))
			if err != nil {
				return err
			}
			report.Submit = append(report.Submit, *measured)
		}
		return nil
	})
}
