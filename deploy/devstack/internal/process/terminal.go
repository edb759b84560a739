package process

import (
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/sys/unix"
)

// foreground reports whether in is a terminal that the child has to own while it runs, and returns what gives the
// terminal back afterwards.
func foreground(in *os.File) (terminal bool, restore func()) {
	if in == nil {
		return false, func() {}
	}
	fd := int(in.Fd())
	if owner, err := unix.IoctlGetInt(fd, unix.TIOCGPGRP); err != nil || owner != syscall.Getpgrp() {
		return false, func() {}
	}
	return true, func() {
		// A background process that takes the terminal is stopped by SIGTTOU unless it ignores it.
		signal.Ignore(syscall.SIGTTOU)
		defer signal.Reset(syscall.SIGTTOU)
		_ = unix.IoctlSetPointerInt(fd, unix.TIOCSPGRP, syscall.Getpgrp())
	}
}
