package floor_test

import (
	"context"
	"crypto/rand"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/jackc/pgx/v5"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"

	"github.com/tarento/copilot/deploy/bench/internal/floor"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const hint = "these tests need the engines: run make test, or go run ./deploy/devstack/cmd/devstack exec -- go test ./deploy/bench/..."

// run runs the floor's two halves on a database of the test's own and returns a connection to it.
func run(t *testing.T) (floor.Config, *pgx.Conn) {
	t.Helper()
	server, broker := os.Getenv("TEST_DATABASE_URL"), os.Getenv("TEST_NATS_URL")
	if server == "" || broker == "" {
		t.Fatal("TEST_DATABASE_URL or TEST_NATS_URL is not set: " + hint)
	}
	address, err := url.Parse(server)
	if err != nil {
		t.Fatal(err)
	}
	name := "floor_" + strings.ToLower(rand.Text()[:10])
	outside := connect(t, server)
	execute(t, outside, "CREATE DATABASE "+name)
	t.Cleanup(func() { execute(t, outside, "DROP DATABASE "+name+" WITH (FORCE)") })
	address.Path = "/" + name
	inside := connect(t, address.String())
	if err := floor.Prepare(t.Context(), inside); err != nil {
		t.Fatal(err)
	}
	c := floor.Config{
		DatabaseURL: address.String(), NATSURL: broker, Namespace: name, Address: freeAddress(t), Secret: rand.Text() + rand.Text(),
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 2)
	go func() { ended <- floor.Serve(ctx, c) }()
	go func() { ended <- floor.Work(ctx, c, io.Discard) }()
	t.Cleanup(func() {
		stop()
		for range 2 {
			if err := <-ended; err != nil {
				t.Errorf("it ended with %v", err)
			}
		}
		deleteStream(t, c)
	})
	return c, inside
}

func connect(t *testing.T, address string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), address)
	if err != nil {
		t.Fatalf("%v; %s", err, hint)
	}
	t.Cleanup(func() { _ = conn.Close(context.WithoutCancel(t.Context())) })
	return conn
}

func execute(t *testing.T, conn *pgx.Conn, sql string) {
	t.Helper()
	if _, err := conn.Exec(context.WithoutCancel(t.Context()), sql); err != nil {
		t.Fatal(err)
	}
}

func deleteStream(t *testing.T, c floor.Config) {
	t.Helper()
	conn, err := nats.Connect(c.NATSURL)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	js, err := jetstream.New(conn)
	if err != nil {
		t.Fatal(err)
	}
	if err := js.DeleteStream(context.WithoutCancel(t.Context()), c.Stream()); err != nil {
		t.Error(err)
	}
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

// token is one that the floor takes, unless it is signed with another secret or too old.
func token(t *testing.T, secret string, expires time.Time) string {
	t.Helper()
	signed, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.RegisteredClaims{
		Subject: "01900000-0000-7000-8000-000000000a11", ExpiresAt: jwt.NewNumericDate(expires),
	}).SignedString([]byte(secret))
	if err != nil {
		t.Fatal(err)
	}
	return signed
}

// send waits until the server listens, and then for its answer.
func send(t *testing.T, c floor.Config, method, path, token, body string) (status int, text string) {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: time.Minute}
	deadline := time.Now().Add(time.Minute)
	for {
		req, err := http.NewRequestWithContext(t.Context(), method, "http://"+c.Address+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+token)
		resp, err := client.Do(req)
		if err != nil {
			if time.Now().After(deadline) {
				t.Fatal(err)
			}
			<-time.After(10 * time.Millisecond)
			continue
		}
		answer, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(answer)
	}
}

func TestTheFloorDoesTheWorkItIsMeasuredFor(t *testing.T) {
	t.Parallel()
	c, database := run(t)
	good := token(t, c.Secret, time.Now().Add(time.Hour))
	for _, step := range []struct {
		name, path, token, body string
		status                  int
		rows                    string // by status, after the step
	}{
		{"no token", floor.PathInsert, "", `{"user_input":"x"}`, 401, ""},
		{"a token of somebody else", floor.PathInsert, token(t, "another", time.Now().Add(time.Hour)), `{"user_input":"x"}`, 401, ""},
		{"a token of yesterday", floor.PathInsert, token(t, c.Secret, time.Now().Add(-time.Hour)), `{"user_input":"x"}`, 401, ""},
		{"nothing to do", floor.PathInsert, good, `{}`, 500, ""},
		{"an insert", floor.PathInsert, good, `{"user_input":"x"}`, 202, "queued"},
		{"a run", floor.PathRun, good, `{"texts":["y"]}`, 200, "queued succeeded"},
	} {
		if status, text := send(t, c, http.MethodPost, step.path, step.token, step.body); status != step.status {
			t.Errorf("%s: status %d, want %d: %s", step.name, status, step.status, text)
		}
		var rows string
		err := database.QueryRow(t.Context(), "SELECT coalesce(string_agg(status, ' ' ORDER BY id), '') FROM floor.jobs").Scan(&rows)
		if err != nil || rows != step.rows {
			t.Errorf("%s: the rows are %q, %v, want %q", step.name, rows, err, step.rows)
		}
	}
}

func TestWhatIsPublishedReachesTheWorker(t *testing.T) {
	t.Parallel()
	c, database := run(t)
	good := token(t, c.Secret, time.Now().Add(time.Hour))
	if status, text := send(t, c, http.MethodPost, floor.PathPublish, good, `{"user_input":"x"}`); status != http.StatusAccepted {
		t.Fatalf("status %d: %s", status, text)
	}
	for status, deadline := "", time.Now().Add(time.Minute); status != "succeeded"; {
		if err := database.QueryRow(t.Context(), "SELECT status FROM floor.jobs").Scan(&status); err != nil {
			t.Fatal(err)
		}
		if time.Now().After(deadline) {
			t.Fatalf("the job is %s", status)
		}
	}
}

func TestFollowersSeeWhatIsPublishedForTheirJob(t *testing.T) {
	t.Parallel()
	c, _ := run(t)
	good := token(t, c.Secret, time.Now().Add(time.Hour))
	conn, err := nats.Connect(c.NATSURL)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	for name, path := range map[string]string{"of the hub": floor.PathHub, "of the relay": floor.PathRelay} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if status, text := send(t, c, http.MethodGet, path+"job", "", ""); status != http.StatusUnauthorized {
				t.Errorf("without a token: %d: %s", status, text)
			}
			ctx, leave := context.WithTimeout(t.Context(), time.Minute)
			defer leave()
			req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+c.Address+path+"job", http.NoBody)
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Authorization", "Bearer "+good)
			resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = resp.Body.Close() }()
			for _, job := range []string{"another", "job"} {
				if err := conn.Publish(c.Live(job), []byte(job)); err != nil {
					t.Fatal(err)
				}
			}
			want := "event: text.delta\ndata: job\n\n"
			got := make([]byte, len(want))
			if _, err := io.ReadFull(resp.Body, got); err != nil || string(got) != want {
				t.Errorf("got %q, %v, want %q", got, err, want)
			}
		})
	}
}

func TestTheEnvironmentSaysWhereTheFloorIs(t *testing.T) {
	t.Parallel()
	want := floor.Config{DatabaseURL: "d", NATSURL: "n", Namespace: "s", Address: "a", Secret: "k"}
	got, err := floor.FromEnv(func(name string) string {
		for _, entry := range want.Environ() {
			if value, ok := strings.CutPrefix(entry, name+"="); ok {
				return value
			}
		}
		return ""
	})
	if err != nil || got != want {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
	if _, err := floor.FromEnv(func(string) string { return "" }); err == nil {
		t.Error("an empty environment was accepted")
	}
	if err := floor.Serve(t.Context(), floor.Config{}); err == nil {
		t.Error("an API without an address was served")
	}
}
