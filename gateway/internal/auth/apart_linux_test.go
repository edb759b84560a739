package auth

import (
	"runtime"
	"syscall"
	"testing"

	"golang.org/x/crypto/bcrypt"
)

func TestPasswordsAreWorkedOnBehindEverythingElse(t *testing.T) {
	t.Parallel()
	p, err := NewPasswords(PasswordOptions{Cost: bcrypt.MinCost})
	if err != nil {
		t.Fatal(err)
	}
	priority := func() int { // the kernel's number: 20 less the niceness
		n, err := syscall.Getpriority(syscall.PRIO_PROCESS, 0)
		if err != nil {
			t.Error(err)
		}
		return n
	}
	// This goroutine and its thread stay together, so that the thread is known not to be one of those that hash.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	before := priority()
	for range 3 {
		var hashing int
		if err := p.work(t.Context(), func() error { hashing = priority(); return nil }); err != nil {
			t.Fatal(err)
		}
		if want := min(before, 20-niceness); hashing != want {
			t.Errorf("hashes at priority %d, want %d", hashing, want)
		}
	}
	if after := priority(); after != before {
		t.Errorf("everything else went from priority %d to %d", before, after)
	}
	// A thread that has hashed serves nobody else.
	fresh := make(chan int)
	for range 10 {
		go func() {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			fresh <- priority()
		}()
		if got := <-fresh; got != before {
			t.Errorf("a thread has priority %d afterwards, want %d", got, before)
		}
	}
}
