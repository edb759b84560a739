package process

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// Policy says how often a child that ends unasked is started again. The zero Policy never does.
type Policy struct {
	// Restarts is how many times in a row it is started again.
	Restarts int
	// Pause is the wait before the first restart; it doubles with each further one.
	Pause time.Duration
	// Settled is how long a child has to live for the count to begin anew.
	Settled time.Duration
}

// Keeper keeps a program running: when its child ends unasked, whatever its exit code, it starts another one. Make it with
// Keep. It must be stopped with Stop.
type Keeper struct {
	policy Policy
	tell   func(Exit)

	quit    chan struct{}
	quitted sync.Once
	stopped chan struct{}
	err     error // written once, before stopped is closed

	mu    sync.Mutex
	child *Child
}

// errStopped says that no child may start any more.
var errStopped = errors.New("the keeper was stopped")

// Exit tells that a child ended unasked.
type Exit struct {
	// Err says how; it is never nil.
	Err error
	// Again is when the next child starts; it is zero when the keeper gives up.
	Again time.Duration
}

// Keep takes a running child over. tell is called from the keeper's goroutine for every end that nobody asked for.
func Keep(child *Child, policy Policy, tell func(Exit)) *Keeper {
	k := &Keeper{policy: policy, tell: tell, quit: make(chan struct{}), stopped: make(chan struct{}), child: child}
	go k.run()
	return k
}

func (k *Keeper) run() {
	defer close(k.stopped)
	pause, restarts := k.policy.Pause, 0
	for {
		child, since := k.current(), time.Now()
		select {
		case <-k.quit:
			return
		case <-child.Done():
		}
		if time.Since(since) >= k.policy.Settled {
			pause, restarts = k.policy.Pause, 0
		}
		err := child.Err()
		if err == nil {
			err = &ExitError{Name: child.spec.name()}
		}
		for {
			if restarts >= k.policy.Restarts {
				k.err = fmt.Errorf("gave up after %d restarts: %w", restarts, err)
				k.tell(Exit{Err: err})
				return
			}
			restarts++
			k.tell(Exit{Err: err, Again: pause})
			if !k.sleep(pause) {
				return
			}
			pause *= 2
			err = k.start(child.spec)
			if errors.Is(err, errStopped) {
				return
			}
			if err == nil {
				break
			}
		}
	}
}

// sleep reports whether the pause passed without Stop.
func (k *Keeper) sleep(pause time.Duration) bool {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-k.quit:
		return false
	}
}

func (k *Keeper) start(spec Spec) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	select {
	case <-k.quit: // Stop has taken the last child already
		return errStopped
	default:
	}
	child, err := Start(spec)
	if err == nil {
		k.child = child
	}
	return err
}

func (k *Keeper) current() *Child {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.child
}

// Done is closed when the keeper has given up or was stopped.
func (k *Keeper) Done() <-chan struct{} { return k.stopped }

// Err says why the keeper gave up; nil while it works and after Stop.
func (k *Keeper) Err() error {
	select {
	case <-k.stopped:
		return k.err
	default:
		return nil
	}
}

// Stop ends the child, as Child.Stop does, and starts no other.
func (k *Keeper) Stop(ctx context.Context) error {
	k.quitted.Do(func() { close(k.quit) })
	err := k.current().Stop(ctx)
	<-k.stopped
	return err
}
