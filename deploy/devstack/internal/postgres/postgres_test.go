package postgres_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"go.uber.org/goleak"

	"github.com/tarento/copilot/deploy/devstack/internal/ports"
	"github.com/tarento/copilot/deploy/devstack/internal/postgres"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeInstallation makes a folder with programs that only tell a version.
func fakeInstallation(t *testing.T, version string) string {
	t.Helper()
	bin := filepath.Join(t.TempDir(), "bin")
	if err := os.MkdirAll(bin, 0o700); err != nil {
		t.Fatal(err)
	}
	script := fmt.Sprintf("#!/bin/sh\necho 'postgres (PostgreSQL) %s'\n", version)
	for _, name := range []string{"postgres", "initdb"} {
		if err := os.WriteFile(filepath.Join(bin, name), []byte(script), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	return bin
}

// Not in parallel: a fork elsewhere in the process would hold the scripts open for writing, and the kernel refuse to run them.
func TestInstallationsAreFoundInOrder(t *testing.T) {
	old, middle, newest := fakeInstallation(t, "14.9"), fakeInstallation(t, "15.3 (Debian 15.3-1)"), fakeInstallation(t, "17devel")
	packages := t.TempDir()
	for name, bin := range map[string]string{"14": old, "15": middle, "17": newest} {
		if err := os.Symlink(filepath.Dir(bin), filepath.Join(packages, name)); err != nil {
			t.Fatal(err)
		}
	}
	lonely := t.TempDir() // has no initdb
	if err := os.Symlink(filepath.Join(middle, "postgres"), filepath.Join(lonely, "postgres")); err != nil {
		t.Fatal(err)
	}
	pattern := filepath.Join(packages, "*", "bin")
	for _, c := range []struct {
		name string
		path string
		want []int
	}{
		{"the highest packaged version comes first and old ones are left out", "", []int{17, 15}},
		{"what is in PATH comes before packages", lonely + ":" + middle, []int{15, 17}},
		{"folders that are not there do not matter", "/nowhere:" + old, []int{17, 15}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got []int
			for _, found := range postgres.Installed(t.Context(), c.path, pattern) {
				got = append(got, found.Major)
			}
			if fmt.Sprint(got) != fmt.Sprint(c.want) {
				t.Errorf("found versions %v, want %v", got, c.want)
			}
		})
	}
}

func config(t *testing.T) postgres.Config {
	t.Helper()
	free, err := ports.Free(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	return postgres.Config{
		Home: home(t), Port: free[0], Password: "secret-of-the-owner", SearchPath: os.Getenv("PATH"), Say: func(s string) { t.Log(s) },
	}
}

// home makes a folder that the server's user can enter; those of the testing package are for our user only.
func home(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "postgres-test-") //nolint:usetesting // t.TempDir is inside a folder closed to others
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o711); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, "postgres")
}

func start(t *testing.T, c postgres.Config) *postgres.Server {
	t.Helper()
	server, err := postgres.Start(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Stop(t.Context()) })
	return server
}

func query(t *testing.T, url, sql string) (answer string, err error) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		return "", err
	}
	defer func() { _ = conn.Close(t.Context()) }()
	err = conn.QueryRow(t.Context(), sql).Scan(&answer)
	return answer, err
}

func TestDataSurvivesARestart(t *testing.T) {
	t.Parallel()
	c := config(t)
	c.Durable = true
	first := start(t, c)
	conn, err := pgx.Connect(t.Context(), first.OwnerURL("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Exec(t.Context(), "CREATE TABLE kept AS SELECT 'yes' AS answer"); err != nil {
		t.Fatal(err)
	}
	if err := conn.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := first.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	select {
	case <-first.Done():
	case <-time.After(20 * time.Second):
		t.Error("Done is not closed after Stop")
	}
	// A lock file left by a crash, with the number of a process that lives and is no Postgres.
	stale := fmt.Sprintf("%d\n%s\n", os.Getpid(), filepath.Join(first.Home(), "data"))
	if err := os.WriteFile(filepath.Join(first.Home(), "data", "postmaster.pid"), []byte(stale), 0o600); err != nil {
		t.Fatal(err)
	}
	second := start(t, c)
	if answer, err := query(t, second.OwnerURL("postgres"), "SELECT answer FROM kept"); err != nil || answer != "yes" {
		t.Errorf("after the restart: %q, %v", answer, err)
	}
	for setting, want := range map[string]string{"fsync": "on", "listen_addresses": "127.0.0.1", "unix_socket_directories": ""} {
		if got, err := query(t, second.OwnerURL("postgres"), "SELECT current_setting('"+setting+"')"); err != nil || got != want {
			t.Errorf("%s is %q, %v, want %q", setting, got, err, want)
		}
	}
	if _, err := query(t, second.URL(postgres.Owner, "wrong", "postgres"), "SELECT 'in'"); err == nil {
		t.Error("a wrong password was accepted")
	}
}

func TestAnInterruptedFirstStartIsMadeGood(t *testing.T) {
	t.Parallel()
	c := config(t)
	for _, leftover := range []string{"data.new/base", "data"} {
		if err := os.MkdirAll(filepath.Join(c.Home, leftover), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	server := start(t, c)
	if answer, err := query(t, server.OwnerURL("postgres"), "SELECT 'works'"); err != nil || answer != "works" {
		t.Errorf("got %q, %v", answer, err)
	}
	if left, err := filepath.Glob(filepath.Join(c.Home, "*")); err != nil || len(left) != 1 {
		t.Errorf("the home holds %v, %v, want the data only (no password)", left, err)
	}
}

func TestAFailedStartSaysWhy(t *testing.T) {
	t.Parallel()
	t.Run("the data has another password", func(t *testing.T) {
		t.Parallel()
		c := config(t)
		if err := start(t, c).Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
		c.Password = "another"
		_, err := postgres.Start(t.Context(), c)
		if err == nil || !strings.Contains(err.Error(), "another owner password") || strings.Contains(err.Error(), "secret-of-the-owner") {
			t.Errorf("got %v, want that the password changed", err)
		}
	})
	t.Run("the port is taken", func(t *testing.T) {
		t.Parallel()
		c := config(t)
		start(t, c)
		taken := c
		taken.Home = home(t)
		taken.Password = "another"
		if _, err := postgres.Start(t.Context(), taken); err == nil || !strings.Contains(err.Error(), "ddress already in use") {
			t.Errorf("got %v, want that the address is in use", err)
		}
	})
	t.Run("the data folder is damaged", func(t *testing.T) {
		t.Parallel()
		c := config(t)
		server := start(t, c)
		if err := server.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := os.Remove(filepath.Join(server.Home(), "data", "global", "pg_control")); err != nil {
			t.Fatal(err)
		}
		_, err := postgres.Start(t.Context(), c)
		if err == nil || !strings.Contains(err.Error(), "could not find the database system") {
			t.Errorf("got %v, want the server's own words", err)
		}
	})
	t.Run("the data is of a version that is not there", func(t *testing.T) {
		t.Parallel()
		c := config(t)
		if err := os.MkdirAll(filepath.Join(c.Home, "data"), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(c.Home, "data", "PG_VERSION"), []byte("9\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := postgres.Start(t.Context(), c)
		if err == nil || !strings.Contains(err.Error(), "made by Postgres 9") {
			t.Errorf("got %v, want that the data was made by Postgres 9", err)
		}
	})
}

func TestADyingServerIsNoticed(t *testing.T) {
	t.Parallel()
	server := start(t, config(t))
	raw, err := os.ReadFile(filepath.Join(server.Home(), "data", "postmaster.pid"))
	if err != nil {
		t.Fatal(err)
	}
	var pid int
	if _, err := fmt.Sscan(string(raw), &pid); err != nil {
		t.Fatal(err)
	}
	victim, err := os.FindProcess(pid)
	if err != nil {
		t.Fatal(err)
	}
	if err := victim.Kill(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-server.Done():
	case <-time.After(20 * time.Second):
		t.Fatal("the death of the server went unnoticed")
	}
	if server.Err() == nil {
		t.Error("a killed server ended without an error")
	}
}
