package postgres

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
)

// account is the operating-system user the server runs as; nil means the launcher's own.
type account struct {
	name     string
	uid, gid uint32
}

// serverAccount returns the user for the server. Only a launcher that runs as root needs another one than its own: the one
// that made the data, else an unprivileged one.
func serverAccount(data string) (*account, error) {
	if os.Geteuid() != 0 {
		return nil, nil //nolint:nilnil // nil is documented as the launcher's own user
	}
	if info, err := os.Stat(data); err == nil {
		if status, ok := info.Sys().(*syscall.Stat_t); ok && status.Uid != 0 {
			return &account{name: strconv.FormatUint(uint64(status.Uid), 10), uid: status.Uid, gid: status.Gid}, nil
		}
	}
	for _, name := range []string{"postgres", "nobody", "daemon"} {
		found, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, uidErr := strconv.ParseUint(found.Uid, 10, 32)
		gid, gidErr := strconv.ParseUint(found.Gid, 10, 32)
		if uidErr == nil && gidErr == nil && uid != 0 {
			return &account{name: name, uid: uint32(uid), gid: uint32(gid)}, nil
		}
	}
	return nil, errors.New("there is no user to run Postgres as, which refuses to run as root: " +
		"create one (useradd --system postgres) or start as another user")
}

// credential is what makes a child run as the account.
func (a *account) credential() *syscall.Credential {
	if a == nil {
		return nil
	}
	return &syscall.Credential{Uid: a.uid, Gid: a.gid}
}

// own makes a folder, and hands it to the account.
func (a *account) own(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make Postgres's folder: %w", err)
	}
	if a == nil {
		return nil
	}
	if err := os.Chown(dir, int(a.uid), int(a.gid)); err != nil {
		return fmt.Errorf("hand Postgres's folder to user %s: %w", a.name, err)
	}
	return nil
}

// reaches reports whether the account can enter a folder, by trying: permissions of every parent, access lists and
// mounts all have a say.
func (a *account) reaches(ctx context.Context, dir string) bool {
	if a == nil {
		return true
	}
	try := exec.CommandContext(ctx, "/bin/sh", "-c", `cd "$0" && test -w .`, dir) //nolint:gosec // a folder of ours
	try.Dir = "/"
	try.SysProcAttr = &syscall.SysProcAttr{Credential: a.credential()}
	return try.Run() == nil
}

// SideFolder is where the server's files go when its user cannot reach the wanted folder: a place of its own for every
// wanted folder, below /var/tmp, which survives a reboot.
func SideFolder(wanted string) string {
	sum := sha256.Sum256([]byte(wanted))
	return "/var/tmp/copilot-devstack-" + hex.EncodeToString(sum[:6])
}

// home makes the folder for the server's files and returns it: the wanted one, or the side folder.
func (a *account) home(ctx context.Context, wanted string, say func(string)) (string, error) {
	wanted, err := filepath.Abs(wanted)
	if err != nil {
		return "", fmt.Errorf("find Postgres's folder: %w", err)
	}
	if err := a.own(wanted); err != nil {
		return "", err
	}
	if a.reaches(ctx, wanted) {
		return wanted, nil
	}
	side := SideFolder(wanted)
	say(fmt.Sprintf("user %s, as which Postgres runs, cannot enter %s: its files go to %s", a.name, wanted, side))
	// /var/tmp belongs to everybody: a folder prepared there by somebody else must not be used.
	if info, err := os.Lstat(side); err == nil {
		status, ok := info.Sys().(*syscall.Stat_t)
		if !ok || !info.IsDir() || (status.Uid != 0 && status.Uid != a.uid) {
			return "", fmt.Errorf("%s belongs to somebody else: remove it, or choose another --state folder", side)
		}
	}
	if err := a.own(side); err != nil {
		return "", err
	}
	if !a.reaches(ctx, side) {
		return "", fmt.Errorf("user %s, as which Postgres runs, cannot enter %s either: choose a --state folder it can enter", a.name, side)
	}
	return side, nil
}
