package httpapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"

	"github.com/tarento/copilot/gateway/internal/rbac"
	"github.com/tarento/copilot/pkg/access"
	"github.com/tarento/copilot/pkg/fault"
)

const (
	// socketQueue is how many messages may wait for a client. Subscriptions wait when there are as many.
	socketQueue = 64
	// discardable bounds messages that are too large, in bytes: up to so many are read and refused, more ends the socket.
	discardable = 1 << 20
	// partWithin is how long a slow reader may take, once it is to be sent away, to take what was begun and the reason.
	partWithin = 10 * time.Second
	// silentBeats is how many heartbeats in a row may stay without any sign of the client's.
	silentBeats = 3
)

// errClientGone means that there is nobody to write to.
var errClientGone = errors.New("client gone")

// socket is one WebSocket connection. One goroutine reads what the client asks and opens its subscriptions; each of these has a goroutine
// that hands its events to the one that writes. Whatever ends the socket ends its context, with the reason as the cause; the writer
// then says good-bye.
type socket struct {
	server *Server
	out    chan []byte
	// heard is when the client last gave a sign of life, in nanoseconds.
	heard atomic.Int64
	// following are the goroutines of subscriptions.
	following sync.WaitGroup

	mu   sync.Mutex
	conn *websocket.Conn
	// raw is what the connection is made of.
	raw net.Conn
	// over is why the socket has ended, or is to end as soon as it runs.
	over error
	stop context.CancelCauseFunc
	// shown is what the client has shown last, caller whom that stands for; nil while nobody is known.
	shown  credentials
	caller *rbac.Principal
	expiry *time.Timer
	open   map[string]*subscription
}

func newSocket(s *Server) *socket {
	k := &socket{server: s, out: make(chan []byte, socketQueue), open: map[string]*subscription{}}
	k.hear()
	return k
}

func (k *socket) hear() { k.heard.Store(time.Now().UnixNano()) }

// end ends the socket with a reason; the first one counts.
func (k *socket) end(why error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.over != nil {
		return
	}
	k.over = why
	if k.stop != nil {
		k.stop(why)
	}
}

// cut breaks the connection off.
func (k *socket) cut() {
	k.end(errClientGone)
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.raw != nil {
		_ = k.raw.Close() // whose error nobody can do anything about
	}
}

// run serves the connection until it has ended and returns why. The caller is nil while only what is shown is known, or nothing.
func (k *socket) run(
	ctx context.Context, conn *websocket.Conn, raw net.Conn, caller *rbac.Principal, shown credentials,
) (reason string) {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	conn.SetReadLimit(-1) // read has limits of its own
	k.mu.Lock()
	k.conn, k.raw, k.stop = conn, raw, stop
	if k.over != nil {
		stop(k.over)
	}
	k.expiry = time.AfterFunc(k.server.cfg.Sockets.AuthenticateWithin, func() { k.end(leave(http.StatusUnauthorized, reasonNobody)) })
	k.mu.Unlock()
	var work sync.WaitGroup
	work.Go(func() { k.write(ctx) })
	work.Go(func() { k.keepAlive(ctx) })
	if caller == nil && shown != (credentials{}) {
		k.showLate(ctx, shown)
	} else if caller != nil {
		k.begin(ctx, caller, shown)
	}
	k.read(ctx)
	k.end(errClientGone)
	work.Wait()
	k.following.Wait()
	k.mu.Lock()
	defer k.mu.Unlock()
	k.expiry.Stop()
	if k.over == errClientGone { //nolint:errorlint // it is set above
		return reasonGone
	}
	return leavingFor(k.over).reason
}

// showLate lets in who has shown a token in a subprotocol, or ends the socket with what is wrong with it.
func (k *socket) showLate(ctx context.Context, shown credentials) {
	p, err := k.server.introduce(ctx, http.Header{}, shown)
	if err != nil {
		problem := k.server.failed(ctx, err)
		k.end(leaving{statusCode(problem.Status), reasonRefused, problem.Code})
		return
	}
	k.begin(ctx, p, shown)
}

// begin lets somebody in for the first time.
func (k *socket) begin(ctx context.Context, p *rbac.Principal, shown credentials) {
	requestOf(ctx).user = p.UserID.String()
	k.adopt(p, shown)
	known, done := k.server.Accounts.While(ctx, p.Tenant, k.recheck)
	context.AfterFunc(known, func() {
		k.end(context.Cause(known))
		done()
	})
	k.say(ctx, socketAnswer{Op: opAuthenticated, ExpiresAt: p.Expires.UTC()})
}

// authenticate takes a token that comes in a message.
func (k *socket) authenticate(ctx context.Context, token string) error {
	shown := credentials{authorization: "Bearer " + token}
	p, err := k.server.introduce(ctx, http.Header{}, shown)
	if err != nil {
		return err
	}
	k.mu.Lock()
	before := k.caller
	k.mu.Unlock()
	switch {
	case before == nil:
		k.begin(ctx, p, shown)
	case before.UserID != p.UserID || before.Tenant != p.Tenant:
		return fault.New(fault.Conflict, "auth.other_user", "This connection is another user's. Open one of your own.")
	default:
		k.adopt(p, shown)
		k.say(ctx, socketAnswer{Op: opAuthenticated, ExpiresAt: p.Expires.UTC()})
	}
	return nil
}

// recheck looks again at what the client may do, and refuses who may do nothing any more.
func (k *socket) recheck(ctx context.Context) error {
	for {
		k.mu.Lock()
		shown := k.shown
		k.mu.Unlock()
		p, err := k.server.authenticate(ctx, shown.authorization, shown.key)
		if err == nil {
			err = socketOperation().admits(p, access.JobsRead)
		}
		k.mu.Lock()
		same := k.shown == shown
		k.mu.Unlock()
		if !same {
			continue // it has shown a new token meanwhile
		}
		if err != nil {
			return err
		}
		k.adopt(p, shown)
		return nil
	}
}

// adopt takes over who the client is now, and ends the subscriptions to what that one does not see. The socket ends with the token.
func (k *socket) adopt(p *rbac.Principal, shown credentials) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.shown != shown {
		k.expiry.Stop()
		k.expiry = time.AfterFunc(time.Until(p.Expires), func() { k.end(leave(http.StatusUnauthorized, reasonExpired)) })
	}
	k.caller, k.shown = p, shown
	for _, sub := range k.open {
		if err := sub.shown(p.Jobs()); err != nil {
			sub.stop(err)
		}
	}
}

// read takes the client's messages until the connection has ended. It does not end with ctx, which would break the connection off
// before the good-bye.
func (k *socket) read(ctx context.Context) {
	most := k.server.cfg.Sockets.Message
	for {
		kind, r, err := k.conn.Reader(context.WithoutCancel(ctx))
		if err != nil {
			return
		}
		text, err := io.ReadAll(io.LimitReader(r, most+1))
		if err != nil {
			return
		}
		tooLarge := int64(len(text)) > most
		if tooLarge {
			if _, err = io.CopyN(io.Discard, r, discardable); err == nil {
				k.end(leaving{websocket.StatusMessageTooBig, reasonTooLarge, reasonTooLarge})
			}
			if !errors.Is(err, io.EOF) {
				return
			}
		}
		k.hear()
		if ctx.Err() != nil {
			continue // only the answer to the good-bye is of interest
		}
		id := ""
		switch {
		case tooLarge:
			err = newProblem(fault.TooLarge, reasonTooLarge, "The message is larger than the "+size(most)+" that are allowed.")
		case kind != websocket.MessageText:
			err = newProblem(fault.Unsupported, "message.binary", "Messages are JSON, sent as text.")
		default:
			k.guard(ctx, func() { id, err = k.take(ctx, text) })
		}
		if err != nil {
			k.say(ctx, problemAnswer(opError, id, "", k.problem(ctx, err)))
		}
		k.hear()
	}
}

// problem is what the client is told of an error.
func (k *socket) problem(ctx context.Context, err error) *Problem {
	p := *k.server.failed(ctx, err)
	p.RequestID = requestOf(ctx).id
	return &p
}

// take does what a message asks for.
func (k *socket) take(ctx context.Context, text []byte) (id string, err error) {
	message, id, err := k.server.sockets.messages.read(text)
	if err != nil {
		return id, err
	}
	switch m := message.(type) {
	case *authenticateMessage:
		return id, k.authenticate(ctx, m.Token)
	case *pingMessage:
		k.say(ctx, socketAnswer{Op: opPong, ID: m.ID})
		return id, nil
	default:
	}
	if !k.known() {
		return id, fault.New(fault.Unauthenticated, reasonNobody,
			"Say who you are first, with a message of the op authenticate and a token.")
	}
	switch m := message.(type) {
	case *subscribeMessage:
		return id, k.subscribe(ctx, m)
	case *unsubscribeMessage:
		return id, k.unsubscribe(m.ID)
	default:
		return id, fmt.Errorf("httpapi: a message of the type %T is not served", message)
	}
}

func (k *socket) known() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.caller != nil
}

// say sends an answer; send waits for its turn. Nothing is sent when ctx has ended.
func (k *socket) say(ctx context.Context, a socketAnswer) {
	text, err := json.Marshal(a)
	if err != nil {
		requestOf(ctx).log.ErrorContext(ctx, "an answer was not encoded", "op", a.Op, "error", err)
		return
	}
	_ = k.send(ctx, text)
}

func (k *socket) send(ctx context.Context, message []byte) error {
	select {
	case k.out <- message:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// write sends what waits, until ctx ends; then it says why. Who does not make room in time is to be sent away: it gets the rest of what
// was begun, and the reason, if it reads on at all.
func (k *socket) write(ctx context.Context) {
	within := k.server.cfg.Sockets.ReadWithin
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case message := <-k.out:
			slow := time.AfterFunc(within, func() { k.end(leave(http.StatusTooManyRequests, reasonSlow)) })
			writing, cancel := context.WithTimeout(context.WithoutCancel(ctx), within+partWithin)
			err := k.conn.Write(writing, websocket.MessageText, message)
			cancel()
			slow.Stop()
			if err != nil {
				k.end(errClientGone)
			}
		}
	}
	if why := context.Cause(ctx); why != errClientGone { //nolint:errorlint // it is never wrapped
		l := leavingFor(why)
		_ = k.conn.Close(l.code, l.said) // who does not answer is gone
	}
	_ = k.conn.CloseNow()
}

// keepAlive pings the client, and ends the socket of one that gives no sign of life.
func (k *socket) keepAlive(ctx context.Context) {
	beat := k.server.cfg.Heartbeat
	tick := time.NewTicker(beat)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if time.Since(time.Unix(0, k.heard.Load())) > silentBeats*beat {
			k.end(leave(http.StatusRequestTimeout, reasonSilent))
			return
		}
		// An end of ctx must not break the connection off in the middle of a ping; it closes with it.
		waiting, cancel := context.WithTimeout(context.WithoutCancel(ctx), beat)
		_ = k.conn.Ping(waiting) // hear knows of the answer
		cancel()
	}
}

// guard keeps a panic to the socket that it happens in.
func (k *socket) guard(ctx context.Context, work func()) {
	defer func() {
		if value := recover(); value != nil {
			requestOf(ctx).log.ErrorContext(ctx, "socket panicked", "panic", fmt.Sprint(value), "stack", string(debug.Stack()))
			k.end(leaving{websocket.StatusInternalError, reasonFailed, reasonFailed})
		}
	}()
	work()
}

// subscriptionsMost refuses one subscription too many.
func subscriptionsMost(most int) error {
	return fault.New(fault.Conflict, "subscription.limit",
		"This connection has %d subscriptions, which is the most. End one first, or open another connection.", most)
}
