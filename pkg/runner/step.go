package runner

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/tarento/copilot/events"
	"github.com/tarento/copilot/pkg/fault"
	"github.com/tarento/copilot/pkg/store"
)

// Step does one step of a run, or returns its result from the journal when an earlier attempt has finished it. Steps are
// numbered in the order of the calls, so a handler must call them in the same order with the same input every time; input is
// hashed to notice when it does not. do may write to the text while it works; what it returns must survive JSON. The journal
// entry, the rest of the text and the usage commit together.
func Step[T any](ctx context.Context, r *Run, kind events.StepKind, name string, input any,
	do func(ctx context.Context, text *Text) (T, *events.Usage, error),
) (T, error) {
	var result T
	hash, err := digest(input)
	if err != nil {
		return result, fmt.Errorf("runner: hash input of %s: %w", name, err)
	}
	n, finished, err := r.next(ctx)
	if err != nil {
		return result, err
	}
	if finished != nil {
		return replay[T](*finished, name, hash)
	}
	started := time.Now()
	var start int64
	err = r.store.InTenant(ctx, r.Tenant(), func(tx *store.Tx) (err error) {
		start, err = tx.Jobs().Append(r.job.Lease(), events.StepStarted{Step: n, Kind: kind, Name: name, Attempt: r.job.Attempt})
		return err
	})
	if err != nil {
		return result, fmt.Errorf("runner: begin step %d: %w", n, err)
	}
	text := &Text{run: r, start: start, flushed: started}
	result, usage, err := do(ctx, text)
	if err != nil {
		return result, err
	}
	return result, r.finish(ctx, kind, name, hash, n, started, text, result, usage)
}

func replay[T any](s store.RunStep, name, hash string) (result T, err error) {
	if s.Name != name || s.InputHash != hash {
		return result, fault.New(fault.Invalid, "run.diverged",
			"The run cannot be resumed: step %d is not what it was before the interruption. Start it again.", s.StepNo)
	}
	if err := json.Unmarshal(s.Output, &result); err != nil {
		return result, fmt.Errorf("runner: decode journalled step %d: %w", s.StepNo, err)
	}
	return result, nil
}

func (r *Run) finish(ctx context.Context, kind events.StepKind, name, hash string, n int, started time.Time,
	text *Text, result any, usage *events.Usage,
) error {
	output, err := json.Marshal(result)
	if err != nil {
		return fmt.Errorf("runner: encode step %d: %w", n, err)
	}
	entry := store.RunStep{
		StepNo: n, Kind: kind, Name: name, InputHash: hash, Output: output, Attempt: r.job.Attempt,
		StartedAt: events.Time(started), FinishedAt: events.Time(time.Now()),
	}
	var facts []events.Fact
	if usage != nil {
		if entry.Usage, err = json.Marshal(usage); err != nil {
			return fmt.Errorf("runner: encode usage of step %d: %w", n, err)
		}
		facts = append(facts, *usage)
	}
	facts = append(facts, events.StepFinished{Step: n, Kind: kind, Name: name, DurationMS: time.Since(started).Milliseconds()})
	// What the step has cost is worth waiting for the database, also when the time of the job is over or its worker is told to stop.
	held, leave := whileHeld(ctx)
	defer leave()
	return persist(held, r.patience, r.log.With("write", "journal", "step", n), func(ctx context.Context) error {
		err := r.store.InTenant(ctx, r.Tenant(), func(tx *store.Tx) error {
			all, err := text.unlogged(tx)
			if err != nil {
				return err
			}
			_, err = tx.Jobs().Journal(r.job.Lease(), entry, append(all, facts...)...)
			return err
		})
		if errors.Is(err, store.ErrJournalled) {
			return nil
		}
		return err
	})
}

// whileHeld returns a context that ends with the lease of a run, whatever else the run's own ends for.
func whileHeld(ctx context.Context) (held context.Context, leave func()) {
	held, stop := context.WithCancelCause(context.WithoutCancel(ctx))
	unhook := context.AfterFunc(ctx, func() {
		if cause := context.Cause(ctx); errors.Is(cause, store.ErrLeaseLost) {
			stop(cause)
		}
	})
	return held, func() { unhook(); stop(nil) }
}

// How much text may be shown live before the log has it. A reader that comes back meanwhile waits that long for it.
const (
	flushEvery = 400 * time.Millisecond
	flushBytes = 4 << 10
)

// Text is the text that a step writes while it works: each piece is shown live at once and logged coalesced. It belongs to one
// goroutine.
type Text struct {
	run     *Run
	start   int64
	offset  int // of the first byte that is not logged yet
	buffer  strings.Builder
	flushed time.Time // or when that was last tried
	owed    bool      // the last try failed, or did not and nobody has heard of it
}

// Write shows a piece of text. It fails when the lease is lost; the step should end then. While the database is away the text
// is kept, because the step has been paid for: the next flush logs it, or the end of the step, which waits.
func (t *Text) Write(ctx context.Context, piece string) error {
	if piece == "" {
		return nil
	}
	live, err := json.Marshal(events.TextDelta{Start: t.start, Offset: t.offset + t.buffer.Len(), Text: piece})
	if err != nil {
		return fmt.Errorf("runner: encode text: %w", err)
	}
	job := t.run.job
	t.run.live(events.Event{
		JobID: job.ID.String(), TenantID: job.OrganizationID.String(), Type: events.TypeTextDelta,
		Time: events.Time(time.Now()), Data: live,
	})
	t.buffer.WriteString(piece)
	if time.Since(t.flushed) < flushEvery && (t.owed || t.buffer.Len() < flushBytes) {
		return nil
	}
	err = t.run.store.InTenant(ctx, t.run.Tenant(), func(tx *store.Tx) error {
		facts, err := t.unlogged(tx)
		if err != nil {
			return err
		}
		_, err = tx.Jobs().Append(job.Lease(), facts...)
		return err
	})
	t.flushed = time.Now()
	t.owed = err != nil && !errors.Is(err, store.ErrLeaseLost) && fault.Of(err).Kind.Retryable() && ctx.Err() == nil
	switch {
	case t.owed:
		t.run.log.WarnContext(ctx, "text not logged yet", "error", err)
	case err != nil:
		return err
	default:
		t.offset += t.buffer.Len()
		t.buffer.Reset()
	}
	return nil
}

// unlogged returns what the log does not have yet of the text. After a try that failed the log is asked: a commit of which no answer came
// may have been one.
func (t *Text) unlogged(tx *store.Tx) ([]events.Fact, error) {
	d, logged := events.TextDelta{Start: t.start, Offset: t.offset, Text: t.buffer.String()}, t.offset
	if t.owed {
		end, err := tx.Jobs().TextEnd(t.run.job.Lease(), t.start)
		if err != nil {
			return nil, err
		}
		logged = max(logged, end)
	}
	if d, left := d.After(logged); left {
		return []events.Fact{d}, nil
	}
	return nil, nil
}

// digest hashes what the input says and not how it is written: the output of an earlier step may be part of it, and the
// journal gives that back with its keys in another order and its numbers in another form.
func digest(input any) (string, error) {
	data, err := json.Marshal(input)
	if err != nil {
		return "", err
	}
	var said any
	if err := json.Unmarshal(data, &said); err != nil {
		return "", err
	}
	if data, err = json.Marshal(said); err != nil {
		return "", err
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:]), nil
}
