package httpapi

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/tarento/copilot/gateway/internal/jobs"
	"github.com/tarento/copilot/gateway/internal/rbac"
	"github.com/tarento/copilot/pkg/store"
)

// Submitting are the headers of every operation that makes a job. Like every struct that inputs embed, it is exported: huma leaves
// the others out without a word.
type Submitting struct {
	Repeatable

	Prefer string `header:"Prefer" maxLength:"255" example:"wait=10" doc:"wait=N holds the answer for up to N seconds (at most 30) until the job has ended"`
}

// Repeatable is the header of every operation that makes something.
type Repeatable struct {
	IdempotencyKey string `header:"Idempotency-Key" maxLength:"255" pattern:"^[!-~]+$" patternDescription:"visible ASCII" example:"7f1c2b9e-create" doc:"Makes the request safe to repeat: the same key gets the same answer, for 24 hours"`
}

// acceptedOutput is the answer of every operation that makes a job: 202, or 200 when the caller wanted to wait and the job has
// ended.
type acceptedOutput struct {
	Status     int
	Location   string `header:"Location" doc:"Where the job is"`
	RetryAfter string `header:"Retry-After" doc:"When to ask again, in seconds"`
	Replayed   string `header:"Idempotency-Replayed" doc:"true when an earlier request with the same key made the job"`
	Applied    string `header:"Preference-Applied" doc:"The preference that was honored"`
	Body       Job
}

// yes is how headers and query parameters say so.
const yes = "true"

// pollAfter is what Retry-After says of a job that was just accepted.
const pollAfter = time.Second

// maxWait bounds how long a request may be held.
const maxWait = 30 * time.Second

// accept answers a submit, after waiting when that is preferred.
func (s *Server) accept(ctx context.Context, p *rbac.Principal, sub jobs.Submission, prefer string) (*acceptedOutput, error) {
	out := &acceptedOutput{Status: http.StatusAccepted, Location: jobPath(sub.Job().ID)}
	if sub.Replayed {
		out.Replayed = yes
	}
	job := sub.Job()
	if wait := preferredWait(prefer); wait > 0 {
		out.Applied = "wait=" + strconv.Itoa(int(wait.Seconds()))
		if !job.Status.Terminal() {
			switch now, err := s.Jobs.Wait(ctx, p, job.ID, wait); {
			case err == nil:
				job = now
			case ctx.Err() == nil:
				// The job is accepted all the same, and who hears of an error sends it again.
				requestOf(ctx).log.WarnContext(ctx, "not waited for a job", "job_id", job.ID, "error", err)
			}
		}
		if job.Status.Terminal() {
			out.Status = http.StatusOK
		}
	}
	if !job.Status.Terminal() {
		out.RetryAfter = seconds(pollAfter)
	}
	out.Body = s.showJob(job)
	return out, nil
}

// preferredWait reads the wait preference of RFC 7240, in seconds. What cannot be read is not preferred.
func preferredWait(prefer string) time.Duration {
	for preference := range strings.SplitSeq(prefer, ",") {
		name, value, _ := strings.Cut(preference, "=")
		if !strings.EqualFold(strings.TrimSpace(name), "wait") {
			continue
		}
		value, _, _ = strings.Cut(value, ";")
		n, err := strconv.Atoi(strings.Trim(strings.TrimSpace(value), `"`))
		if err != nil || n <= 0 {
			return 0
		}
		return min(time.Duration(n)*time.Second, maxWait)
	}
	return 0
}

// once builds the idempotency of a request: the operation with the ids in its path says where the key counts, the input whether
// two requests are the same. The input must be without secrets, because its hash is kept.
func (h Repeatable) once(operation string, input any) (jobs.Once, error) {
	if h.IdempotencyKey == "" {
		return jobs.Once{}, nil
	}
	canonical, err := json.Marshal(input)
	if err != nil {
		return jobs.Once{}, fmt.Errorf("httpapi: hash the request: %w", err)
	}
	hash := sha256.New()
	hash.Write([]byte(operation))
	hash.Write([]byte{0})
	hash.Write(canonical)
	return jobs.Once{Key: h.IdempotencyKey, Scope: operation, Hash: hash.Sum(nil)}, nil
}

// made is the answer with what was just made.
type made[T any] struct {
	Location string `header:"Location" doc:"Where it is"`
	ETag     string `header:"ETag" doc:"Tells this state of the resource from others"`
	Replayed string `header:"Idempotency-Replayed" doc:"true when an earlier request with the same key made it"`
	Body     T
}

// makes runs build, which makes something, in one transaction with the idempotency key. When the key is known, it repeats the
// answer of the first request instead.
func makes[T any](
	ctx context.Context, s *Server, p *rbac.Principal, once jobs.Once, build func(*store.Tx) (*made[T], error),
) (out *made[T], err error) {
	scope := once.Scope + " " + p.UserID.String()
	err = s.Store.InTenant(ctx, p.Tenant, func(tx *store.Tx) error {
		if once.Key == "" {
			out, err = build(tx)
			return err
		}
		first, err := tx.Idempotency().Reserve(scope, once.Key, once.Hash)
		if err != nil {
			return err
		}
		if first != nil {
			out, err = repeated[T](first)
			return err
		}
		if out, err = build(tx); err != nil {
			return err
		}
		body, err := json.Marshal(out.Body)
		if err != nil {
			return fmt.Errorf("httpapi: keep the answer: %w", err)
		}
		headers, err := json.Marshal(keptHeaders{out.Location, out.ETag})
		if err != nil {
			return fmt.Errorf("httpapi: keep the answer: %w", err)
		}
		return tx.Idempotency().Keep(scope, once.Key, http.StatusCreated, headers, body)
	})
	return out, err
}

// keptHeaders are the headers of an answer that is kept.
type keptHeaders struct{ Location, ETag string }

// repeated is the answer that was kept.
func repeated[T any](first *store.First) (*made[T], error) {
	out := &made[T]{Replayed: yes}
	var headers keptHeaders
	if err := json.Unmarshal(first.Headers, &headers); err != nil {
		return nil, fmt.Errorf("httpapi: read a kept answer: %w", err)
	}
	if err := json.Unmarshal(first.Response, &out.Body); err != nil {
		return nil, fmt.Errorf("httpapi: read a kept answer: %w", err)
	}
	out.Location, out.ETag = headers.Location, headers.ETag
	return out, nil
}
