package process

import (
	"errors"
	"syscall"

	"golang.org/x/sys/unix"
)

// endWithParent does nothing: macOS cannot tell a child that its parent died.
func endWithParent(*syscall.SysProcAttr, syscall.Signal) {}

// awaitExit returns when the process has ended, and leaves it to be reaped.
func awaitExit(pid int) {
	queue, err := unix.Kqueue()
	if err != nil {
		return
	}
	defer func() { _ = unix.Close(queue) }()
	var exit unix.Kevent_t
	unix.SetKevent(&exit, pid, unix.EVFILT_PROC, unix.EV_ADD|unix.EV_ONESHOT)
	exit.Fflags = unix.NOTE_EXIT
	events := make([]unix.Kevent_t, 1)
	for {
		_, err := unix.Kevent(queue, []unix.Kevent_t{exit}, events, nil)
		if !errors.Is(err, unix.EINTR) {
			return
		}
	}
}
