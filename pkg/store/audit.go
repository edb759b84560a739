package store

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/tarento/copilot/events"
)

// AuditEntry tells one change: who, what, which, from where, and how it was before and after. Entries are written in the
// transaction of their change and never changed. Those of an organization form a chain: each hash covers the entry and the hash
// before it, so that an entry that is altered, removed or put in between breaks every hash after it.
type AuditEntry struct {
	OrganizationID uuid.UUID `gorm:"column:organization_id;primaryKey"`
	Seq            int64     `gorm:"column:seq;primaryKey;autoIncrement:false"` // counts from 1 within the organization
	ID             uuid.UUID `gorm:"column:id"`
	// ActorID is the user who did it; nil for the service itself.
	ActorID *uuid.UUID `gorm:"column:actor_id"`
	KeyID   *uuid.UUID `gorm:"column:key_id"` // the API key that was used; nil for a session
	// Action is "<resource>.<verb>", such as project.update.
	Action       string     `gorm:"column:action"`
	ResourceType string     `gorm:"column:resource_type"`
	ResourceID   *uuid.UUID `gorm:"column:resource_id"`
	// Before and After hold the columns that became different; null where there was nothing.
	Before    json.RawMessage `gorm:"column:before"`
	After     json.RawMessage `gorm:"column:after"`
	IP        string          `gorm:"column:ip"`
	UserAgent string          `gorm:"column:user_agent"`
	RequestID string          `gorm:"column:request_id"`
	CreatedAt time.Time       `gorm:"column:created_at"`
	// Hash is SHA-256 of the hash before and Digest.
	Hash []byte `gorm:"column:hash"`
}

// TableName implements GORM's Tabler.
func (*AuditEntry) TableName() string { return "audit_logs" }

// AuditHead is the newest link of an organization's chain.
type AuditHead struct {
	OrganizationID uuid.UUID `gorm:"column:organization_id;primaryKey"`
	Seq            int64     `gorm:"column:seq"`
	Hash           []byte    `gorm:"column:hash"`
}

// TableName implements GORM's Tabler.
func (AuditHead) TableName() string { return "audit_heads" }

// Digest is SHA-256 of all that an entry says, each part with its length before it, so that no two entries look alike.
func (e *AuditEntry) Digest() []byte {
	h := sha256.New()
	part(h, e.OrganizationID[:])
	part(h, e.ID[:])
	for _, id := range []*uuid.UUID{e.ActorID, e.KeyID, e.ResourceID} {
		if id == nil {
			part(h, nil)
			continue
		}
		part(h, id[:])
	}
	for _, text := range []string{e.Action, e.ResourceType, string(e.Before), string(e.After), e.IP, e.UserAgent, e.RequestID} {
		part(h, []byte(text))
	}
	part(h, binary.BigEndian.AppendUint64(nil, uint64(e.CreatedAt.UnixMicro())))
	return h.Sum(nil)
}

func part(h hash.Hash, b []byte) {
	h.Write(binary.BigEndian.AppendUint32(nil, uint32(len(b))))
	h.Write(b)
}

// change is an audit entry that waits for the end of its transaction.
type change struct {
	resource, verb string
	id             uuid.UUID
	before, after  map[string]any
}

// Audit records a change of the transaction that no repository records by itself. Before and after hold what became different, and
// no secrets; nil is nothing.
func (tx *Tx) Audit(resource, verb string, id uuid.UUID, before, after map[string]any) {
	tx.changes = append(tx.changes, change{resource, verb, id, before, after})
}

// writeAudit adds the transaction's changes to the organization's chain.
func (tx *Tx) writeAudit() error {
	for _, c := range tx.changes {
		e, err := c.entry(tx)
		if err != nil {
			return err
		}
		// The chain goes on from its head, whose row is locked from here to the commit.
		_, err = tx.exec(`WITH head AS (
				INSERT INTO audit_heads AS h (organization_id, seq, hash) VALUES ($1, 1, sha256($2))
				ON CONFLICT (organization_id) DO UPDATE SET seq = h.seq + 1, hash = sha256(h.hash || $2)
				RETURNING seq, hash)
			INSERT INTO audit_logs (organization_id, seq, id, actor_id, key_id, action, resource_type, resource_id, before, after,
				ip, user_agent, request_id, created_at, hash)
			SELECT $1, head.seq, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, head.hash FROM head`,
			e.OrganizationID, e.Digest(), e.ID, e.ActorID, e.KeyID, e.Action, e.ResourceType, e.ResourceID,
			textOrNil(e.Before), textOrNil(e.After), e.IP, e.UserAgent, e.RequestID, e.CreatedAt)
		if err != nil {
			return explain(err, "write the audit log")
		}
	}
	return nil
}

func (c change) entry(tx *Tx) (*AuditEntry, error) {
	e := &AuditEntry{
		ActorID: optional(tx.actor.UserID), KeyID: optional(tx.actor.KeyID), ResourceID: optional(c.id),
		Action: c.resource + "." + c.verb, ResourceType: c.resource,
		IP: storable(tx.actor.IP), UserAgent: storable(tx.actor.UserAgent), RequestID: storable(tx.actor.RequestID),
		CreatedAt: events.Time(time.Now()),
	}
	if err := tx.own(&e.ID, &e.OrganizationID); err != nil {
		return nil, err
	}
	for _, side := range []struct {
		from map[string]any
		to   *json.RawMessage
	}{{c.before, &e.Before}, {c.after, &e.After}} {
		if side.from == nil {
			continue
		}
		text, err := json.Marshal(side.from)
		if err != nil {
			return nil, fmt.Errorf("store: encode a change of %s: %w", c.resource, err)
		}
		*side.to = text
	}
	return e, nil
}

func optional(id uuid.UUID) *uuid.UUID {
	if id == uuid.Nil {
		return nil
	}
	return &id
}

// textOrNil keeps a missing side null instead of an empty text, which is no JSON.
func textOrNil(text json.RawMessage) any {
	if text == nil {
		return nil
	}
	return string(text)
}

// storable leaves out of a client's text what Postgres cannot store.
func storable(s string) string { return strings.ToValidUTF8(strings.ReplaceAll(s, "\x00", ""), "") }

// redact takes secrets out of a value: whatever an object keeps under a name that sounds like one.
func redact(text json.RawMessage) any {
	if len(text) == 0 || text[0] != '{' && text[0] != '[' {
		return text
	}
	var value any
	if err := json.Unmarshal(text, &value); err != nil {
		return text
	}
	return redacted(value)
}

func redacted(value any) any {
	switch v := value.(type) {
	case map[string]any:
		for name, inner := range v {
			if secretive(name) {
				v[name] = "[redacted]"
				continue
			}
			v[name] = redacted(inner)
		}
	case []any:
		for i := range v {
			v[i] = redacted(v[i])
		}
	}
	return value
}

// secretive reports whether a name sounds like a secret's.
func secretive(name string) bool {
	name = strings.ToLower(strings.NewReplacer("-", "", "_", "", " ", "").Replace(name))
	for _, word := range []string{"password", "passwd", "secret", "token", "apikey", "credential", "authorization", "privatekey"} {
		// max_tokens and its kind count words and hide nothing.
		if strings.Contains(name, word) && !strings.HasSuffix(name, "tokens") {
			return true
		}
	}
	return false
}
