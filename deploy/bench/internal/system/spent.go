package system

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/jackc/pgx/v5"
)

// Floor is the name of the floor's API among the programs that run.
const Floor = "floor serve"

// Spent is processor time. Unlike the time that passes, it hardly depends on what else the machine does.
type Spent struct{ Server, Postgres time.Duration }

// Sub returns what was spent since before.
func (s Spent) Sub(before Spent) Spent {
	return Spent{Server: s.Server - before.Server, Postgres: s.Postgres - before.Postgres}
}

// Spent reads the processor time that a program has used up to now, and all of Postgres with it. Both need Linux's /proc, and the
// second a Postgres on this machine.
func (s *System) Spent(ctx context.Context, program string) (spent Spent, err error) {
	stat, err := os.ReadFile(s.proc(program, "stat"))
	if err != nil {
		return Spent{}, fmt.Errorf("read the processor time of %s: %w", program, err)
	}
	if spent.Server, err = parseProcessor(stat); err != nil {
		return Spent{}, fmt.Errorf("read the processor time of %s: %w", program, err)
	}
	if s.postmaster == 0 {
		if s.postmaster, err = s.findPostmaster(ctx); err != nil {
			return Spent{}, err
		}
	}
	if spent.Postgres, err = family(s.postmaster); err != nil {
		return Spent{}, fmt.Errorf("read the processor time of Postgres: %w", err)
	}
	return spent, nil
}

// findPostmaster finds the process that every backend of Postgres is a child of.
func (s *System) findPostmaster(ctx context.Context) (pid int, err error) {
	err = s.site.engines.onPostgres(ctx, func(conn *pgx.Conn) error {
		var backend int
		if err := conn.QueryRow(ctx, "SELECT pg_backend_pid()").Scan(&backend); err != nil {
			return fmt.Errorf("ask Postgres for its process: %w", err)
		}
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", backend))
		if err != nil {
			return fmt.Errorf("find the process of Postgres: %w", err)
		}
		pid, err = parseParent(stat)
		return err
	})
	return pid, err
}

// family sums the processor time of a process, of its children, and of those that have ended.
func family(parent int) (sum time.Duration, err error) {
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return 0, fmt.Errorf("list processes: %w", err)
	}
	own := fmt.Sprintf("/proc/%d/stat", parent)
	for _, path := range stats {
		stat, err := os.ReadFile(path)
		if err != nil {
			continue // it has just ended
		}
		of, err := parseParent(stat)
		if err != nil || (of != parent && path != own) {
			continue
		}
		used, err := parseProcessor(stat)
		if err != nil {
			return 0, err
		}
		sum += used
		if path == own {
			ended, err := parseEnded(stat)
			if err != nil {
				return 0, err
			}
			sum += ended
		}
	}
	return sum, nil
}
