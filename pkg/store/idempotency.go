package store

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"

	"github.com/google/uuid"
	"gorm.io/gorm"

	"github.com/tarento/copilot/events"
	"github.com/tarento/copilot/pkg/fault"
)

// IdempotencyTTL is how long an Idempotency-Key is remembered.
const IdempotencyTTL = 24 * time.Hour

// IdempotencyKey is a client's promise that two requests are the same, with the answer of the first. See the IETF draft "The
// Idempotency-Key HTTP Header Field".
type IdempotencyKey struct {
	OrganizationID uuid.UUID       `gorm:"column:organization_id;primaryKey"`
	Scope          string          `gorm:"column:scope;primaryKey"`
	Key            string          `gorm:"column:key;primaryKey"`
	BodyHash       []byte          `gorm:"column:body_hash"`
	Status         *int            `gorm:"column:status"`
	Response       json.RawMessage `gorm:"column:response"`
	Headers        json.RawMessage `gorm:"column:headers"`
	JobID          *uuid.UUID      `gorm:"column:job_id"`
	CreatedAt      time.Time       `gorm:"column:created_at"`
	ExpiresAt      time.Time       `gorm:"column:expires_at"`
}

// TableName implements GORM's Tabler.
func (IdempotencyKey) TableName() string { return "idempotency_keys" }

// Idempotency is the repository of idempotency keys within a tenant.
type Idempotency struct{ tx *Tx }

// Idempotency returns the keys of the transaction's tenant.
func (tx *Tx) Idempotency() Idempotency { return Idempotency{tx} }

// First is what the first request with a key came to: a job, or an answer that was kept.
type First struct {
	JobID uuid.UUID
	// Headers and Response are the kept answer; nil where there is a job.
	Headers, Response json.RawMessage
}

// Reserve takes the key for this transaction and returns nil. When the key is known already, it returns what the first request
// came to, and there is nothing to do but to answer with it. A key that was used with another body is fault.Invalid. While
// another transaction holds the key, Reserve waits up to two seconds for it and then gives fault.Conflict.
func (r Idempotency) Reserve(scope, key string, bodyHash []byte) (*First, error) {
	now := events.Time(time.Now())
	if err := r.tx.db.Exec("SELECT set_config('lock_timeout', '2s', true)").Error; err != nil {
		return nil, explain(err, "reserve idempotency key")
	}
	// An expired key is free again.
	reserved := r.tx.db.Exec(`INSERT INTO idempotency_keys (organization_id, scope, key, body_hash, created_at, expires_at)
		VALUES (?, ?, ?, ?, ?, ?)
		ON CONFLICT (organization_id, scope, key) DO UPDATE SET body_hash = excluded.body_hash, job_id = NULL, status = NULL,
			response = NULL, headers = NULL, created_at = excluded.created_at, expires_at = excluded.expires_at
		WHERE idempotency_keys.expires_at < excluded.created_at`,
		r.tx.tenant.UUID(), scope, key, bodyHash, now, now.Add(IdempotencyTTL))
	if err := reserved.Error; err != nil {
		if err = explain(err, "reserve idempotency key"); fault.Is(err, fault.Unavailable) && fault.Of(err).Code == codeBusy {
			return nil, fault.Wrap(err, fault.Conflict, "idempotency.in_flight",
				"A request with this Idempotency-Key is still being worked on. Try again shortly.").After(time.Second)
		}
		return nil, err
	}
	if reserved.RowsAffected == 1 {
		return nil, nil //nolint:nilnil // nobody was first
	}
	return r.First(scope, key, bodyHash)
}

// First returns what the first request with a known key came to. A key that was used with another body is fault.Invalid.
func (r Idempotency) First(scope, key string, bodyHash []byte) (*First, error) {
	var row IdempotencyKey
	if err := r.scoped(scope, key).Take(&row).Error; err != nil {
		return nil, explain(err, "read idempotency key")
	}
	if !bytes.Equal(row.BodyHash, bodyHash) {
		return nil, fault.New(fault.Invalid, "idempotency.mismatch",
			"This Idempotency-Key was used before with another request body. Use a new key.")
	}
	first := &First{Headers: row.Headers, Response: row.Response}
	switch {
	case row.JobID != nil:
		first.JobID = *row.JobID
	case row.Response == nil:
		return nil, fmt.Errorf("store: idempotency key of %s has neither job nor answer", scope)
	}
	return first, nil
}

// Complete records the job that the reserved key made.
func (r Idempotency) Complete(scope, key string, job uuid.UUID) error {
	if err := r.scoped(scope, key).Update("job_id", job).Error; err != nil {
		return explain(err, "complete idempotency key")
	}
	return nil
}

// Keep records the answer that the reserved key gets from now on. It must hold no secret.
func (r Idempotency) Keep(scope, key string, status int, headers, response json.RawMessage) error {
	kept := map[string]any{"status": status, "headers": string(headers), "response": string(response)}
	return explain(r.scoped(scope, key).Updates(kept).Error, "complete idempotency key")
}

func (r Idempotency) scoped(scope, key string) *gorm.DB {
	return r.tx.db.Model(&IdempotencyKey{}).
		Where("organization_id = ? AND scope = ? AND key = ?", r.tx.tenant.UUID(), scope, key)
}
