package state_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/tarento/copilot/deploy/devstack/internal/state"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(t *testing.T, path string) *state.Folder {
	t.Helper()
	folder, err := state.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = folder.Close() })
	return folder
}

func mode(t *testing.T, path string) os.FileMode {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Mode().Perm()
}

func TestOneLauncherHasTheFolder(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "state")
	first := open(t, path)
	_, err := state.Open(path)
	locked, ok := errors.AsType[*state.LockedError](err)
	if !ok || locked.PID != os.Getpid() || locked.Path != path {
		t.Fatalf("a second Open returned %v, want a LockedError with our process number and the folder", err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	if open(t, path).Killed() {
		t.Error("a launcher that closed the folder is said to have been killed")
	}
}

func TestALauncherThatWasKilledIsNoticed(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "state")
	if err := open(t, path).Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(path, "devstack.lock"), []byte("4711\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if !open(t, path).Killed() {
		t.Error("a lock file with a process number but without a lock went unnoticed")
	}
}

func TestSecretsAreMadeOnceAndKeptFromOthers(t *testing.T) {
	t.Parallel()
	folder := open(t, filepath.Join(t.TempDir(), "state"))
	first, err := folder.Secrets()
	if err != nil {
		t.Fatal(err)
	}
	second, err := folder.Secrets()
	if err != nil {
		t.Fatal(err)
	}
	if first != second {
		t.Error("the secrets changed")
	}
	seen := make(map[string]bool)
	for _, secret := range []string{first.OwnerPassword, first.AppPassword, first.EnginePassword, first.TokenKey} {
		if len(secret) < 32 || seen[secret] {
			t.Errorf("a secret of %d characters, or one that is used twice", len(secret))
		}
		seen[secret] = true
	}
	if got := mode(t, folder.Path("secrets.json")); got != 0o600 {
		t.Errorf("the file of secrets has mode %o, want 600", got)
	}
}

func TestDamagedSecretsAreNotReplaced(t *testing.T) {
	t.Parallel()
	folder := open(t, filepath.Join(t.TempDir(), "state"))
	if err := os.WriteFile(folder.Path("secrets.json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := folder.Secrets(); err == nil {
		t.Error("damaged secrets were accepted")
	}
	if raw, err := os.ReadFile(folder.Path("secrets.json")); err != nil || string(raw) != "{" {
		t.Errorf("the damaged file became %q, %v", raw, err)
	}
}

func TestAShellReadsTheEnvFile(t *testing.T) {
	t.Parallel()
	folder := open(t, filepath.Join(t.TempDir(), "it's a state"))
	awkward := `postgres://u:p'"$HOME` + "`id`" + `\@h/d?a=b&c=d #x`
	path, err := folder.WriteEnv([]state.Variable{
		{Name: "PLAIN", Value: "1", Comment: "a comment"},
		{Name: "AWKWARD", Value: awkward},
		{Name: "EMPTY", Value: ""},
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := mode(t, path); got != 0o600 {
		t.Errorf("the env file has mode %o, want 600", got)
	}
	out, err := exec.CommandContext(t.Context(), "/bin/sh", "-c",
		`set -eu; set -a; . "$0"; set +a; printf '%s|%s|%s' "$PLAIN" "$AWKWARD" "$EMPTY"`, path).CombinedOutput()
	if want := "1|" + awkward + "|"; err != nil || string(out) != want {
		t.Errorf("the shell read %q, %v, want %q", out, err, want)
	}
}

func TestTheLastLogIsKept(t *testing.T) {
	t.Parallel()
	folder := open(t, filepath.Join(t.TempDir(), "state"))
	for _, text := range []string{"first", "second"} {
		log, err := folder.Log("gateway")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := log.WriteString(text); err != nil {
			t.Fatal(err)
		}
		if err := log.Close(); err != nil {
			t.Fatal(err)
		}
	}
	for name, want := range map[string]string{"gateway.log": "second", "gateway.log.1": "first"} {
		if raw, err := os.ReadFile(folder.Path("logs", name)); err != nil || string(raw) != want {
			t.Errorf("%s holds %q, %v, want %q", name, raw, err, want)
		}
	}
}

func TestRemoveLeavesNothing(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "state")
	folder := open(t, path)
	if !state.Exists(path) || state.Exists(filepath.Dir(path)) {
		t.Error("Exists does not tell a state folder from another one")
	}
	if err := folder.Remove(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the folder is still there: %v", err)
	}
}

func TestAFolderOfSomebodyElseIsLeftAlone(t *testing.T) {
	t.Parallel()
	path := t.TempDir()
	mine := filepath.Join(path, "lock")
	if err := os.WriteFile(mine, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := state.Open(path); err == nil || !strings.Contains(err.Error(), "no state folder") {
		t.Errorf("got %v, want that it is no state folder", err)
	}
	if state.Exists(path) {
		t.Error("it became a state folder, which clean would delete")
	}
	if err := os.Remove(mine); err != nil {
		t.Fatal(err)
	}
	open(t, path)
}

func TestAFolderThatCannotBeMadeIsSaid(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := state.Open(filepath.Join(file, "state")); err == nil || !strings.Contains(err.Error(), "state folder") {
		t.Errorf("got %v, want an error about the state folder", err)
	}
}
