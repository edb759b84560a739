package auth

import "runtime"

// apart runs f on a thread of its own that gives way to all others, and waits for it.
//
// A hash takes a processor for a quarter of a second, and who answers requests beside it takes some hundred microseconds at a time.
// If both are worth the same to the system, everybody waits for hashes while people log in; so hashes get what the others leave.
// On a machine with processor time to spare that is all they need, and logins are as fast as ever. On one without, logins wait, and
// that is what it costs: where others want all processors for long, a login takes seconds.
// Priorities count among what shares a machine or, with containers, a container. A thread is made for each hash, which is next to
// nothing beside it.
func apart(f func() error) error {
	done := make(chan error)
	go func() {
		// Never unlocked, so that the thread ends with the goroutine: nobody may raise its priority again.
		runtime.LockOSThread()
		giveWay()
		done <- f()
	}()
	return <-done
}
