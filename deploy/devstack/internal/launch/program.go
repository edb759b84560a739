package launch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tarento/copilot/deploy/devstack/internal/console"
	"github.com/tarento/copilot/deploy/devstack/internal/ports"
	"github.com/tarento/copilot/deploy/devstack/internal/process"
)

const (
	// readyLimit is how long a program may take from its start to its readiness.
	readyLimit = 60 * time.Second
	// readyPause is the pause between two questions whether it is ready.
	readyPause = 25 * time.Millisecond
	// programGrace is how long a program may take to finish what it has begun.
	programGrace = 25 * time.Second
	// buildPatience is how long a build may take before the person is told what is going on.
	buildPatience = 2 * time.Second
)

// restarts is how the system's programs are kept running once all have been ready.
func restarts() process.Policy {
	return process.Policy{Restarts: 5, Pause: 500 * time.Millisecond, Settled: time.Minute}
}

// program is one of the system's own processes.
type program struct {
	name  string
	pkg   string
	ops   string // the name of its port for health and metrics
	style console.Style
	// needs are the variables it gets beside those that all get.
	needs []string
}

func programs() []program {
	return []program{
		{
			name: "agent-worker", pkg: "./workers/cmd/agent-worker", ops: portAgentOps, style: console.Purple,
			needs: []string{
				varAppDatabase, varEngineDatabase, varNATS, varNamespace, varRedis,
				varGeminiKey, varGeminiURL,
			},
		},
		{
			name: "ingest-worker", pkg: "./workers/cmd/ingest-worker", ops: portIngestOps, style: console.Blue,
			needs: []string{
				varAppDatabase, varEngineDatabase, varNATS, varNamespace, varRedis,
				varBlobs, varCache,
			},
		},
		{
			name: "embedding-worker", pkg: "./workers/cmd/embedding-worker", ops: portEmbeddingOps, style: console.Cyan,
			needs: []string{
				varAppDatabase, varEngineDatabase, varNATS, varNamespace, varRedis,
				varGeminiKey, varGeminiURL, varQdrant, varQdrantKey,
			},
		},
		{
			name: programGateway, pkg: "./gateway/cmd/gateway", ops: portGatewayOps, style: console.Green,
			needs: []string{
				varAppDatabase, varEngineDatabase, varNATS, varNamespace, varRedis,
				varBlobs, varTokenKey, varHTTP, varDrainDelay,
			},
		},
	}
}

// programGateway is the program that serves the API.
const programGateway = "gateway"

// migratePkg is the program that brings the schema up to date.
const migratePkg = "./migrations/cmd/migrate"

// binary is where the program is built to.
func (s *session) binary(pkg string) string { return filepath.Join(s.bin, filepath.Base(pkg)) }

// wanted are the programs that nobody runs by hand.
func (s *session) wanted() []program {
	return slices.DeleteFunc(programs(), func(p program) bool { return slices.Contains(s.options.without, p.name) })
}

// environment is all that a program gets to see.
func (s *session) environment(p program) []string {
	environment := s.base()
	environment = append(environment, varOps+"="+ports.Addr(s.options.ports[p.ops]))
	for _, name := range p.needs {
		if value := s.variables[name]; value != "" {
			environment = append(environment, name+"="+value)
		}
	}
	if slices.Contains(p.needs, varGeminiKey) {
		// The real service may be behind a proxy or a certificate authority of one's own.
		for _, name := range []string{
			"HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "NO_PROXY", "no_proxy", "SSL_CERT_FILE", "SSL_CERT_DIR",
		} {
			if value := s.command.system.getenv(name); value != "" {
				environment = append(environment, name+"="+value)
			}
		}
	}
	return append(environment, s.options.extra...)
}

// base is what every child gets.
func (s *session) base() []string {
	environment := []string{varEnvironment + "=development", varLogLevel + "=" + s.options.logLevel, varLogFormat + "=json"}
	for _, name := range []string{varPath, "HOME", "TMPDIR"} {
		if value := s.command.system.getenv(name); value != "" {
			environment = append(environment, name+"="+value)
		}
	}
	return environment
}

// launched is a program that was started.
type launched struct {
	program
	child *process.Child
	tail  *console.Tail
	// ends counts how often it ended unasked.
	ends atomic.Int64
}

// startPrograms starts all programs side by side and returns when all are ready. The workers stop after the gateway.
func (s *session) startPrograms(ctx context.Context) error {
	var workers, gateways []*launched
	stop := func(group *[]*launched) func(context.Context) error {
		return func(ctx context.Context) error { return stopAll(ctx, *group) }
	}
	s.done.push("the workers", stop(&workers))
	s.done.push("the gateway", stop(&gateways))
	for _, p := range s.wanted() {
		l, err := s.startProgram(p)
		if err != nil {
			return err
		}
		if p.name == programGateway {
			gateways = append(gateways, l)
		} else {
			workers = append(workers, l)
		}
	}
	for _, l := range slices.Concat(workers, gateways) {
		if err := s.awaitReady(ctx, l); err != nil {
			return err
		}
	}
	s.keep(ctx, "the workers", workers)
	s.keep(ctx, "the gateway", gateways)
	return nil
}

func (s *session) startProgram(p program) (*launched, error) {
	file, err := s.log(p.name)
	if err != nil {
		return nil, err
	}
	level := slog.LevelWarn
	if s.options.verbose {
		level = slog.LevelDebug
	}
	tail := new(console.Tail)
	output := io.MultiWriter(file, tail, s.console.Logs(p.name, p.style, level))
	child, err := process.Start(process.Spec{
		Name:   p.name,
		Path:   s.binary(p.pkg),
		Env:    s.environment(p),
		Dir:    s.home,
		Stdout: output,
		Stderr: output,
		Grace:  programGrace,
	})
	if err != nil {
		return nil, err
	}
	return &launched{program: p, child: child, tail: tail}, nil
}

// awaitReady returns when the program says that it is ready.
func (s *session) awaitReady(ctx context.Context, l *launched) error {
	ctx, cancel := context.WithTimeoutCause(ctx, readyLimit, fmt.Errorf("it was not ready within %s", readyLimit))
	defer cancel()
	address := "http://" + ports.Addr(s.options.ports[l.ops]) + "/readyz"
	for {
		if s.isReady(ctx, address) {
			return nil
		}
		select {
		case <-l.child.Done():
			err := l.child.Err()
			if err == nil {
				err = errors.New("it ended at once")
			}
			return fmt.Errorf("start %s: %w%s", l.name, err, l.tail.Quote())
		case <-ctx.Done():
			return fmt.Errorf("start %s: %w%s", l.name, context.Cause(ctx), l.tail.Quote())
		case <-time.After(readyPause):
		}
	}
}

func (s *session) isReady(ctx context.Context, address string) bool {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, http.NoBody)
	if err != nil {
		return false
	}
	response, err := s.client.Do(request)
	if err != nil {
		return false
	}
	_ = response.Body.Close()
	return response.StatusCode == http.StatusOK
}

// keep has the programs of a group restarted when they end unasked. From now on the keepers stop them.
func (s *session) keep(ctx context.Context, group string, all []*launched) {
	keepers := make([]*process.Keeper, 0, len(all))
	for _, l := range all {
		keeper := process.Keep(l.child, restarts(), func(exit process.Exit) {
			if exit.Again > 0 {
				s.console.Warn(fmt.Sprintf("%v; starting it again in %s%s", exit.Err, console.Seconds(exit.Again), l.tail.Quote()))
				s.awaitReturn(ctx, l, time.Now())
			}
		})
		keepers = append(keepers, keeper)
		s.watch(ctx, l.name, keeper.Done(), keeper.Err)
	}
	s.done.push(group, func(ctx context.Context) error { return stopAll(ctx, keepers) })
}

// awaitReturn tells, in time, that a program which ended is ready again. It is silent if the program ends once more before.
func (s *session) awaitReturn(ctx context.Context, l *launched, ended time.Time) {
	end := l.ends.Add(1)
	address := "http://" + ports.Addr(s.options.ports[l.ops]) + "/readyz"
	s.watchers.Go(func() {
		for l.ends.Load() == end && time.Since(ended) < readyLimit {
			if s.isReady(ctx, address) {
				s.console.Phase(l.name, "is ready again", time.Since(ended))
				return
			}
			select {
			case <-ctx.Done():
				return
			case <-time.After(readyPause):
			}
		}
	})
}

// stopAll stops several side by side.
func stopAll[S interface{ Stop(context.Context) error }](ctx context.Context, all []S) error {
	problems := make([]error, len(all))
	var wait sync.WaitGroup
	for i, one := range all {
		wait.Go(func() { problems[i] = one.Stop(ctx) })
	}
	wait.Wait()
	return errors.Join(problems...)
}

// Stop ends the program's first child, if nothing keeps it.
func (l *launched) Stop(ctx context.Context) error { return l.child.Stop(ctx) }

// build compiles the programs. It is quick when nothing changed.
func (s *session) build(ctx context.Context) error {
	wanted := s.wanted()
	args := make([]string, 0, 4+len(wanted))
	args = append(args, "build", "-o", s.bin+string(filepath.Separator), migratePkg)
	for _, p := range wanted {
		args = append(args, p.pkg)
	}
	slow := time.AfterFunc(buildPatience, func() {
		s.console.Entry("building", "the programs; the first time this takes minutes")
	})
	defer slow.Stop()
	var output strings.Builder
	err := s.finish(ctx, process.Spec{
		Name:   "go build",
		Path:   "go",
		Args:   args,
		Env:    s.command.system.Env, // the go command's settings are the person's
		Dir:    s.options.root,
		Stdout: &output,
		Stderr: &output,
	})
	if err != nil {
		return fmt.Errorf("build the programs: %w\n%s", err, output.String())
	}
	return nil
}

// migrate runs the program that changes the schema.
func (s *session) migrate(ctx context.Context, words ...string) error {
	tail := new(console.Tail)
	err := s.finish(ctx, process.Spec{
		Name:   "migrate " + strings.Join(words, " "),
		Path:   s.binary(migratePkg),
		Args:   words,
		Env:    append(s.base(), varOwnerDatabase+"="+s.variables[varOwnerDatabase]),
		Stdout: tail,
		Stderr: tail,
	})
	if err != nil {
		return fmt.Errorf("%w%s", err, tail.Quote())
	}
	return nil
}

// finish runs a program to its end.
func (s *session) finish(ctx context.Context, spec process.Spec) error {
	child, err := process.Start(spec)
	if err != nil {
		return err
	}
	select {
	case <-child.Done():
		return child.Err()
	case <-ctx.Done():
		return errors.Join(context.Cause(ctx), child.Stop(ctx))
	}
}
