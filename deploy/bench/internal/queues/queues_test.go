package queues_test

import (
	"context"
	"crypto/rand"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tarento/copilot/deploy/bench/internal/queues"
)

const hint = "these tests need the engines: run make test, or go run ./deploy/devstack/cmd/devstack exec -- go test ./deploy/bench/..."

// engine returns the address of a server.
func engine(t *testing.T, variable string) string {
	t.Helper()
	address := os.Getenv(variable)
	if address == "" {
		t.Fatal(variable + " is not set: " + hint)
	}
	return address
}

// database makes an empty database that goes with the test.
func database(t *testing.T) string {
	t.Helper()
	server := engine(t, "TEST_DATABASE_URL")
	name := "queues_" + strings.ToLower(rand.Text()[:10])
	run := func(sql string) {
		ctx := context.WithoutCancel(t.Context())
		conn, err := pgx.Connect(ctx, server)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close(ctx) }()
		if _, err := conn.Exec(ctx, sql); err != nil {
			t.Fatal(err)
		}
	}
	run("CREATE DATABASE " + name)
	t.Cleanup(func() { run("DROP DATABASE " + name + " WITH (FORCE)") })
	address, err := url.Parse(server)
	if err != nil {
		t.Fatal(err)
	}
	address.Path = "/" + name
	return address.String()
}

// TestTheOthersDoEveryJob looks at the two systems that the suite cannot look into. Ours is tested where it lives.
func TestTheOthersDoEveryJob(t *testing.T) {
	t.Parallel()
	for name, open := range map[string]func(*testing.T) (queues.Queue, error){
		"river": func(t *testing.T) (queues.Queue, error) { return queues.OpenRiver(t.Context(), database(t), 4) },
		"asynq": func(t *testing.T) (queues.Queue, error) {
			return queues.OpenAsynq(engine(t, "TEST_REDIS_URL"), 4, time.Millisecond)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
			defer cancel()
			q, err := open(t)
			if err != nil {
				t.Fatal(err)
			}
			defer func() {
				if err := q.Close(context.WithoutCancel(ctx)); err != nil {
					t.Error(err)
				}
			}()
			for _, n := range []int{1, 20} {
				ids, err := q.Submit(ctx, n)
				if err != nil || len(ids) != n {
					t.Fatalf("%d ids, %v, want %d", len(ids), err, n)
				}
				for _, id := range ids {
					if err := q.AwaitStart(ctx, id); err != nil {
						t.Fatal(err)
					}
					if err := q.AwaitEnd(ctx, id); err != nil {
						t.Fatal(err)
					}
				}
				if err := q.Drain(ctx); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := q.Submit(ctx, 20); err != nil {
				t.Fatal(err)
			}
			if err := q.Drain(ctx); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func TestAWaitForAJobThatDoesNotExistEndsWithItsContext(t *testing.T) {
	t.Parallel()
	q, err := queues.OpenAsynq(engine(t, "TEST_REDIS_URL"), 1, time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = q.Close(t.Context()) }()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := q.AwaitEnd(ctx, "no job"); err == nil {
		t.Error("it ended")
	}
}
