package postgres

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// OldestMajor is the oldest major version the system runs on.
const OldestMajor = 15

// DebianFolders is where Debian and Ubuntu keep the server's binaries, which they leave out of PATH.
const DebianFolders = "/usr/lib/postgresql/*/bin"

// errNone is returned by choose when no installation fits.
var errNone = errors.New("no usable Postgres installation")

// Installation is a folder that holds Postgres server binaries.
type Installation struct {
	// Bin is the folder of postgres and initdb.
	Bin string
	// Major is the major version, for example 17.
	Major int
}

var versionPattern = regexp.MustCompile(`\(PostgreSQL\) (\d+)`)

// inspect returns the installation in a folder; ok is false when there is none that runs.
func inspect(ctx context.Context, bin string) (found Installation, ok bool) {
	if _, err := os.Stat(filepath.Join(bin, "initdb")); err != nil {
		return Installation{}, false
	}
	out, err := exec.CommandContext(ctx, filepath.Join(bin, "postgres"), "--version").Output() //nolint:gosec // a found binary
	if err != nil {
		return Installation{}, false
	}
	match := versionPattern.FindSubmatch(out)
	if match == nil {
		return Installation{}, false
	}
	major, err := strconv.Atoi(string(match[1]))
	if err != nil {
		return Installation{}, false
	}
	return Installation{Bin: bin, Major: major}, true
}

// Installed lists the installations on the machine in order of preference: those in the folders of path (as in the PATH
// variable) first, then those that match the pattern, highest version first. Versions below OldestMajor are left out.
func Installed(ctx context.Context, path, pattern string) []Installation {
	var found []Installation
	seen := make(map[string]bool)
	add := func(bin string) (Installation, bool) {
		server, err := filepath.EvalSymlinks(filepath.Join(bin, "postgres"))
		if err != nil || seen[filepath.Dir(server)] {
			return Installation{}, false
		}
		seen[filepath.Dir(server)] = true
		candidate, ok := inspect(ctx, filepath.Dir(server))
		return candidate, ok && candidate.Major >= OldestMajor
	}
	for _, bin := range filepath.SplitList(path) {
		if candidate, ok := add(bin); ok {
			found = append(found, candidate)
		}
	}
	folders, err := filepath.Glob(pattern)
	if err != nil {
		return found
	}
	var packaged []Installation
	for _, bin := range folders {
		if candidate, ok := add(bin); ok {
			packaged = append(packaged, candidate)
		}
	}
	slices.SortStableFunc(packaged, func(a, b Installation) int { return cmp.Compare(b.Major, a.Major) })
	return append(found, packaged...)
}

// choose returns the preferred installation; wanted is the major version that made the existing data, or 0 when there is
// none. It returns errNone when nothing fits.
func choose(candidates []Installation, wanted int) (Installation, error) {
	for _, candidate := range candidates {
		if wanted == 0 || candidate.Major == wanted {
			return candidate, nil
		}
	}
	return Installation{}, errNone
}

// dataMajor returns the major version that made a data folder; 0 when there is no data yet.
func dataMajor(data string) (int, error) {
	raw, err := os.ReadFile(filepath.Join(data, "PG_VERSION"))
	if errors.Is(err, os.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("read the version of the data in %s: %w", data, err)
	}
	major, err := strconv.Atoi(strings.TrimSpace(string(raw)))
	if err != nil {
		return 0, fmt.Errorf("read the version of the data in %s: %w", data, err)
	}
	return major, nil
}
