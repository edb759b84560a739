package suite

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tarento/copilot/deploy/bench/internal/floor"
	"github.com/tarento/copilot/deploy/bench/internal/load"
	"github.com/tarento/copilot/deploy/bench/internal/system"
)

const restRound = 3 * time.Second

// few is how many connections leave the server some air: their latencies are those of a request, not of a queue.
const few = 8

// moreAgents gives the administrator's organization so many agents that a page of 20 is not all of them.
const moreAgents = `
INSERT INTO agent_configs (id, organization_id, name, description, agent_type, llm_config, tools_config, system_prompt, parameters,
	agent_metadata)
SELECT gen_random_uuid(), o.id, 'Measured agent ' || n, 'Answers questions about the contracts of department ' || n,
	'document_analyzer', '{"model": "gemini-2.5-flash", "temperature": 0.7, "max_tokens": 2048, "top_p": 0.9}',
	'[{"name": "search_documents", "enabled": true}]',
	repeat('You answer from the documents that you find, and say which ones. ', 5), '{"language": "en"}', '{"team": "contracts"}'
FROM organizations o, generate_series(1, 60) n WHERE o.domain = 'acme.com'`

// rest measures two reads through everything that stands before them: middleware, token, account, permission, limits, tenant.
func (m *measurement) rest(ctx context.Context, report *Report) error {
	lasting := m.options.lasting(restRound)
	return m.on(ctx, []string{system.Gateway}, func(s *system.System) error {
		err := s.Database(ctx, func(conn *pgx.Conn) error {
			_, err := conn.Exec(ctx, moreAgents)
			return err
		})
		if err != nil {
			return fmt.Errorf("make agents: %w", err)
		}
		bare, err := s.StartFloor(ctx)
		if err != nil {
			return err
		}
		one, same, err := sameAnswers(ctx, s, bare)
		if err != nil {
			return err
		}
		get := func(program, address, path string, connections int) loading {
			request := load.Request{Address: address, Method: http.MethodGet, Path: path, Token: s.Token, Want: http.StatusOK}
			return func(ctx context.Context, lasting time.Duration) (Round, error) {
				return priced(ctx, s, program, func() (load.Result, error) { return load.Closed(ctx, request, connections, lasting) })
			}
		}
		for _, c := range []struct {
			name, path, bare string
			connections      int
			goal             Goal
		}{
			{"GET one agent", "/" + one, "/" + one, m.options.Connections, Goal{PerSecond: 0.8, P99: 1.5}},
			{"list 20 agents", "", same, m.options.Connections, Goal{PerSecond: 0.9, P99: 1.5}},
			{"GET one agent", "/" + one, "/" + one, min(few, m.options.Connections), Goal{PerSecond: 0.8, P99: 1.5}},
			{"list 20 agents", "", same, min(few, m.options.Connections), Goal{PerSecond: 0.9, P99: 1.5}},
		} {
			compared, err := m.compared(ctx, Comparison{
				Name: fmt.Sprintf("%s, %d connections", c.name, c.connections), Of: system.Gateway, To: "bare Gin + JWT + GORM",
				Seconds: lasting.Seconds(), Goal: c.goal,
			}, get(system.Gateway, s.Address, system.PathAgents+c.path, c.connections),
				get(system.Floor, bare, floor.PathAgents+c.bare, c.connections))
			if err != nil {
				return err
			}
			report.Rest = append(report.Rest, *compared)
		}
		return nil
	})
}

// compared measures both sides of a comparison and completes it.
func (m *measurement) compared(ctx context.Context, c Comparison, measured, floored loading) (*Comparison, error) {
	lasting := time.Duration(c.Seconds * float64(time.Second))
	m.sayf("%s", c.Name)
	sides, err := m.measureSides(ctx, lasting, contender{c.Of, measured}, contender{c.To, floored})
	if err != nil {
		return nil, err
	}
	c.Side, c.Floor, c.Rounds = sides[0], sides[1], m.options.Rounds
	c.Against = against(c.Side, c.Floor)
	return &c, nil
}

// priced also measures the processor time that a load costs.
func priced(ctx context.Context, s *system.System, program string, do func() (load.Result, error)) (Round, error) {
	before, err := s.Spent(ctx, program)
	if err != nil {
		return Round{}, err
	}
	result, err := do()
	if err != nil {
		return Round{}, err
	}
	after, err := s.Spent(ctx, program)
	if err != nil {
		return Round{}, err
	}
	r, err := round(result, nil)
	spent, answers := after.Sub(before), float64(len(result.Latencies))
	r.Server, r.Postgres = float64(spent.Server.Microseconds())/answers, float64(spent.Postgres.Microseconds())/answers
	return r, err
}

var errNoAgent = errors.New("there is no agent")

// sameAnswers makes sure that both sides answer the same. It returns the id of an agent to ask for, and the query by which the floor's
// list says as much about the total as the gateway's.
func sameAnswers(ctx context.Context, s *system.System, bare string) (agent, query string, err error) {
	type list struct {
		Data    []map[string]any `json:"data"`
		HasMore bool             `json:"has_more"`
		Total   *int             `json:"total"`
	}
	var ours, theirs list
	if err := s.Get(ctx, s.Address, system.PathAgents, &ours); err != nil {
		return "", "", err
	}
	if ours.Total != nil {
		query = "?" + floor.Skip + "=0"
	}
	if err := s.Get(ctx, bare, floor.PathAgents+query, &theirs); err != nil {
		return "", "", err
	}
	if !reflect.DeepEqual(ours, theirs) {
		return "", "", fmt.Errorf("the floor lists %v, the gateway %v", theirs, ours)
	}
	if len(ours.Data) == 0 {
		return "", "", errNoAgent
	}
	agent, _ = ours.Data[len(ours.Data)/2]["id"].(string)
	var one, other map[string]any
	err = errors.Join(s.Get(ctx, s.Address, system.PathAgents+"/"+agent, &one), s.Get(ctx, bare, floor.PathAgents+"/"+agent, &other))
	if err != nil {
		return "", "", err
	}
	if !reflect.DeepEqual(one, other) {
		return "", "", fmt.Errorf("the floor answers %v, the gateway %v", other, one)
	}
	return agent, query, nil
}
