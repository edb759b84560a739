package httpapi

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/google/uuid"

	"github.com/tarento/copilot/gateway/internal/rbac"
	"github.com/tarento/copilot/pkg/store"
	"github.com/tarento/copilot/pkg/tenant"
)

// Page is how every collection answers.
type Page[T any] struct {
	Data       []T    `json:"data" nullable:"false" doc:"The items of this page"`
	Limit      int    `json:"limit" example:"20" doc:"How many items a page holds at most"`
	HasMore    bool   `json:"has_more" doc:"Whether there are more after this page"`
	NextCursor string `json:"next_cursor,omitempty" example:"AZM1..." doc:"Send it as cursor to get the next page"`
	Skip       *int   `json:"skip,omitempty" nullable:"false" example:"0" doc:"How many items come before this page; only when it was read by skip"`
	Total      *int64 `json:"total,omitempty" nullable:"false" example:"42" doc:"How many items there are in all; long collections count only when skip is sent"`
}

// pageOutput is the answer with a page.
type pageOutput[T any] struct{ Body Page[T] }

// Listing are the parameters of every collection.
type Listing struct {
	Limit  int    `query:"limit" minimum:"1" maximum:"100" default:"20" doc:"How many items to answer at most"`
	Cursor string `query:"cursor" maxLength:"4096" doc:"The next_cursor of the page before; the other parameters stay as they were"`
	Skip   int    `query:"skip" minimum:"0" maximum:"10000" example:"0" doc:"How many items to leave out, instead of a cursor; then total is answered, too"`

	skipped bool
}

// Resolve implements huma.Resolver: no skip and a skip of 0 are two things.
func (l *Listing) Resolve(ctx huma.Context) []error {
	l.skipped = ctx.Query("skip") != ""
	return nil
}

// Cursored are the parameters of a collection that is only read by cursor.
type Cursored struct {
	Limit  int    `query:"limit" minimum:"1" maximum:"100" default:"20" doc:"How many items to answer at most"`
	Cursor string `query:"cursor" maxLength:"4096" doc:"The next_cursor of the page before; the other parameters stay as they were"`
}

func (c Cursored) listing() Listing { return Listing{Limit: c.Limit, Cursor: c.Cursor} }

// window is the part of a collection that a request asks for.
type window struct {
	store.Page

	listing Listing
	seal    func(payload string) []byte
}

// window reads the parameters of a collection. A cursor is good only for the collection, order and organization that it was made for.
func (s *Server) window(p *rbac.Principal, c collection) (*window, error) {
	l := c.listing
	w := &window{listing: l, Page: store.Page{Limit: l.Limit, Skip: l.Skip, Count: c.counted || l.skipped}}
	if c.sort != "" {
		by, descending := strings.CutPrefix(c.sort, "-")
		if c.byAge && by == "created_at" {
			by = ""
		}
		w.Sort = store.Sort{By: by, Ascending: !descending}
	}
	w.seal = func(payload string) []byte {
		mac := hmac.New(sha256.New, s.cfg.CursorKey)
		for _, part := range []string{"cursor", c.name, c.sort, p.Tenant.String(), payload} {
			mac.Write([]byte(part))
			mac.Write([]byte{0})
		}
		return mac.Sum(nil)[:sealLength]
	}
	if l.Cursor == "" {
		return w, nil
	}
	if l.skipped {
		return nil, invalid("query.skip", "expected a cursor or skip, not both")
	}
	var err error
	w.After, err = w.open(l.Cursor)
	return w, err
}

// collection is a list as a request asks for it.
type collection struct {
	// name says where its cursors are good.
	name    string
	listing Listing
	// sort is a column, with a dash before it for the largest first; empty is newest first.
	sort string
	// counted is set for collections so small that they are always counted.
	counted bool
	// byAge is set where ids stand for the time of creation, with which they grow: every filter has an index that ends with them.
	byAge bool
}

// listed answers with a part of a collection of the caller's tenant.
func listed[R, T any](
	ctx context.Context, s *Server, p *rbac.Principal, c collection, show func(*R) T,
	read func(*store.Tx, store.Page) (store.Listed[R], error),
) (*pageOutput[T], error) {
	return listedIn(ctx, s, p, p.Tenant, c, show, read)
}

// listedIn is listed in a tenant that the caller may reach, which need not be its own.
func listedIn[R, T any](
	ctx context.Context, s *Server, p *rbac.Principal, t tenant.ID, c collection, show func(*R) T,
	read func(*store.Tx, store.Page) (store.Listed[R], error),
) (*pageOutput[T], error) {
	w, err := s.window(p, c)
	if err != nil {
		return nil, err
	}
	rows, err := view(ctx, s, t, func(tx *store.Tx) (store.Listed[R], error) { return read(tx, w.Page) })
	if err != nil {
		return nil, err
	}
	return page(w, rows, show), nil
}

// sealLength is how many bytes of the HMAC a cursor carries.
const sealLength = 12

// cursor is the text for clients that open reads: the seal, the id, the key.
func (w *window) cursor(p *store.Position) string {
	payload := string(p.ID[:]) + p.Key
	return base64.RawURLEncoding.EncodeToString(append(w.seal(payload), payload...))
}

func (w *window) open(cursor string) (*store.Position, error) {
	raw, err := base64.RawURLEncoding.DecodeString(cursor)
	if err != nil || len(raw) < sealLength+len(uuid.UUID{}) || !hmac.Equal(raw[:sealLength], w.seal(string(raw[sealLength:]))) {
		return nil, invalid("query.cursor", "expected the next_cursor of an earlier page of this collection, with the same sort")
	}
	raw = raw[sealLength:]
	return &store.Position{ID: uuid.UUID(raw[:16]), Key: string(raw[16:])}, nil
}

// page builds the answer.
func page[R, T any](w *window, rows store.Listed[R], show func(*R) T) *pageOutput[T] {
	out := Page[T]{Data: shown(rows.Rows, show), Limit: w.listing.Limit, HasMore: rows.Next != nil, Total: rows.Total}
	if rows.Next != nil {
		out.NextCursor = w.cursor(rows.Next)
	}
	if rows.Total != nil && w.listing.Cursor == "" {
		out.Skip = &w.listing.Skip
	}
	return &pageOutput[T]{out}
}

// listedByID are rows in the order of their ids, and whether more follow.
func listedByID[R any](rows []R, more bool, id func(*R) uuid.UUID) store.Listed[R] {
	listed := store.Listed[R]{Rows: rows}
	if more && len(rows) > 0 {
		listed.Next = &store.Position{ID: id(&rows[len(rows)-1])}
	}
	return listed
}

// following is the id that the page comes after; nil at the beginning.
func following(p store.Page) *uuid.UUID {
	if p.After == nil {
		return nil
	}
	return &p.After.ID
}

func shown[R, T any](rows []R, show func(*R) T) []T {
	data := make([]T, len(rows))
	for i := range rows {
		data[i] = show(&rows[i])
	}
	return data
}

// given returns nil for an id that was not sent.
func given(id uuid.UUID) *uuid.UUID {
	if id == uuid.Nil {
		return nil
	}
	return &id
}
