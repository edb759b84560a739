package postgres

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/tarento/copilot/deploy/devstack/internal/console"
	"github.com/tarento/copilot/deploy/devstack/internal/ports"
	"github.com/tarento/copilot/deploy/devstack/internal/process"
)

// Owner is the server's superuser, which owns the databases and runs the migrations.
const Owner = "copilot_owner"

const (
	// startLimit includes the recovery after a crash.
	startLimit = 60 * time.Second
	// stopLimit is for the checkpoint at the end.
	stopLimit = 20 * time.Second
	// orphanLimit is how long the server of a launcher that was killed may take to end.
	orphanLimit = 15 * time.Second
	// pollPause is the pause between two looks at something that has no event.
	pollPause = 25 * time.Millisecond
)

// Config says where and how the server runs. Home, Port and Password are required.
type Config struct {
	// Home is the folder for the data. It is made when missing.
	Home string
	// Builds is the folder for binaries that have to be fetched, where the next start finds them; empty means Home.
	Builds string
	// Port is the port on the loopback interface.
	Port int
	// Password is the owner's. It is set when the data folder is made, and must be the same afterwards.
	Password string
	// Durable makes every commit survive a crash of the machine. Without it the server is faster, and its data is for
	// throwing away.
	Durable bool
	// SearchPath lists the folders to look for binaries in, as in the PATH variable.
	SearchPath string
	// Log receives what the server and initdb print; nil discards it.
	Log io.Writer
	// Say is told of choices a person should know of; nil ignores them.
	Say func(string)
}

// Server is a running server. Make it with Start; it must be stopped with Stop.
type Server struct {
	config  Config
	home    string
	install Installation
	child   *process.Child
}

// Start brings a server up on the data in config.Home, making it when there is none, and returns once it answers.
func Start(ctx context.Context, config Config) (*Server, error) {
	if config.Say == nil {
		config.Say = func(string) {}
	}
	if config.Builds == "" {
		config.Builds = config.Home
	}
	if config.Log == nil {
		config.Log = io.Discard
	}
	tail := new(console.Tail)
	config.Log = io.MultiWriter(config.Log, tail)

	user, err := serverAccount(filepath.Join(config.Home, "data"))
	if err != nil {
		return nil, err
	}
	home, err := user.home(ctx, config.Home, config.Say)
	if err != nil {
		return nil, err
	}
	data := filepath.Join(home, "data")
	install, err := find(ctx, user, data, config)
	if err != nil {
		return nil, err
	}
	if err := initialize(ctx, install, user, data, config); err != nil {
		return nil, fmt.Errorf("make Postgres's data folder: %w%s", err, tail.Quote())
	}
	if err := clearStalePID(ctx, data, config.Say); err != nil {
		return nil, err
	}
	child, err := process.Start(process.Spec{
		Name:       "postgres",
		Path:       filepath.Join(install.Bin, "postgres"),
		Args:       arguments(data, config),
		Env:        environment(),
		Dir:        data,
		Stdout:     config.Log,
		Stderr:     config.Log,
		Credential: user.credential(),
		StopSignal: syscall.SIGINT, // "fast": ends sessions, writes a checkpoint
		Grace:      stopLimit,
	})
	if err != nil {
		return nil, err
	}
	s := &Server{config: config, home: home, install: install, child: child}
	if err := s.await(ctx); err != nil {
		_ = s.Stop(context.WithoutCancel(ctx))
		return nil, fmt.Errorf("start Postgres %d: %w%s", install.Major, err, tail.Quote())
	}
	return s, nil
}

// find returns the binaries that fit the data.
func find(ctx context.Context, user *account, data string, config Config) (Installation, error) {
	wanted, err := dataMajor(data)
	if err != nil {
		return Installation{}, err
	}
	installed := Installed(ctx, config.SearchPath, DebianFolders)
	install, err := choose(installed, wanted)
	if err == nil {
		return install, nil
	}
	builds, err := user.home(ctx, config.Builds, config.Say)
	if err != nil {
		return Installation{}, err
	}
	install, err = fetch(ctx, builds, wanted, config.Say)
	switch {
	case err == nil:
		return install, nil
	case len(installed) > 0:
		return Installation{}, fmt.Errorf("the data in %s was made by Postgres %d, this machine has version %d: "+
			"install version %d, or throw the data away (make clean): %w", data, wanted, installed[0].Major, wanted, err)
	default:
		return Installation{}, fmt.Errorf("no Postgres %d or later on this machine: install it (make postgres) "+
			"or set MIGRATE_DATABASE_URL to a server that runs elsewhere: %w", OldestMajor, err)
	}
}

// environment is all that the server and initdb get to see.
func environment() []string {
	return []string{"PATH=/usr/local/bin:/usr/bin:/bin", "LC_ALL=C", "TZ=UTC"}
}

// initialize makes the data folder unless it exists. It appears only when it is complete, so that an interrupted start
// leaves nothing half-made behind.
func initialize(ctx context.Context, install Installation, user *account, data string, config Config) error {
	if major, err := dataMajor(data); err != nil || major != 0 {
		return err
	}
	draft := data + ".new"
	var err error
	for _, locale := range []string{"C.UTF-8", "C"} { // not every system has the first
		if err = os.RemoveAll(draft); err != nil {
			return fmt.Errorf("remove the leftovers of an earlier start: %w", err)
		}
		if err = initdb(ctx, install, user, draft, locale, config); err == nil {
			break
		}
	}
	if err != nil {
		return err
	}
	if err := os.RemoveAll(data); err != nil { // without PG_VERSION it holds no data
		return fmt.Errorf("remove the leftovers of an earlier start: %w", err)
	}
	return os.Rename(draft, data)
}

func initdb(ctx context.Context, install Installation, user *account, data, locale string, config Config) error {
	if err := user.own(data); err != nil {
		return err
	}
	password, remove, err := passwordFile(user, filepath.Dir(data), config.Password)
	if err != nil {
		return err
	}
	defer remove()
	args := []string{
		"--pgdata=" + data, "--username=" + Owner, "--pwfile=" + password, "--auth=scram-sha-256",
		"--encoding=UTF8", "--locale=" + locale,
	}
	if !config.Durable {
		args = append(args, "--no-sync")
	}
	child, err := process.Start(process.Spec{
		Name:       "initdb",
		Path:       filepath.Join(install.Bin, "initdb"),
		Args:       args,
		Env:        environment(),
		Dir:        data,
		Stdout:     config.Log,
		Stderr:     config.Log,
		Credential: user.credential(),
	})
	if err != nil {
		return err
	}
	select {
	case <-child.Done():
		return child.Err()
	case <-ctx.Done():
		return errors.Join(ctx.Err(), child.Stop(ctx))
	}
}

// passwordFile writes the password where only initdb's user can read it; arguments are visible to everybody.
func passwordFile(user *account, dir, password string) (path string, remove func(), err error) {
	file, err := os.CreateTemp(dir, "password-")
	if err != nil {
		return "", nil, fmt.Errorf("write the password for initdb: %w", err)
	}
	remove = func() { _ = os.Remove(file.Name()) }
	_, err = file.WriteString(password)
	if user != nil && err == nil {
		err = file.Chown(int(user.uid), int(user.gid))
	}
	if err = errors.Join(err, file.Close()); err != nil {
		remove()
		return "", nil, fmt.Errorf("write the password for initdb: %w", err)
	}
	return file.Name(), remove, nil
}

func arguments(data string, config Config) []string {
	settings := []string{
		"listen_addresses=" + ports.Host,
		"port=" + strconv.Itoa(config.Port),
		"unix_socket_directories=",
		"max_connections=300",
		"shared_buffers=128MB",
		"jit=off",
		"timezone=UTC",
		"log_timezone=UTC",
		"log_line_prefix=%m [%p] ",
	}
	if !config.Durable {
		settings = append(settings, "fsync=off", "synchronous_commit=off", "full_page_writes=off",
			"wal_level=minimal", "max_wal_senders=0", "max_wal_size=4GB", "autovacuum_naptime=10s")
	}
	args := make([]string, 0, 2+2*len(settings))
	args = append(args, "-D", data)
	for _, setting := range settings {
		args = append(args, "-c", setting)
	}
	return args
}

// await returns when the server answers. It is asked only once its own lock file says that it is ready: before that, another
// server might answer on the port.
func (s *Server) await(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, startLimit, fmt.Errorf("the server was not ready within %s", startLimit))
	defer cancel()
	for !s.saysReady() {
		select {
		case <-s.child.Done():
			if exit := s.child.Err(); exit != nil {
				return exit
			}
			return errors.New("the server ended at once")
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(pollPause):
		}
	}
	err := s.greet(ctx)
	if refused, ok := errors.AsType[*pgconn.PgError](err); ok && refused.Code == invalidPassword {
		return errors.New("the data folder has another owner password than the one kept in the state folder: " +
			"bring the old file of secrets back, or throw the data away (make clean)")
	}
	return err
}

// invalidPassword is the server's code for a wrong password.
const invalidPassword = "28P01"

// saysReady reports whether the lock file is our server's and says that it takes connections.
func (s *Server) saysReady() bool {
	raw, err := os.ReadFile(filepath.Join(s.home, "data", "postmaster.pid"))
	if err != nil {
		return false
	}
	lines := strings.Split(string(raw), "\n")
	const number, status = 0, 7 // lines of the file, which pg_ctl reads too
	return len(lines) > status && lines[number] == strconv.Itoa(s.child.PID()) && strings.TrimSpace(lines[status]) == "ready"
}

func (s *Server) greet(ctx context.Context) error {
	conn, err := pgx.Connect(ctx, s.URL(Owner, s.config.Password, "postgres"))
	if err != nil {
		return err
	}
	return conn.Close(ctx)
}

// PID is the number of the server's first process, with which all of it ends.
func (s *Server) PID() int { return s.child.PID() }

// Version is the server's major version.
func (s *Server) Version() int { return s.install.Major }

// Home is the folder that holds the server's files. It is not Config.Home when the server's user could not enter that.
func (s *Server) Home() string { return s.home }

// URL returns the address of a database on the server, with the given user and password in it.
func (s *Server) URL(user, password, database string) string {
	return databaseURL(s.config.Port, user, password, database)
}

// OwnerURL returns the address of a database on the server for its superuser.
func (s *Server) OwnerURL(database string) string { return s.URL(Owner, s.config.Password, database) }

func databaseURL(port int, user, password, database string) string {
	address := url.URL{
		Scheme:   "postgres",
		User:     url.UserPassword(user, password),
		Host:     ports.Addr(port),
		Path:     "/" + database,
		RawQuery: "sslmode=disable",
	}
	return address.String()
}

// Done is closed when the server has ended, wanted or not.
func (s *Server) Done() <-chan struct{} { return s.child.Done() }

// Err returns how the server ended; nil while it runs and when it ended in order.
func (s *Server) Err() error { return s.child.Err() }

// Stop ends the server in order, and by force when ctx is done first. The data survives both.
func (s *Server) Stop(ctx context.Context) error { return s.child.Stop(ctx) }

// clearStalePID deals with a postmaster.pid of a server that is gone. Postgres does so itself, except when the number in
// it has since been given to another program, which is the rule in containers.
func clearStalePID(ctx context.Context, data string, say func(string)) error {
	path := filepath.Join(data, "postmaster.pid")
	deadline := time.Now().Add(orphanLimit)
	waiting := false
	for {
		raw, err := os.ReadFile(path)
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read Postgres's lock file: %w", err)
		}
		first, _, _ := strings.Cut(string(raw), "\n")
		pid, err := strconv.Atoi(strings.TrimSpace(first))
		if err != nil || pid <= 0 || !serves(pid, data) {
			if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
				return fmt.Errorf("remove Postgres's stale lock file: %w", err)
			}
			return nil
		}
		if !waiting {
			waiting = true
			say(fmt.Sprintf("waiting for the Postgres of an earlier start (process %d) to end", pid))
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("a Postgres of an earlier start still runs on %s: end it with: kill -INT %d", data, pid)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pollPause):
		}
	}
}

// serves reports whether the process is a Postgres on that data folder. Where the system does not tell, a living process
// is taken for one.
func serves(pid int, data string) bool {
	if err := syscall.Kill(pid, 0); errors.Is(err, syscall.ESRCH) {
		return false
	}
	cwd, err := os.Readlink(fmt.Sprintf("/proc/%d/cwd", pid))
	if err != nil {
		return true
	}
	resolved, err := filepath.EvalSymlinks(data)
	return err == nil && cwd == resolved
}
