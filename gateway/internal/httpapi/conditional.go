package httpapi

import (
	"context"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tarento/copilot/gateway/internal/rbac"
	"github.com/tarento/copilot/pkg/store"
	"github.com/tarento/copilot/pkg/tenant"
)

// Answers with a single resource carry an ETag, which changes with the resource. Reading can be made conditional on it with
// If-None-Match, and changing with If-Match, so that nobody overwrites what he has not seen (RFC 9110, section 13).

// Cached is the condition under which a resource is sent.
type Cached struct {
	IfNoneMatch string `header:"If-None-Match" maxLength:"2048" example:"\"mk4q9ax0\"" doc:"The ETag of what one has: if it is still good, the answer is 304 without a body"`
}

// Conditional is the condition under which a resource is changed.
type Conditional struct {
	IfMatch string `header:"If-Match" maxLength:"2048" example:"\"mk4q9ax0\"" doc:"The ETag of what the change is for: if the resource is another by now, the answer is 412 and nothing changes"`
}

// one is the answer with a single resource.
type one[T any] struct {
	Status int
	ETag   string `header:"ETag" doc:"Tells this state of the resource from others"`
	Body   T
}

// resource is what has an ETag.
type resource interface {
	// changedAt is when it was last changed.
	changedAt() time.Time
}

// show answers with a resource.
func show[T resource](body T) *one[T] {
	return &one[T]{Status: http.StatusOK, ETag: etag(body.changedAt()), Body: body}
}

// fresh answers with a resource, or with 304 if the client has it as it is.
func fresh[T resource](in Cached, body T) *one[T] {
	out := show(body)
	if in.IfNoneMatch == "" {
		return out
	}
	tags, star := entityTags(in.IfNoneMatch)
	// A weak tag is good enough for reading.
	if star || slices.ContainsFunc(tags, func(t string) bool { return strings.TrimPrefix(t, "W/") == out.ETag }) {
		out.Status = http.StatusNotModified
	}
	return out
}

// view reads in one tenant that the caller may reach.
func view[T any](ctx context.Context, s *Server, t tenant.ID, read func(*store.Tx) (T, error)) (found T, err error) {
	err = s.Store.View(ctx, t, func(tx *store.Tx) (err error) {
		found, err = read(tx)
		return err
	})
	return found, err
}

// viewed answers with a resource of the caller's tenant, or with 304 if the client has it as it is.
func viewed[R any, T resource](
	ctx context.Context, s *Server, p *rbac.Principal, c Cached, show func(*R) T, read func(*store.Tx) (*R, error),
) (*one[T], error) {
	row, err := view(ctx, s, p.Tenant, read)
	if err != nil {
		return nil, err
	}
	return fresh(c, show(row)), nil
}

// matching reads the condition of a change. Where conditions are required, none is a problem of its own.
func (s *Server) matching(in Conditional) (store.Match, error) {
	if in.IfMatch == "" {
		if s.cfg.RequireMatch {
			return nil, rareProblem(http.StatusPreconditionRequired, "precondition-required", "Precondition required",
				"precondition.required", "A change needs an If-Match header here, so that nobody overwrites what he has not seen.",
				FieldError{Location: "header.If-Match", Message: "expected the ETag of the resource as you read it"})
		}
		return nil, nil // no condition admits every state
	}
	tags, star := entityTags(in.IfMatch)
	if star {
		return nil, nil
	}
	match := store.Match{}
	for _, t := range tags {
		// A tag that is not ours, a weak one among them, matches nothing.
		if revision, err := strconv.ParseInt(strings.Trim(t, `"`), 36, 64); err == nil {
			match = append(match, store.Revision(revision))
		}
	}
	return match, nil
}

// changed runs a change in one transaction, under its condition.
func changed[T any](
	ctx context.Context, s *Server, p *rbac.Principal, c Conditional, change func(*store.Tx, store.Match) (T, error),
) (T, error) {
	return changedIn(ctx, s, p.Tenant, c, change)
}

// changedIn is changed in a tenant that the caller may reach, which need not be its own.
func changedIn[T any](
	ctx context.Context, s *Server, t tenant.ID, c Conditional, change func(*store.Tx, store.Match) (T, error),
) (row T, err error) {
	match, err := s.matching(c)
	if err != nil {
		return row, err
	}
	err = s.Store.InTenant(ctx, t, func(tx *store.Tx) (err error) {
		row, err = change(tx, match)
		return err
	})
	return row, err
}

// etag is the entity tag of a resource that was last changed then.
func etag(updated time.Time) string {
	return `"` + strconv.FormatInt(int64(store.RevisionAt(updated)), 36) + `"`
}

// entityTags reads a list of entity tags, or the star for any.
func entityTags(header string) (tags []string, star bool) {
	for tag := range strings.SplitSeq(header, ",") {
		tag = strings.TrimSpace(tag)
		if tag == "*" {
			return nil, true
		}
		tags = append(tags, tag)
	}
	return tags, false
}
