package store

import (
	"context"

	"github.com/google/uuid"
)

// Actor is who changes something, and from where, as the audit log tells it. The zero Actor is the service itself.
type Actor struct {
	// UserID is the user on whose behalf it happens; zero before anybody is known.
	UserID uuid.UUID
	// KeyID is the API key that was used; zero for a session.
	KeyID uuid.UUID
	// IP and UserAgent are the client's; RequestID finds the request in the logs.
	IP, UserAgent, RequestID string
}

type actorKey struct{}

// WithActor says who acts in transactions of the context.
func WithActor(ctx context.Context, a Actor) context.Context {
	return context.WithValue(ctx, actorKey{}, a)
}

func actorOf(ctx context.Context) Actor {
	a, _ := ctx.Value(actorKey{}).(Actor)
	return a
}

// ActAs says who acts from now on in the transaction, where it becomes known in it: who logs in or registers.
func (tx *Tx) ActAs(user uuid.UUID) { tx.actor.UserID = user }
