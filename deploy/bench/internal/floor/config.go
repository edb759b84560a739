package floor

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Config says where the floor runs. Its processes read it from the environment, with FromEnv.
type Config struct {
	// DatabaseURL is the Postgres with the table. Required.
	DatabaseURL string
	// NATSURL is the NATS with JetStream. Required.
	NATSURL string
	// Namespace starts the names of streams and subjects, so that measurements can share a server. Required.
	Namespace string
	// Address is where the API listens. Required by Serve.
	Address string
	// Secret signs the tokens that the API takes, by HS256. Required by Serve.
	Secret string
}

// The variables of the environment.
const (
	VarDatabase  = "DATABASE_URL"
	VarNATS      = "NATS_URL"
	VarNamespace = "NATS_NAMESPACE"
	VarAddress   = "HTTP_ADDR"
	VarSecret    = "JWT_SECRET"
)

// FromEnv reads the configuration by means of a function such as os.Getenv.
func FromEnv(getenv func(string) string) (Config, error) {
	c := Config{
		DatabaseURL: getenv(VarDatabase), NATSURL: getenv(VarNATS), Namespace: getenv(VarNamespace),
		Address: getenv(VarAddress), Secret: getenv(VarSecret),
	}
	if c.DatabaseURL == "" || c.NATSURL == "" || c.Namespace == "" {
		return c, errors.New("floor: " + VarDatabase + ", " + VarNATS + " and " + VarNamespace + " must be set")
	}
	return c, nil
}

// Stream is the name of the work queue's stream. Whoever measures deletes it when all is over.
func (c Config) Stream() string { return c.Namespace + "_FLOOR" }

func (c Config) work() string           { return c.Namespace + ".floor.jobs" }
func (c Config) done(id string) string  { return c.Namespace + ".floor.done." + id }
func (c Config) consumer() string       { return "floor-worker" }
func (c Config) doneOf(s string) string { return s[len(c.done("")):] }

// poolSize is how many connections a process holds. Commits that wait together reach the disk together, so a pool of a few
// times the cores is faster than a small one.
const poolSize = 32

// engines are the open connections of a process.
type engines struct {
	pool      *pgxpool.Pool
	nats      *nats.Conn
	jetstream jetstream.JetStream
}

func (c Config) open(ctx context.Context) (*engines, error) {
	config, err := pgxpool.ParseConfig(c.DatabaseURL)
	if err != nil {
		return nil, errors.New("floor: " + VarDatabase + " cannot be read") // the cause would show the password
	}
	config.MaxConns = poolSize
	e := &engines{}
	if e.pool, err = pgxpool.NewWithConfig(ctx, config); err != nil {
		return nil, fmt.Errorf("floor: open the database: %w", err)
	}
	if e.nats, err = nats.Connect(c.NATSURL); err != nil {
		e.close()
		return nil, fmt.Errorf("floor: connect to NATS: %w", err)
	}
	if e.jetstream, err = jetstream.New(e.nats); err != nil {
		e.close()
		return nil, fmt.Errorf("floor: open JetStream: %w", err)
	}
	_, err = e.jetstream.CreateOrUpdateStream(ctx, jetstream.StreamConfig{
		Name: c.Stream(), Subjects: []string{c.work()}, Retention: jetstream.WorkQueuePolicy, Storage: jetstream.FileStorage,
	})
	if err != nil {
		e.close()
		return nil, fmt.Errorf("floor: make the stream: %w", err)
	}
	return e, nil
}

func (e *engines) close() {
	if e.nats != nil {
		e.nats.Close()
	}
	e.pool.Close()
}

// Environ writes the configuration in the form in which FromEnv reads it.
func (c Config) Environ() []string {
	return []string{
		VarDatabase + "=" + c.DatabaseURL, VarNATS + "=" + c.NATSURL, VarNamespace + "=" + c.Namespace,
		VarAddress + "=" + c.Address, VarSecret + "=" + c.Secret,
	}
}
