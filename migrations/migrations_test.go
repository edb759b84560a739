package migrations

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"strings"
	"testing"
)

func TestMigrationsAreNumberedWithoutGapsAndCanBeTakenBack(t *testing.T) {
	t.Parallel()
	names, err := fs.Glob(files, "sql/*.sql")
	if err != nil || len(names) == 0 {
		t.Fatalf("no embedded migrations: %v", err)
	}
	wellNamed := regexp.MustCompile(`^\d{5}_[a-z_]+\.sql$`)
	for i, name := range names {
		base := path.Base(name)
		if !wellNamed.MatchString(base) || !strings.HasPrefix(base, fmt.Sprintf("%05d_", i+1)) {
			t.Errorf("%s: want the number %05d and a name in lower case", base, i+1)
		}
		content, err := fs.ReadFile(files, name)
		if err != nil {
			t.Fatal(err)
		}
		up, down, found := strings.Cut(string(content), "-- +goose Down")
		if !found || !strings.Contains(up, "-- +goose Up") || !strings.Contains(down, ";") {
			t.Errorf("%s: needs an Up and a Down part", base)
		}
		if strings.Contains(string(content), "NO TRANSACTION") {
			t.Errorf("%s: every migration runs in a transaction", base)
		}
	}
}

func TestFingerprintIsStableWithinABuild(t *testing.T) {
	t.Parallel()
	a, err := Fingerprint()
	if err != nil {
		t.Fatal(err)
	}
	b, err := Fingerprint()
	if err != nil {
		t.Fatal(err)
	}
	if a != b || len(a) != 16 {
		t.Errorf("fingerprints %q and %q: want the same 16 characters twice", a, b)
	}
}

func TestSeedIsRefusedInProductionBeforeItTouchesTheDatabase(t *testing.T) {
	t.Parallel()
	for _, environment := range []string{"production", "Production", " PRODUCTION "} {
		if err := Seed(t.Context(), nil, SeedOptions{Environment: environment}); !errors.Is(err, ErrProduction) {
			t.Errorf("Seed in %q: got %v, want ErrProduction", environment, err)
		}
	}
}
