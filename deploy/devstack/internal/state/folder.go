package state

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// lockName is the lock file's name; it also marks a folder as one of ours.
const lockName = "devstack.lock"

// LockedError says that another launcher has the folder.
type LockedError struct {
	// Path is the folder.
	Path string
	// PID is the other launcher's process; zero when it is not known.
	PID int
}

// Error says who has the folder and what to do.
func (e *LockedError) Error() string {
	who := "another devstack"
	if e.PID > 0 {
		who += fmt.Sprintf(" (process %d)", e.PID)
	}
	return fmt.Sprintf("%s is running on %s: stop it first, or give --state another folder", who, e.Path)
}

// Folder is a state folder in the hands of this process. Make it with Open; it must be closed.
type Folder struct {
	path   string
	lock   *os.File
	killed bool
}

// Open makes the folder unless it exists, and takes it. It returns a *LockedError when another launcher has it. A folder that
// holds something and is no state folder is refused: Remove would delete what is not ours.
func Open(path string) (*Folder, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("find the state folder: %w", err)
	}
	// Postgres may run as another user, who has to pass through to its own folder but sees nothing of the rest.
	if err := os.MkdirAll(path, 0o711); err != nil { //nolint:gosec // see above; files in it are 0600
		return nil, fmt.Errorf("make the state folder: %w", err)
	}
	if err := claimable(path); err != nil {
		return nil, err
	}
	lock, killed, err := take(filepath.Join(path, lockName))
	if err != nil {
		return nil, err
	}
	return &Folder{path: path, lock: lock, killed: killed}, nil
}

// claimable returns an error unless the folder is empty or a state folder already.
func claimable(path string) error {
	if Exists(path) {
		return nil
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		return fmt.Errorf("look into the state folder: %w", err)
	}
	// A launcher that starts at the same moment may just have made its lock.
	if len(entries) > 0 && !Exists(path) {
		return fmt.Errorf("%s holds other things and is no state folder: give --state a new or an empty one", path)
	}
	return nil
}

// take locks the file and writes our process number into it, and reports whether there still was another one. The system
// gives the lock back when the process ends, however it ends; only Close takes the number out.
func take(path string) (_ *os.File, killed bool, err error) {
	lock, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, false, fmt.Errorf("open the state folder's lock: %w", err)
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		defer func() { _ = lock.Close() }()
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, false, fmt.Errorf("lock the state folder: %w", err)
		}
		return nil, false, &LockedError{Path: filepath.Dir(path), PID: holder(lock)}
	}
	killed = holder(lock) != 0
	err = lock.Truncate(0)
	if err == nil {
		_, err = lock.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	}
	if err != nil {
		return nil, false, errors.Join(fmt.Errorf("write the state folder's lock: %w", err), lock.Close())
	}
	return lock, killed, nil
}

// Killed reports whether the last launcher on the folder ended without closing it. What it had started may still be ending.
func (f *Folder) Killed() bool { return f.killed }

// holder returns the process number in the lock file; zero when there is none, since it only helps people.
func holder(lock io.Reader) int {
	raw, err := io.ReadAll(io.LimitReader(lock, 32))
	if err != nil {
		return 0
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(raw)))
	if err != nil {
		return 0
	}
	return pid
}

// Path returns the path of something in the folder; without arguments, the folder itself.
func (f *Folder) Path(elements ...string) string {
	return filepath.Join(append([]string{f.path}, elements...)...)
}

// Dir returns the path of a folder in the folder, which it makes unless it exists.
func (f *Folder) Dir(elements ...string) (string, error) {
	path := f.Path(elements...)
	if err := os.MkdirAll(path, 0o700); err != nil {
		return "", fmt.Errorf("make a folder in the state folder: %w", err)
	}
	return path, nil
}

// Log opens the named log file anew; the one of the last run is kept beside it with ".1" at the end.
func (f *Folder) Log(name string) (*os.File, error) {
	dir, err := f.Dir("logs")
	if err != nil {
		return nil, err
	}
	path := filepath.Join(dir, name+".log")
	if err := os.Rename(path, path+".1"); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("keep the last run's log: %w", err)
	}
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("write the log: %w", err)
	}
	return file, nil
}

// Close gives the folder back.
func (f *Folder) Close() error {
	if err := errors.Join(f.lock.Truncate(0), f.lock.Close()); err != nil {
		return fmt.Errorf("unlock the state folder: %w", err)
	}
	return nil
}

// Remove deletes the folder with everything in it, and closes it.
func (f *Folder) Remove() error {
	return errors.Join(os.RemoveAll(f.path), f.Close())
}

// Exists reports whether path is a state folder.
func Exists(path string) bool {
	_, err := os.Stat(filepath.Join(path, lockName))
	return err == nil
}

// write replaces a file as a whole, readable by its owner only.
func write(path string, content []byte) error {
	draft := path + ".new"
	if err := os.WriteFile(draft, content, 0o600); err != nil {
		return fmt.Errorf("write %s: %w", filepath.Base(path), err)
	}
	if err := os.Rename(draft, path); err != nil {
		return fmt.Errorf("write %s: %w", filepath.Base(path), err)
	}
	return nil
}
