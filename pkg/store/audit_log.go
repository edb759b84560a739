package store

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"strconv"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/tarento/copilot/pkg/fault"
	"github.com/tarento/copilot/pkg/tenant"
)

// AuditLog is the repository of a tenant's audit entries, to read.
type AuditLog struct{ tx *Tx }

// AuditLog returns the audit log of the transaction's tenant.
func (tx *Tx) AuditLog() AuditLog { return AuditLog{tx} }

// Get returns an entry, or fault.NotFound "audit_log.not_found".
func (r AuditLog) Get(id uuid.UUID) (*AuditEntry, error) {
	return take[AuditEntry](within[AuditEntry](r.tx).Where("id = ?", id), "audit_log")
}

// AuditFilter narrows a list of entries. Zero fields do not.
type AuditFilter struct {
	ActorID      *uuid.UUID
	Action       string // "project.update"
	ResourceType string // "project"
	ResourceID   *uuid.UUID
	// Since and Until bound the time: from Since on, before Until.
	Since, Until time.Time
	Page         Page
}

// List returns one page of the entries, in the order of their time. The key of a position is the entry's time and number.
func (r AuditLog) List(f AuditFilter) (out Listed[AuditEntry], err error) {
	q := within[AuditEntry](r.tx)
	for condition, id := range map[string]*uuid.UUID{"actor_id = ?": f.ActorID, "resource_id = ?": f.ResourceID} {
		if id != nil {
			q = q.Where(condition, *id)
		}
	}
	for condition, text := range map[string]string{"action = ?": f.Action, "resource_type = ?": f.ResourceType} {
		if text != "" {
			q = q.Where(condition, text)
		}
	}
	if !f.Since.IsZero() {
		q = q.Where("created_at >= ?", f.Since)
	}
	if !f.Until.IsZero() {
		q = q.Where("created_at < ?", f.Until)
	}
	key := sortKey{direction: " DESC", beyond: " < "}
	if f.Page.Sort.Ascending {
		key = sortKey{direction: " ASC", beyond: " > "}
	}
	if p := f.Page.After; p != nil {
		at, seq, err := auditPosition(p.Key)
		if err != nil {
			return out, fault.Wrap(err, fault.Invalid, "cursor.invalid", "The cursor does not belong to this list.")
		}
		q = q.Where("(created_at, seq)"+key.beyond+"(?, ?)", at, seq)
	}
	limit := f.Page.limit()
	if err := q.Order("created_at" + key.direction + ", seq" + key.direction).Limit(limit + 1).Find(&out.Rows).Error; err != nil {
		return out, explain(err, "list the audit log")
	}
	if len(out.Rows) > limit {
		out.Rows = out.Rows[:limit]
		last := &out.Rows[limit-1]
		out.Next = &Position{Key: fmt.Sprintf("%d %d", last.CreatedAt.UnixMicro(), last.Seq), ID: last.ID}
	}
	return out, nil
}

// auditPosition reads the key of a position.
func auditPosition(key string) (at time.Time, seq int64, err error) {
	var micros int64
	if _, err := fmt.Sscanf(key, "%d %d", &micros, &seq); err != nil {
		return at, 0, fmt.Errorf("read a position: %w", err)
	}
	return time.UnixMicro(micros).UTC(), seq, nil
}

// Verified is what became of checking a chain.
type Verified struct {
	// Entries is how many links hold.
	Entries int64
	// Broken is the number of the first link that does not, and Reason why; zero when all hold.
	Broken int64
	Reason string
}

// verifyBatch is how many entries are read at a time.
const verifyBatch = 1000

// VerifyAudit follows a tenant's audit log from the first entry to the newest one there was at the start, and tells the first link
// that does not hold: an entry that was altered, is missing, or stands where it was not written. Progress is told the number of
// checked entries now and then; nil tells nobody.
func (s *Store) VerifyAudit(ctx context.Context, t tenant.ID, progress func(int64)) (v Verified, err error) {
	var head AuditHead
	err = s.View(ctx, t, func(tx *Tx) error {
		return explain(within[AuditHead](tx).Limit(1).Find(&head).Error, "read the head of the audit log")
	})
	if err != nil {
		return v, err
	}
	var link []byte
	for v.Entries < head.Seq {
		var batch []AuditEntry
		err := s.View(ctx, t, func(tx *Tx) error {
			q := within[AuditEntry](tx).Where("seq > ? AND seq <= ?", v.Entries, head.Seq)
			return explain(q.Order("seq").Limit(verifyBatch).Find(&batch).Error, "read the audit log")
		})
		if err != nil {
			return v, err
		}
		if len(batch) == 0 {
			return v.broken("it and what follows is missing, up to " + strconv.FormatInt(head.Seq, 10)), nil
		}
		for i := range batch {
			e := &batch[i]
			if e.Seq != v.Entries+1 {
				return v.broken("it is missing"), nil
			}
			sum := sha256.Sum256(append(link, e.Digest()...))
			if !bytes.Equal(sum[:], e.Hash) {
				return v.broken("its hash is not that of the entry and the hash before it"), nil
			}
			link, v.Entries = e.Hash, e.Seq
		}
		if progress != nil {
			progress(v.Entries)
		}
	}
	if head.Seq > 0 && !bytes.Equal(link, head.Hash) {
		return v.broken("the newest entry is not the one that was written last"), nil
	}
	return v, nil
}

func (v Verified) broken(reason string) Verified {
	v.Broken, v.Reason = v.Entries+1, reason
	return v
}

// Tenants returns all organizations, for work on the whole platform.
func (s *Store) Tenants(ctx context.Context) ([]tenant.ID, error) {
	var both pgx.Batch
	both.Queue("SELECT set_config('app.platform', 'on', true)")
	both.Queue("SELECT id FROM organizations ORDER BY id")
	sent := s.pool.SendBatch(ctx, &both)
	defer func() { _ = sent.Close() }() // the rows were read whole by then, or their error tells
	if _, err := sent.Exec(); err != nil {
		return nil, explain(err, "list organizations")
	}
	rows, err := sent.Query()
	if err != nil {
		return nil, explain(err, "list organizations")
	}
	ids, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (tenant.ID, error) {
		var id uuid.UUID
		if err := row.Scan(&id); err != nil {
			return tenant.ID{}, fmt.Errorf("read an organization's id: %w", err)
		}
		return tenant.FromUUID(id), nil
	})
	return ids, explain(err, "list organizations")
}
