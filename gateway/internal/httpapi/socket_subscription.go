package httpapi

import (
	"context"
	"errors"
	"io"
	"net/http"

	"github.com/google/uuid"

	"github.com/tarento/copilot/events"
	"github.com/tarento/copilot/gateway/internal/rbac"
	"github.com/tarento/copilot/gateway/internal/stream"
	"github.com/tarento/copilot/pkg/fault"
)

// subscription is what a socket follows under one id.
type subscription struct {
	id string
	// stop ends it, with the reason as the cause.
	stop  context.CancelCauseFunc
	shown sight
	// began is what the client is told at the beginning.
	began socketAnswer
	// next waits for messages of events; done must be called at the end.
	next func(context.Context) ([][]byte, error)
	done func()
}

// errUnsubscribed ends a subscription that the client has had enough of.
var errUnsubscribed = errors.New("unsubscribed")

// The reasons for which a subscription ends while its socket goes on, beside those of sockets.
const (
	endedJob          = "job.ended"
	endedUnsubscribed = "unsubscribed"
	endedFailed       = "failed"
)

// subscribe begins to follow what a message asks for.
func (k *socket) subscribe(ctx context.Context, m *subscribeMessage) error {
	k.mu.Lock()
	caller, used, most := k.caller, len(k.open), k.server.cfg.Sockets.Subscriptions
	_, taken := k.open[m.ID]
	k.mu.Unlock()
	switch {
	case (m.JobID == "") == (m.Feed == nil):
		return invalid(socketLocation, "expected either job_id or feed")
	case taken:
		return fault.New(fault.Conflict, "subscription.exists", "There is a subscription of this id. End it first, or choose another id.")
	case used >= most:
		return subscriptionsMost(most)
	}
	if err := k.server.Limits.caller(ctx, http.Header{}, caller); err != nil {
		return err
	}
	open := k.server.subscribeFeed
	if m.JobID != "" {
		open = k.server.subscribeJob
	}
	sub, err := open(ctx, caller, m)
	if err != nil {
		return err
	}
	following, stop := context.WithCancelCause(ctx)
	sub.stop = stop
	if err := k.add(sub); err != nil {
		stop(err)
		sub.done()
		return err
	}
	k.server.sockets.subscriptions.Inc()
	k.following.Go(func() {
		defer k.server.sockets.subscriptions.Dec()
		defer stop(nil)
		defer sub.done()
		k.guard(ctx, func() { k.follow(ctx, following, sub) })
	})
	return nil
}

// add keeps a subscription, unless what it needs was taken away while it was opened.
func (k *socket) add(sub *subscription) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if err := sub.shown(k.caller.Jobs()); err != nil {
		return err
	}
	k.open[sub.id] = sub
	return nil
}

// forget frees the id of a subscription.
func (k *socket) forget(sub *subscription) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.open, sub.id)
}

func (k *socket) unsubscribe(id string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	sub, ok := k.open[id]
	if !ok {
		return fault.New(fault.NotFound, "subscription.not_found", "There is no subscription of this id. It may have ended.")
	}
	sub.stop(errUnsubscribed)
	return nil
}

// follow tells the client all about a subscription, from its beginning to its end.
func (k *socket) follow(ctx, following context.Context, sub *subscription) {
	k.say(ctx, sub.began)
	why := k.relay(following, sub)
	k.forget(sub)
	if ctx.Err() == nil {
		k.say(ctx, k.ended(ctx, sub, why, context.Cause(following)))
	}
}

// relay sends the events of a subscription until it ends, and returns why.
func (k *socket) relay(ctx context.Context, sub *subscription) error {
	for {
		messages, err := sub.next(ctx)
		if err != nil {
			return err
		}
		for _, message := range messages {
			if err := k.send(ctx, message); err != nil {
				return err
			}
		}
	}
}

// ended says why a subscription is over: for the reason that it was stopped for, or that its source gave.
func (k *socket) ended(ctx context.Context, sub *subscription, why, stopped error) socketAnswer {
	said := func(reason string, err error) socketAnswer {
		return problemAnswer(opEnded, sub.id, reason, k.problem(ctx, err))
	}
	switch {
	case errors.Is(stopped, errUnsubscribed):
		return socketAnswer{Op: opEnded, ID: sub.id, Reason: endedUnsubscribed}
	case stopped != nil:
		return said(fault.Of(stopped).Code, stopped)
	case errors.Is(why, io.EOF):
		return socketAnswer{Op: opEnded, ID: sub.id, Reason: endedJob}
	case fault.Is(why, fault.Unavailable):
		return said(reasonMoving, why)
	case fault.Is(why, fault.RateLimited):
		return said(reasonSlow, why)
	default:
		return said(endedFailed, why)
	}
}

// subscribeJob follows a job that the caller may see.
func (s *Server) subscribeJob(ctx context.Context, p *rbac.Principal, m *subscribeMessage) (*subscription, error) {
	from, err := events.ParsePosition(m.LastEventID)
	if err != nil {
		return nil, invalid(socketLocation+".last_event_id", "expected the id of an event of this job")
	}
	id, err := uuid.Parse(m.JobID)
	if err != nil {
		return nil, invalid(socketLocation+".job_id", "expected a UUID")
	}
	job, err := s.Jobs.Get(ctx, p, id)
	if err != nil {
		return nil, err
	}
	source, err := s.Hub.Subscribe(ctx, p.Tenant, job.ID, from)
	if err != nil {
		return nil, err
	}
	write := newEventMessages(m.ID)
	return &subscription{
		id: m.ID, done: source.Close, shown: seesJob(job.CreatedBy, job.ProjectID),
		began: socketAnswer{Op: opSubscribed, ID: m.ID},
		next: func(ctx context.Context) ([][]byte, error) {
			item, err := source.Next(ctx)
			if err != nil {
				return nil, err
			}
			return [][]byte{write.event(item.Position.String(), item.Event.Type, item.Event.Data)}, nil
		},
	}, nil
}

// subscribeFeed follows all jobs that the caller may see.
func (s *Server) subscribeFeed(ctx context.Context, p *rbac.Principal, m *subscribeMessage) (*subscription, error) {
	reach := p.Jobs()
	feed, err := s.Hub.Feed(ctx, p.Tenant, stream.FeedOptions{
		After: m.LastEventID, Since: m.Feed.Since, FromBeginning: m.Feed.From == "beginning",
		Sees: reach.Sees, Kinds: m.Feed.Kinds, Types: m.Feed.Types,
	})
	if err != nil {
		return nil, err
	}
	write, at := newEventMessages(m.ID), feed.Cursor()
	return &subscription{
		id: m.ID, done: feed.Close, shown: seesTheSame(reach),
		began: socketAnswer{Op: opSubscribed, ID: m.ID, EventID: at, Restarted: feed.Restarted()},
		next: func(ctx context.Context) ([][]byte, error) {
			for {
				waiting, cancel := context.WithTimeout(ctx, s.cfg.Heartbeat)
				entries, err := feed.Next(waiting)
				over := waiting.Err() != nil && ctx.Err() == nil
				cancel()
				before := at
				at = feed.Cursor()
				switch {
				case err == nil:
					return eventsOf(write, entries), nil
				case !over:
					return nil, err
				case at != before:
					return [][]byte{write.position(at)}, nil
				}
			}
		},
	}, nil
}

func eventsOf(write eventMessages, entries []*stream.Entry) [][]byte {
	messages := make([][]byte, len(entries))
	for i, e := range entries {
		messages[i] = write.event(e.ID, e.Type, e.Data)
	}
	return messages
}
