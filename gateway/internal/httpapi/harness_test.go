package httpapi_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"mime/multipart"
	"net"
	"net/http"
	"net/textproto"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"go.uber.org/goleak"

	"github.com/tarento/copilot/events"
	"github.com/tarento/copilot/gateway/internal/app"
	"github.com/tarento/copilot/pkg/bus"
	"github.com/tarento/copilot/pkg/bustest"
	"github.com/tarento/copilot/pkg/config"
	"github.com/tarento/copilot/pkg/store"
	"github.com/tarento/copilot/pkg/storetest"
	"github.com/tarento/copilot/pkg/tenant"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// The seeded accounts and ids.
const (
	admin    = "admin@acme.com"
	member   = "member@acme.com"
	stranger = "admin@startup.io"
	password = "SecurePassword123!"

	adminID     = "01900000-0000-7000-8000-000000000a21"
	acmeOrg     = "01900000-0000-7000-8000-000000000a00"
	acmeProject = "01900000-0000-7000-8000-000000000a31"
	acmeAgent   = "01900000-0000-7000-8000-000000000a41"
	otherAgent  = "01900000-0000-7000-8000-000000000b41"
	nothing     = "01900000-0000-7000-8000-00000000dead"
)

const jwtSecret = "a secret of the tests, long enough to sign with"

// patience bounds what a test waits for.
const patience = time.Minute

// gateway is a whole gateway on a database, a NATS namespace and a folder of its own. Workers are played by the test.
type gateway struct {
	t      *testing.T
	url    string
	db     *storetest.DB
	blobs  string
	store  *store.Store
	engine *store.Engine
	bus    *bus.Bus
	log    *logBuffer
	ops    string
	http   *http.Client
	tokens map[string]string
	stop   func()
	// environ is what gateways on the same engines are told.
	environ map[string]string
}

// env returns a variable that the test launcher sets.
func env(t *testing.T, name string) string {
	t.Helper()
	value := os.Getenv(name)
	if value == "" {
		t.Fatalf("%s is not set: run `make test`, or `go run ./deploy/devstack/cmd/devstack exec -- go test ./...`", name)
	}
	return value
}

// start runs a gateway until the test ends. The settings are environment variables, name and value in turn.
func start(t *testing.T, settings ...string) *gateway {
	t.Helper()
	g := &gateway{
		t: t, db: storetest.NewSeeded(t), blobs: t.TempDir(), log: &logBuffer{}, tokens: map[string]string{},
		http: &http.Client{Transport: &http.Transport{}, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }},
	}
	namespace := bustest.Namespace(t)
	g.environ = map[string]string{
		"ENVIRONMENT": "test", "DATABASE_URL": g.db.AppURL, "ENGINE_DATABASE_URL": g.db.EngineURL,
		"DATABASE_MAX_CONNS": "5", "NATS_URL": bustest.URL(t), "NATS_NAMESPACE": namespace,
		"REDIS_URL": env(t, "TEST_REDIS_URL"), "BLOB_DIR": g.blobs, "JWT_SECRET": jwtSecret,
		"BCRYPT_COST": "4", "MAX_UPLOAD_BYTES": "65536", "DRAIN_TIMEOUT": "1m", "DRAIN_DELAY": "0s", "LOG_LEVEL": "debug", "ACCOUNT_CACHE_TTL": "0s",
		"LOGINS_PER_ACCOUNT": "0", "LOGINS_PER_ADDRESS": "0", "REGISTRATIONS_PER_ADDRESS": "0",
		"RATE_LIMIT_USER": "0", "RATE_LIMIT_KEY": "0", "RATE_LIMIT_ORGANIZATION": "0", "RATE_LIMIT_ADDRESS": "0",
	}
	g.serve(settings)
	return g
}

// beside runs another gateway on the database, NATS namespace and folder of the first.
func (g *gateway) beside(settings ...string) *gateway {
	g.t.Helper()
	other := &gateway{
		t: g.t, db: g.db, blobs: g.blobs, log: &logBuffer{}, tokens: g.tokens, environ: g.environ,
		http: &http.Client{Transport: &http.Transport{}, CheckRedirect: g.http.CheckRedirect},
	}
	other.serve(settings)
	return other
}

// serve starts the gateway and waits until it is ready.
func (g *gateway) serve(settings []string) {
	t := g.t
	t.Helper()
	g.ops = freeAddress(t)
	environ := maps.Clone(g.environ)
	environ["OPS_ADDR"] = g.ops
	for i := 0; i < len(settings); i += 2 {
		environ[settings[i]] = settings[i+1]
	}
	var cfg app.Config
	if err := config.Load(&cfg, environ); err != nil {
		t.Fatal(err)
	}
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g.url = "http://" + listener.Addr().String()
	g.platform(cfg)

	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- app.Serve(ctx, cfg, listener, slog.New(slog.NewJSONHandler(g.log, nil))) }()
	g.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("the gateway ended with: %v", err)
		}
	})
	t.Cleanup(func() {
		g.http.CloseIdleConnections()
		g.stop()
	})
	g.eventually("the gateway is ready", func() bool {
		resp, err := g.http.Get(g.url + "/readyz")
		if err != nil {
			return false
		}
		defer resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
}

// freeAddress is one that nobody listens on right now.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// metrics reads the operations address; empty while nobody listens there.
func (g *gateway) metrics() string {
	g.t.Helper()
	req, err := http.NewRequestWithContext(g.t.Context(), http.MethodGet, "http://"+g.ops+"/metrics", http.NoBody)
	if err != nil {
		g.t.Fatal(err)
	}
	resp, err := g.http.Do(req)
	if err != nil {
		return ""
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		g.t.Fatal(err)
	}
	return string(text)
}

// platform connects what the test itself needs to play the workers.
func (g *gateway) platform(cfg app.Config) {
	g.t.Helper()
	var err error
	if g.bus, err = bus.Connect(bus.Config{URL: cfg.NATSURL, Namespace: cfg.NATSNamespace, Name: "test"}); err != nil {
		g.t.Fatal(err)
	}
	closes(g.t, g.bus)
	if g.store, err = store.Open(g.t.Context(), store.Config{URL: g.db.AppURL, MaxConns: 2, Committed: g.bus.Committed}); err != nil {
		g.t.Fatal(err)
	}
	closes(g.t, g.store)
	g.engine, err = store.OpenEngine(g.t.Context(), store.Config{URL: g.db.EngineURL, MaxConns: 2, Committed: g.bus.Committed})
	if err != nil {
		g.t.Fatal(err)
	}
	closes(g.t, g.engine)
}

func closes(t *testing.T, c io.Closer) {
	t.Helper()
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
}

func (g *gateway) eventually(what string, is func() bool) {
	g.t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	for !is() {
		select {
		case <-tick.C:
		case <-deadline.C:
			g.t.Fatalf("not within %s: %s\n%s", patience, what, g.log)
		}
	}
}

// sql runs a statement as the owner of the database.
func (g *gateway) sql(statement string, args ...any) {
	g.t.Helper()
	if _, err := g.db.Conn(g.t, g.db.OwnerURL).Exec(g.t.Context(), statement, args...); err != nil {
		g.t.Fatal(err)
	}
}

// person adds an account with a role and a membership in the seeded project.
func (g *gateway) person(name, role string) string {
	g.t.Helper()
	g.sql(`WITH added AS (
			INSERT INTO users (id, organization_id, role_id, email, username, password_hash)
			SELECT gen_random_uuid(), u.organization_id, r.id, $1 || '@acme.com', $1, u.password_hash
			FROM users u JOIN roles r ON r.organization_id = u.organization_id AND r.name = $2 WHERE u.email = 'admin@acme.com'
			RETURNING id, organization_id)
		INSERT INTO project_members (organization_id, project_id, user_id)
		SELECT organization_id, '`+acmeProject+`', id FROM added`, name, role)
	return name + "@acme.com"
}

// answer is what came back.
type answer struct {
	t      *testing.T
	what   string
	status int
	header http.Header
	body   string
}

func (a answer) wants(status int) answer {
	a.t.Helper()
	if a.status != status {
		a.t.Fatalf("%s: status %d, want %d: %s", a.what, a.status, status, a.body)
	}
	return a
}

func (a answer) into(v any) {
	a.t.Helper()
	if err := json.Unmarshal([]byte(a.body), v); err != nil {
		a.t.Fatalf("%s: %v: %s", a.what, err, a.body)
	}
}

func (a answer) has(fragments ...string) answer {
	a.t.Helper()
	for _, f := range fragments {
		if !strings.Contains(a.body, f) {
			a.t.Errorf("%s: the body lacks %s: %s", a.what, f, a.body)
		}
	}
	return a
}

func (a answer) lacks(fragments ...string) answer {
	a.t.Helper()
	for _, f := range fragments {
		if strings.Contains(a.body, f) {
			a.t.Errorf("%s: the body holds %s: %s", a.what, f, a.body)
		}
	}
	return a
}

type problem struct {
	Type, Title, Detail, Instance, Code string
	Status                              int
	RequestID                           string `json:"request_id"`
	Errors                              []struct{ Location, Message string }
}

func (a answer) problem() problem {
	a.t.Helper()
	var p problem
	a.into(&p)
	if media := a.header.Get("Content-Type"); media != "application/problem+json" {
		a.t.Errorf("%s: media type %q, want a problem document", a.what, media)
	}
	if p.Type == "" || p.Title == "" || p.Code == "" || p.Status != a.status || p.RequestID == "" ||
		p.RequestID != a.header.Get("X-Request-ID") || p.Instance == "" {
		a.t.Errorf("%s: incomplete problem: %s", a.what, a.body)
	}
	return p
}

// call sends a request as somebody; as "" as nobody. Headers are name and value in turn. A body that is not a reader is sent as
// JSON.
func (g *gateway) call(as, method, path string, body any, headers ...string) answer {
	g.t.Helper()
	return g.callFrom(g.t, as, method, path, body, headers...)
}

func (g *gateway) callFrom(t *testing.T, as, method, path string, body any, headers ...string) answer {
	t.Helper()
	req := g.request(t, as, method, path, body, headers...)
	resp, err := g.http.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{t, method + " " + path, resp.StatusCode, resp.Header, string(text)}
}

func (g *gateway) request(t *testing.T, as, method, path string, body any, headers ...string) *http.Request {
	t.Helper()
	var r io.Reader
	media := ""
	switch b := body.(type) {
	case nil:
	case io.Reader:
		r = b
	case string:
		r, media = strings.NewReader(b), "application/json"
	default:
		text, err := json.Marshal(b)
		if err != nil {
			t.Fatal(err)
		}
		r, media = bytes.NewReader(text), "application/json"
	}
	if !strings.HasPrefix(path, "/api") && strings.HasPrefix(path, "/v1") {
		path = "/api" + path
	}
	req, err := http.NewRequestWithContext(t.Context(), method, g.url+path, r)
	if err != nil {
		t.Fatal(err)
	}
	if media != "" {
		req.Header.Set("Content-Type", media)
	}
	if as != "" {
		req.Header.Set("Authorization", "Bearer "+g.token(as))
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	return req
}

// tokenFor makes sure that calls as somebody have a token, for tests that call in parallel.
func (g *gateway) tokenFor(as string) {
	if as != "" {
		g.token(as)
	}
}

// token logs in once per account. It is called from the test's own goroutine.
func (g *gateway) token(as string) string {
	g.t.Helper()
	if known, ok := g.tokens[as]; ok {
		return known
	}
	g.tokens[as] = g.login(as, password).Tokens.Access
	return g.tokens[as]
}

type session struct {
	User struct {
		ID, Email, Role string
		Permissions     []string
		OrganizationID  string `json:"organization_id"`
	}
	Tokens tokens
}

type tokens struct {
	Access    string `json:"access_token"`
	Refresh   string `json:"refresh_token"`
	Type      string `json:"token_type"`
	ExpiresIn int    `json:"expires_in"`
}

func (g *gateway) login(name, password string) (s session) {
	g.t.Helper()
	g.call("", "POST", "/v1/auth/login", map[string]string{"username": name, "password": password}).wants(200).into(&s)
	return s
}

type job struct {
	ID, Kind, Status, Class string
	WaitingOn               string `json:"waiting_on"`
	DocumentID              string `json:"document_id"`
	ConversationID          string `json:"conversation_id"`
	MessageID               string `json:"message_id"`
	RetryOf                 string `json:"retry_of"`
	Error                   *events.Failure
	Result                  json.RawMessage
}

func (a answer) job() (j job) {
	a.t.Helper()
	a.into(&j)
	return j
}

// upload sends a form with a file.
func (g *gateway) upload(as, name, media, content string, fields map[string]string, headers ...string) answer {
	g.t.Helper()
	var body bytes.Buffer
	form := multipart.NewWriter(&body)
	for k, v := range fields {
		if err := form.WriteField(k, v); err != nil {
			g.t.Fatal(err)
		}
	}
	part, err := form.CreatePart(textproto.MIMEHeader{
		"Content-Disposition": {fmt.Sprintf(`form-data; name="file"; filename=%q`, name)}, "Content-Type": {media},
	})
	if err != nil {
		g.t.Fatal(err)
	}
	if _, err := io.WriteString(part, content); err != nil {
		g.t.Fatal(err)
	}
	if err := form.Close(); err != nil {
		g.t.Fatal(err)
	}
	return g.call(as, "POST", "/v1/documents/upload", &body, append(headers, "Content-Type", form.FormDataContentType())...)
}

// files counts what lies in the blob store.
func (g *gateway) files() (n int) {
	g.t.Helper()
	err := filepath.WalkDir(g.blobs, func(_ string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			n++
		}
		return err
	})
	if err != nil {
		g.t.Fatal(err)
	}
	return n
}

// claim takes a job as a worker does.
func (g *gateway) claim(id string) *store.Job {
	g.t.Helper()
	j, err := g.engine.Claim(g.t.Context(), uuid.MustParse(id), "test", time.Minute)
	if err != nil || j == nil {
		g.t.Fatalf("claim %s: %v, %v", id, j, err)
	}
	return j
}

// within runs a transaction of the job's tenant.
func (g *gateway) within(t tenant.ID, fn func(*store.Tx) error) {
	g.t.Helper()
	if err := g.store.InTenant(g.t.Context(), t, fn); err != nil {
		g.t.Fatal(err)
	}
}

// end ends a claimed job.
func (g *gateway) end(j *store.Job, e store.Ending, facts ...events.Fact) {
	g.t.Helper()
	g.within(j.Tenant(), func(tx *store.Tx) error { return tx.Jobs().End(j.Lease(), e, facts...) })
}

// logBuffer keeps the gateway's log.
type logBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

// Write implements io.Writer.
func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

// String returns all that was logged.
func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}
