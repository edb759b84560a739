package account

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"

	"github.com/tarento/copilot/events"
	"github.com/tarento/copilot/pkg/access"
	"github.com/tarento/copilot/pkg/bus"
	"github.com/tarento/copilot/pkg/store"
	"github.com/tarento/copilot/pkg/tenant"
)

// AccessOptions are what an Access works with.
type AccessOptions struct {
	Redis *redis.Client
	Bus   *bus.Bus
	// Prefix stands before every key in Redis; installations that share a Redis differ in it.
	Prefix string
	// Remember is for how long the process believes what it has looked up without asking anybody: so long a change can go unnoticed
	// whose message was lost. Zero looks everything up in Postgres, each time.
	Remember time.Duration
	Log      *slog.Logger
	Metrics  prometheus.Registerer
}

// Access knows what sessions and API keys allow: from the process's memory, else from Redis, which all gateways share, else from
// Postgres, which is the record. What it remembers goes the moment it changes, on every gateway: Changed tells them. It is safe
// for concurrent use.
type Access struct {
	bus      *bus.Bus
	recent   *memory
	shared   *shared
	log      *slog.Logger
	answered *prometheus.CounterVec
	changes  *prometheus.CounterVec
	// settle wakes Run when Redis is to be told of a change again.
	settle chan struct{}
}

// NewAccess builds an Access that remembers nothing yet. Run must be running for it to hear of changes elsewhere.
func NewAccess(o AccessOptions) *Access {
	a := &Access{
		bus: o.Bus, recent: newMemory(o.Remember), log: o.Log, settle: make(chan struct{}, 1),
		answered: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "copilot_access_lookups_total",
			Help: "Look-ups of what a session or an API key allows, by what answered: memory, redis or postgres.",
		}, []string{"answered_by"}),
		changes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "copilot_access_changes_total",
			Help: "Changes of what somebody may do that this gateway made, by whether Redis was told at once: told or untold.",
		}, []string{"redis"}),
	}
	failures := prometheus.NewCounter(prometheus.CounterOpts{
		Name: "copilot_access_redis_failures_total", Help: "Questions about access that Redis did not answer in time or at all.",
	})
	a.shared = newShared(o.Redis, o.Prefix, o.Log, failures)
	o.Metrics.MustRegister(a.answered, a.changes, failures, prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "copilot_access_untold",
		Help: "Organizations with a change that Redis has yet to be told of; what it holds of them counts for nothing.",
	}, func() float64 { return float64(a.shared.left()) }))
	return a
}

// Changed makes every gateway forget what it remembers of a tenant. It fits store.Config.AccessChanged. When it returns, neither
// this process nor Redis knows what was before; the other gateways follow with their message, or at the latest when Remember is
// over. What Redis could not be told, it is told by Run, and by the Run of every gateway that hears of it.
func (a *Access) Changed(ctx context.Context, t tenant.ID) {
	told := a.shared.forget(ctx, t)
	a.recent.forget(t)
	a.bus.PublishAccessChanged(events.AccessChanged{TenantID: t.String(), Untold: !told})
	if told {
		a.changes.WithLabelValues("told").Inc()
		return
	}
	a.changes.WithLabelValues("untold").Inc()
	a.wake()
}

func (a *Access) wake() {
	select {
	case a.settle <- struct{}{}:
	default: // it is awake already
	}
}

// Run hears of changes that other gateways make, and tells Redis what it could not be told, until ctx ends.
func (a *Access) Run(ctx context.Context) error {
	if err := a.bus.Subscribe(ctx, a.bus.Subjects().Access(), func(_ string, data []byte) { a.heard(ctx, data) }); err != nil {
		return fmt.Errorf("account: hear of changes: %w", err)
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-a.settle:
		}
		for a.shared.tell(ctx) > 0 {
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(retryAfter):
			}
		}
	}
}

func (a *Access) heard(ctx context.Context, data []byte) {
	var e events.AccessChanged
	err := json.Unmarshal(data, &e)
	t, parseErr := tenant.Parse(e.TenantID)
	if err != nil || parseErr != nil {
		a.log.WarnContext(ctx, "message about access not understood", "error", err)
		return
	}
	if e.Untold {
		a.shared.distrust(t)
		a.wake()
	}
	a.recent.forget(t)
}

// standing is what a credential allows, read once for many requests.
type standing struct {
	store.Credential

	permissions []access.Permission
	projects    []uuid.UUID
	scopes      []access.Permission
}

func newStanding(c *store.Credential) (*standing, error) {
	s := &standing{Credential: *c, permissions: permissionsOf(c.Permissions), projects: make([]uuid.UUID, len(c.Projects))}
	for i, text := range c.Projects {
		var err error
		if s.projects[i], err = uuid.Parse(text); err != nil {
			return nil, fmt.Errorf("account: read the projects: %w", err)
		}
	}
	if c.KeyID == uuid.Nil {
		return s, nil
	}
	s.scopes = permissionsOf(c.Scopes)
	if c.Superuser {
		// A key does what its scopes name, and running the platform has no name.
		s.Superuser, s.permissions = false, append(access.Permissions(), s.permissions...)
	}
	return s, nil
}

// permissionsOf is never nil, because no scopes and no bounds are two things.
func permissionsOf(names []string) []access.Permission {
	permissions := make([]access.Permission, len(names))
	for i, name := range names {
		permissions[i] = access.Permission(name)
	}
	return permissions
}

// lookUp returns what a credential allows, from the nearest that knows. What read does not find is not remembered.
func (a *Access) lookUp(
	ctx context.Context, t tenant.ID, id credentialID, read func(context.Context) (*store.Credential, error),
) (*standing, error) {
	s, known, err := a.recent.get(ctx, t, id, func(ctx context.Context) (*standing, error) {
		c, err := a.ask(ctx, t, id, read)
		if err != nil {
			return nil, err
		}
		return newStanding(c)
	})
	if known {
		a.answered.WithLabelValues("memory").Inc()
	}
	return s, err
}

// ask asks Redis and then Postgres.
func (a *Access) ask(
	ctx context.Context, t tenant.ID, id credentialID, read func(context.Context) (*store.Credential, error),
) (c *store.Credential, err error) {
	generation := ""
	if a.recent.ttl > 0 {
		if c, generation = a.shared.get(ctx, t, id); c != nil {
			a.answered.WithLabelValues("redis").Inc()
			return c, nil
		}
	}
	at := time.Now()
	if c, err = read(ctx); err != nil {
		return nil, err
	}
	a.answered.WithLabelValues("postgres").Inc()
	a.shared.put(ctx, t, id, generation, c, at)
	return c, nil
}
