// Package tenant names the tenant (an organization) as a type of its own, so that a function that reads or writes tenant
// data cannot be called without one and cannot be handed some other id by mistake.
package tenant

import (
	"errors"
	"fmt"

	"github.com/google/uuid"
)

// ErrNone is returned wherever a zero ID reaches code that needs a tenant.
var ErrNone = errors.New("tenant: no tenant given")

// ID identifies a tenant. The zero ID is no tenant; every store and vector operation refuses it with ErrNone.
type ID struct{ id uuid.UUID }

// FromUUID turns an organization's id into a tenant. uuid.Nil gives the zero ID.
func FromUUID(id uuid.UUID) ID { return ID{id} }

// Parse reads the canonical text form. The nil UUID is refused.
func Parse(s string) (ID, error) {
	id, err := uuid.Parse(s)
	if err != nil {
		return ID{}, fmt.Errorf("tenant: parse id: %w", err)
	}
	if id == uuid.Nil {
		return ID{}, ErrNone
	}
	return ID{id}, nil
}

// IsZero reports whether the ID names no tenant.
func (t ID) IsZero() bool { return t.id == uuid.Nil }

// UUID returns the organization's id.
func (t ID) UUID() uuid.UUID { return t.id }

// String returns the canonical text form.
func (t ID) String() string { return t.id.String() }

// MarshalText writes the canonical text form.
func (t ID) MarshalText() ([]byte, error) { return t.id.MarshalText() }

// UnmarshalText reads the canonical text form.
func (t *ID) UnmarshalText(b []byte) error { return t.id.UnmarshalText(b) }
