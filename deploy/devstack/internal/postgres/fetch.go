package postgres

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	embeddedpostgres "github.com/fergusstrange/embedded-postgres"

	"github.com/tarento/copilot/deploy/devstack/internal/ports"
)

// fetchedMajor is the major version fetched when no data asks for another one.
const fetchedMajor = 17

// releases are the versions that can be fetched.
func releases() map[int]embeddedpostgres.PostgresVersion {
	return map[int]embeddedpostgres.PostgresVersion{
		15: embeddedpostgres.V15,
		16: embeddedpostgres.V16,
		17: embeddedpostgres.V17,
		18: embeddedpostgres.V18,
	}
}

// fetch downloads binaries into a folder below builds, unless an earlier call did, and returns them. wanted 0 means any version.
func fetch(ctx context.Context, builds string, wanted int, say func(string)) (Installation, error) {
	if wanted == 0 {
		wanted = fetchedMajor
	}
	into := filepath.Join(builds, fmt.Sprintf("postgres-%d", wanted))
	if found, ok := inspect(ctx, filepath.Join(into, "bin")); ok {
		return found, nil
	}
	release, ok := releases()[wanted]
	if !ok {
		known := make([]int, 0, len(releases()))
		for major := range releases() {
			known = append(known, major)
		}
		slices.Sort(known)
		return Installation{}, fmt.Errorf("no build of Postgres %d can be fetched (only of %v)", wanted, known)
	}
	say(fmt.Sprintf("no Postgres found on this machine: fetching version %s into %s", release, into))
	port, err := ports.Free(ctx, 1)
	if err != nil {
		return Installation{}, err
	}
	// The library can only fetch by starting a server. As root that start is refused, by initdb and after the binaries are
	// in place; what counts is whether they are there and run.
	scratch := filepath.Join(builds, "fetching")
	server := embeddedpostgres.NewDatabase(embeddedpostgres.DefaultConfig().
		Version(release).
		Port(uint32(port[0])).
		BinariesPath(into).
		CachePath(filepath.Join(scratch, "cache")).
		RuntimePath(filepath.Join(scratch, "runtime")).
		StartTimeout(time.Minute).
		Logger(io.Discard))
	startErr := server.Start()
	if startErr == nil {
		startErr = server.Stop()
	}
	if err := os.RemoveAll(scratch); err != nil {
		return Installation{}, fmt.Errorf("remove the leftovers of fetching Postgres: %w", err)
	}
	if found, ok := inspect(ctx, filepath.Join(into, "bin")); ok {
		return found, nil
	}
	if startErr == nil {
		startErr = errors.New("the fetched binaries do not run on this machine")
	}
	return Installation{}, fmt.Errorf("fetch Postgres %s: %w", release, startErr)
}
