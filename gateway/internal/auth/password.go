package auth

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"math"
	"runtime"
	"strings"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"golang.org/x/crypto/bcrypt"

	"github.com/tarento/copilot/pkg/fault"
)

// The limits of a password. The upper one is bcrypt's, which ignores what lies beyond; two passwords that share their first
// 72 bytes would be one.
const (
	MinPasswordLength = 8  // in characters
	MaxPasswordLength = 72 // in bytes of UTF-8
)

// DefaultCost is the bcrypt cost where none is given: about a quarter of a second of one core.
const DefaultCost = 12

// defaultQueue is how many callers may wait for a free place where nothing is said; at DefaultCost on two cores the last of
// them waits some eight seconds.
const defaultQueue = 64

// PasswordOptions are the settings of Passwords; the zero value is good for production.
type PasswordOptions struct {
	// Cost is the bcrypt cost of new hashes, from 4 to 31; zero means DefaultCost. Hashes of another cost still verify.
	Cost int
	// Parallel is how many passwords are worked on at the same time; zero means one fewer than GOMAXPROCS, at least one. Each
	// keeps a processor busy for as long as it takes, unless something else wants it: on Linux, passwords give way. The one that is
	// left serves everything else.
	Parallel int
	// Queue is how many callers may wait beyond those; zero means 64, negative means none.
	Queue int
}

// Passwords hashes and checks passwords. It is safe for many goroutines.
type Passwords struct {
	cost    int
	queue   int64
	places  chan struct{}
	waiting atomic.Int64
	dummy   []byte
	// took is how long one hash takes, in nanoseconds, to tell the refused when to come back.
	took atomic.Int64
}

// NewPasswords makes a hash of the configured cost, for DummyVerify, so it takes as long as one login.
func NewPasswords(opts PasswordOptions) (*Passwords, error) {
	if opts.Cost == 0 {
		opts.Cost = DefaultCost
	}
	if opts.Parallel <= 0 {
		opts.Parallel = max(1, runtime.GOMAXPROCS(0)-1)
	}
	if opts.Queue == 0 {
		opts.Queue = defaultQueue
	}
	p := &Passwords{cost: opts.Cost, queue: int64(max(opts.Queue, 0)), places: make(chan struct{}, opts.Parallel)}
	start := time.Now()
	dummy, err := bcrypt.GenerateFromPassword([]byte(rand.Text()), opts.Cost)
	if err != nil {
		return nil, fmt.Errorf("auth: hash a dummy password: %w", err)
	}
	p.dummy = dummy
	p.took.Store(int64(time.Since(start)))
	return p, nil
}

// Hash returns the bcrypt hash of a new password. It returns fault.Invalid for a password that is too short, too long or
// holds a NUL byte, and fault.Unavailable with RetryAfter when too many callers wait already. It waits as long as ctx lasts.
func (p *Passwords) Hash(ctx context.Context, password string) (string, error) {
	if utf8.RuneCountInString(password) < MinPasswordLength {
		return "", fault.New(fault.Invalid, "password.too-short", "A password needs at least %d characters.", MinPasswordLength)
	}
	if err := checkPassword(password); err != nil {
		return "", err
	}
	var hash []byte
	err := p.work(ctx, func() (err error) {
		hash, err = bcrypt.GenerateFromPassword([]byte(password), p.cost)
		return err
	})
	if err != nil {
		return "", fmt.Errorf("hash password: %w", err)
	}
	return string(hash), nil
}

// Verify returns nil if the password is the one that was hashed. Otherwise it returns the fault of DummyVerify, or those of
// Hash except "too short". An empty hash is the hash of no password, and costs as much to find out.
func (p *Passwords) Verify(ctx context.Context, hash, password string) error {
	if err := checkPassword(password); err != nil {
		return err
	}
	if hash == "" {
		return p.DummyVerify(ctx, password)
	}
	err := p.work(ctx, func() error { return bcrypt.CompareHashAndPassword([]byte(hash), []byte(password)) })
	switch {
	case err == nil:
		return nil
	case errors.Is(err, bcrypt.ErrMismatchedHashAndPassword):
		return wrongCredentials()
	default:
		return fmt.Errorf("verify password: %w", err)
	}
}

// DummyVerify is Verify for a user that does not exist: it takes as long, and returns fault.Unauthenticated with the code
// "credentials.wrong", as for a wrong password. Only overload and an ended ctx give another error.
func (p *Passwords) DummyVerify(ctx context.Context, password string) error {
	if err := checkPassword(password); err != nil {
		return err
	}
	err := p.work(ctx, func() error { return bcrypt.CompareHashAndPassword(p.dummy, []byte(password)) })
	if err != nil && !errors.Is(err, bcrypt.ErrMismatchedHashAndPassword) {
		return fmt.Errorf("verify password: %w", err)
	}
	return wrongCredentials()
}

// NeedsRehash reports whether a hash has another cost than new ones, so that a login can replace it while the password is at
// hand.
func (p *Passwords) NeedsRehash(hash string) bool {
	cost, err := bcrypt.Cost([]byte(hash))
	return err != nil || cost != p.cost
}

// work runs f in one of the pool's places. Bcrypt cannot be interrupted, so ctx counts only while waiting.
func (p *Passwords) work(ctx context.Context, f func() error) error {
	select {
	case p.places <- struct{}{}:
	default:
		if err := p.wait(ctx); err != nil {
			return err
		}
	}
	defer func() { <-p.places }()
	if err := ctx.Err(); err != nil {
		return err
	}
	start := time.Now()
	err := apart(f)
	p.took.Store(int64(time.Since(start)))
	return err
}

// wait takes a place when one gets free.
func (p *Passwords) wait(ctx context.Context) error {
	defer p.waiting.Add(-1)
	if p.waiting.Add(1) > p.queue {
		return fault.New(fault.Unavailable, "auth.busy", "Too many people are signing in at the moment. Try again shortly.").
			After(p.backlog())
	}
	select {
	case p.places <- struct{}{}:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait for a place in the password pool: %w", ctx.Err())
	}
}

// backlog estimates how long a full queue takes to drain, in whole seconds, at least one.
func (p *Passwords) backlog() time.Duration {
	rounds := math.Ceil(float64(p.queue+1) / float64(cap(p.places)))
	seconds := math.Ceil(rounds * time.Duration(p.took.Load()).Seconds())
	return time.Duration(max(seconds, 1)) * time.Second
}

// checkPassword refuses what bcrypt would not tell apart from another password: all beyond 72 bytes is ignored, and because
// the key is repeated with a NUL between the repetitions, "a" would equal "a\x00a".
func checkPassword(password string) error {
	switch {
	case len(password) > MaxPasswordLength:
		return fault.New(fault.Invalid, "password.too-long",
			"A password has at most %d bytes; letters outside ASCII count as two to four.", MaxPasswordLength)
	case strings.ContainsRune(password, 0):
		return fault.New(fault.Invalid, "password.unusable", "A password cannot hold a NUL character.")
	}
	return nil
}

func wrongCredentials() error {
	return fault.New(fault.Unauthenticated, "credentials.wrong", "The name or the password is wrong.")
}
