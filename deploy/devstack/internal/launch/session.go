package launch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tarento/copilot/deploy/devstack/internal/console"
	"github.com/tarento/copilot/deploy/devstack/internal/ports"
	"github.com/tarento/copilot/deploy/devstack/internal/state"
)

// The database and the roles that the system's programs use beside the owner. The migrations make the roles without a way
// to log in.
const (
	database   = "copilot"
	roleApp    = "copilot_app"
	roleEngine = "copilot_engine"
)

// session is the whole system, being started, running or being stopped.
type session struct {
	command *command
	options options
	console *console.Console
	durable bool

	home      string // the state, or the temporary folder
	folder    *state.Folder
	bin       string
	secrets   state.Secrets
	variables map[string]string // what programs may be given, by name
	standIns  []string
	client    *http.Client

	began    bool // something was started
	done     stack
	files    []io.Closer
	fail     context.CancelCauseFunc
	watchers sync.WaitGroup
}

// serve brings the system up on the state in home, calls ready once it answers, and takes it down when ready returns or
// a part of it is lost. The context that ready gets ends in the latter case and when the person stops the system.
func (s *session) serve(ctx, forced context.Context, ready func(context.Context) error) (err error) {
	ctx, s.fail = context.WithCancelCause(ctx)
	defer func() {
		s.fail(nil)
		closing := time.Now()
		err = errors.Join(err, s.done.closeAll(forced))
		s.watchers.Wait()
		s.client.CloseIdleConnections()
		if s.began {
			s.console.Phase("stopped", "everything that was started has ended", time.Since(closing))
		}
	}()
	if err := s.up(ctx); err != nil {
		return err
	}
	err = ready(ctx)
	if cause := context.Cause(ctx); cause != nil && err == nil {
		err = cause
	}
	return err
}

// up starts everything, in order.
func (s *session) up(ctx context.Context) error {
	if err := s.open(); err != nil {
		return err
	}
	if err := s.checkPorts(ctx); err != nil {
		return err
	}
	if err := s.phase("build", "programs in "+s.bin, func() error { return s.build(ctx) }); err != nil {
		return err
	}
	s.began = true
	built := time.Now()
	for _, e := range allEngines() {
		if err := s.startEngine(ctx, e); err != nil {
			return err
		}
	}
	if err := s.phase("schema", "migrated and seeded", func() error { return s.prepareDatabase(ctx) }); err != nil {
		return err
	}
	env, err := s.writeEnv()
	if err != nil {
		return err
	}
	if s.durable {
		s.console.Entry("addresses", env)
	}
	if err := s.phase("programs", "gateway and workers ready", func() error { return s.startPrograms(ctx) }); err != nil {
		return err
	}
	s.console.Phase("ready", "from the end of the build to the last /readyz", time.Since(built))
	return nil
}

// phase runs a step and says how long it took.
func (s *session) phase(name, detail string, step func() error) error {
	started := time.Now()
	if err := step(); err != nil {
		return err
	}
	s.console.Phase(name, detail, time.Since(started))
	return nil
}

// open takes the state folder.
func (s *session) open() error {
	folder, err := state.Open(s.home)
	if err != nil {
		return err
	}
	s.done.push("the state folder", func(context.Context) error { return folder.Close() })
	s.done.push("the logs", func(context.Context) error {
		problems := make([]error, len(s.files))
		for i, file := range s.files {
			problems[i] = file.Close()
		}
		return errors.Join(problems...)
	})
	s.folder = folder
	if s.secrets, err = folder.Secrets(); err != nil {
		return err
	}
	if err := os.MkdirAll(s.bin, 0o755); err != nil { //nolint:gosec // programs are for everybody
		return fmt.Errorf("make the folder for the programs: %w", err)
	}
	blobs, err := folder.Dir("blobs")
	if err != nil {
		return err
	}
	// What is compiled from a library is no state, and takes seconds to make: every system of the repository shares it.
	cache := filepath.Join(s.bin, "cache")
	if err := os.MkdirAll(cache, 0o700); err != nil {
		return fmt.Errorf("make the folder for what programs compile: %w", err)
	}
	s.variables = map[string]string{
		varNamespace: "copilot",
		varBlobs:     blobs,
		varCache:     cache,
		varTokenKey:  s.secrets.TokenKey,
		varHTTP:      ports.Addr(s.options.ports[portHTTP]),
		// There is no load balancer to wait for, but somebody who pressed Ctrl-C.
		varDrainDelay: "0s",
	}
	return nil
}

// log opens a log file, which is closed after everything else.
func (s *session) log(name string) (io.Writer, error) {
	file, err := s.folder.Log(name)
	if err != nil {
		return nil, err
	}
	s.files = append(s.files, file)
	return file, nil
}

// checkPorts says which ports are taken before anything is started.
func (s *session) checkPorts(ctx context.Context) error {
	unused := make(map[string]bool)
	for _, e := range allEngines() {
		unused[e.name] = s.given(e.runVariable) != ""
	}
	for _, p := range programs() {
		unused[p.ops] = slices.Contains(s.options.without, p.name)
	}
	unused[portHTTP] = unused[portGatewayOps]
	var wants []ports.Want
	for _, p := range portOptions() {
		if !unused[p.name] {
			wants = append(wants, p.want(s.options.ports[p.name]))
		}
	}
	err := ports.Check(ctx, wants)
	if err == nil || !s.folder.Killed() {
		return err
	}
	s.console.Warn("the last launcher was killed; waiting for what it had started to end")
	limit := time.After(orphanLimit)
	for {
		select {
		case <-limit:
			return err
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(readyPause):
		}
		if err = ports.Check(ctx, wants); err == nil {
			return nil
		}
	}
}

// orphanLimit is how long the programs of a launcher that was killed may hold on to their ports.
const orphanLimit = programGrace

// startEngine starts one engine, or takes the server that the environment names instead.
func (s *session) startEngine(ctx context.Context, e engine) error {
	if s.given(e.runVariable) != "" {
		return s.useGiven(ctx, e)
	}
	if e.name == enginePostgres && s.given(varAppDatabase) != "" {
		return usagef("%s is set, but migrating that database takes its owner's address: set %s too, or unset the former to use ours",
			varAppDatabase, varOwnerDatabase)
	}
	log, err := s.log(e.name)
	if err != nil {
		return err
	}
	started := time.Now()
	up, err := e.start(ctx, place{
		dir:           s.folder.Path(e.name),
		port:          s.options.ports[e.name],
		log:           log,
		say:           s.console.Warn,
		ownerPassword: s.secrets.OwnerPassword,
		searchPath:    s.command.system.getenv(varPath),
		builds:        builds(s.options.root),
		durable:       s.durable,
		discarded:     !s.durable,
	})
	if err != nil {
		return err
	}
	s.done.push(e.name, up.stop)
	detail := up.detail
	if e.standIn != "" {
		detail += " (stand-in)"
		s.standIns = append(s.standIns, e.name+": "+e.standIn)
	}
	s.console.Phase(e.name, detail, time.Since(started))
	if up.died != nil {
		s.watch(ctx, e.name, up.died, func() error {
			return errors.New("it ended unasked; its log is " + s.folder.Path("logs", e.name+".log"))
		})
	}
	switch e.name {
	case enginePostgres:
		s.variables[varOwnerDatabase], err = withDatabase(up.url, database)
		return err
	case engineGemini:
		s.variables[varGeminiKey], s.variables[varGeminiURL] = "local-stand-in", up.url
	default:
		s.variables[e.runVariable] = up.url
	}
	return nil
}

// given returns the value of a variable that names a server to use instead of ours. A shell that has read our own env file
// names only ours.
func (s *session) given(name string) string {
	if s.command.system.getenv(varMark) != "" {
		return ""
	}
	return s.command.system.getenv(name)
}

// useGiven takes a server that the environment names.
func (s *session) useGiven(ctx context.Context, e engine) error {
	alongside := map[string][]string{
		enginePostgres: {varAppDatabase, varEngineDatabase},
		engineQdrant:   {varQdrantKey},
		engineGemini:   {varGeminiURL},
	}
	for _, name := range append(alongside[e.name], e.runVariable) {
		if value := s.given(name); value != "" {
			s.variables[name] = value
		}
	}
	if e.name == enginePostgres && (s.variables[varAppDatabase] == "") != (s.variables[varEngineDatabase] == "") {
		return usagef("set both DATABASE_URL and ENGINE_DATABASE_URL, or neither to have both roles' logins made")
	}
	if e.port != "" {
		if err := reach(ctx, e.runVariable, s.given(e.runVariable), e.port); err != nil {
			return err
		}
	}
	s.console.Phase(e.name, "the one that "+e.runVariable+" names", 0)
	return nil
}

// withDatabase returns the address of another database on the same server.
func withDatabase(address, name string) (string, error) {
	u, err := url.Parse(address)
	if err != nil {
		return "", errors.New("the database's address is not a URL") // the cause would quote the password
	}
	u.Path = "/" + name
	return u.String(), nil
}

// prepareDatabase makes the database unless it exists, brings its schema and its demonstration data up to date and lets
// the two roles log in.
func (s *session) prepareDatabase(ctx context.Context) error {
	owner := s.variables[varOwnerDatabase]
	given := s.given(varOwnerDatabase) != ""
	if !given {
		if err := createDatabase(ctx, owner); err != nil {
			return err
		}
	}
	if err := s.migrate(ctx, "up"); err != nil {
		return err
	}
	if err := s.migrate(ctx, "seed"); err != nil {
		return err
	}
	if s.variables[varAppDatabase] != "" {
		return nil
	}
	logins := []struct{ role, password, variable string }{
		{roleApp, s.secrets.AppPassword, varAppDatabase},
		{roleEngine, s.secrets.EnginePassword, varEngineDatabase},
	}
	conn, err := pgx.Connect(ctx, owner)
	if err != nil {
		return fmt.Errorf("let the roles log in: %w", err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	for _, login := range logins {
		// A statement of this kind takes no parameters; the generated password is hexadecimal and needs no quoting.
		statement := "ALTER ROLE " + pgx.Identifier{login.role}.Sanitize() + " LOGIN PASSWORD '" + login.password + "'"
		if _, err := conn.Exec(ctx, statement); err != nil {
			return fmt.Errorf("let role %s log in: %w", login.role, err)
		}
		u, err := url.Parse(owner)
		if err != nil {
			return errors.New("MIGRATE_DATABASE_URL is not a URL, so the roles' addresses cannot be made from it")
		}
		u.User = url.UserPassword(login.role, login.password)
		s.variables[login.variable] = u.String()
	}
	return nil
}

// createDatabase makes the database that the address names unless it exists.
func createDatabase(ctx context.Context, address string) error {
	maintenance, err := withDatabase(address, "postgres")
	if err != nil {
		return err
	}
	conn, err := pgx.Connect(ctx, maintenance)
	if err != nil {
		return fmt.Errorf("make the database: %w", err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	var exists bool
	err = conn.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)", database).Scan(&exists)
	if err == nil && !exists {
		_, err = conn.Exec(ctx, "CREATE DATABASE "+pgx.Identifier{database}.Sanitize())
	}
	if err != nil {
		return fmt.Errorf("make the database: %w", err)
	}
	return nil
}

// watch ends the session when a part of it is lost.
func (s *session) watch(ctx context.Context, name string, done <-chan struct{}, why func() error) {
	s.watchers.Go(func() {
		select {
		case <-ctx.Done():
		case <-done:
			if err := why(); err != nil {
				s.fail(fmt.Errorf("%s is lost: %w", name, err))
			}
		}
	})
}

// writeEnv writes the addresses of everything for people who run one part by hand.
func (s *session) writeEnv() (string, error) {
	all := programs()
	variables := make([]state.Variable, 0, 4+len(s.variables)+len(all))
	variables = append(variables, []state.Variable{
		{Name: varMark, Value: s.home, Comment: "Tells devstack that these addresses are its own."},
		{Name: varEnvironment, Value: "development"},
		{Name: varLogLevel, Value: s.options.logLevel},
		{Name: varLogFormat, Value: "text"},
	}...)
	for _, name := range slices.Sorted(maps.Keys(s.variables)) {
		variables = append(variables, state.Variable{Name: name, Value: s.variables[name]})
	}
	comment := "Each program serves its health and metrics on OPS_ADDR: set it to one of these."
	for _, p := range all {
		variables = append(variables, state.Variable{
			Name: opsVariable(p), Value: ports.Addr(s.options.ports[p.ops]), Comment: comment,
		})
		comment = ""
	}
	return s.folder.WriteEnv(variables)
}

// newSession prepares a session whose programs are built to the repository's bin folder.
func (c *command) newSession(o options, home string, durable bool) *session {
	return &session{
		command: c,
		options: o,
		console: console.New(c.system.Stdout, c.system.getenv("NO_COLOR") != ""),
		durable: durable,
		home:    home,
		bin:     filepath.Join(o.root, "bin"),
		client:  &http.Client{Transport: &http.Transport{}, Timeout: 5 * time.Second},
	}
}
