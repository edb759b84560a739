package httpapi

import (
	"encoding/base64"

	"github.com/google/uuid"

	"github.com/tarento/copilot/pkg/store"
)

// Page is how every collection answers. Small ones are read by skip and have a total, long ones by cursor.
type Page[T any] struct {
	Data       []T    `json:"data" nullable:"false" doc:"The items of this page"`
	Limit      int    `json:"limit" example:"20" doc:"How many items a page holds at most"`
	HasMore    bool   `json:"has_more" doc:"Whether there are more after this page"`
	NextCursor string `json:"next_cursor,omitempty" doc:"Send it as cursor to get the next page"`
	Skip       *int   `json:"skip,omitempty" nullable:"false" example:"0" doc:"How many items come before this page"`
	Total      *int64 `json:"total,omitempty" nullable:"false" example:"42" doc:"How many items there are in all"`
}

// pageOutput is the answer with a page.
type pageOutput[T any] struct{ Body Page[T] }

// Skipped are the parameters of a collection that is read by skip and limit.
type Skipped struct {
	Skip  int `query:"skip" minimum:"0" maximum:"100000" default:"0" doc:"How many items to leave out"`
	Limit int `query:"limit" minimum:"1" maximum:"100" default:"20" doc:"How many items to answer at most"`
}

func (p Skipped) page() store.Page { return store.Page{Skip: p.Skip, Limit: p.Limit} }

// skippedPage builds the answer of a collection that is read by skip and limit.
func skippedPage[R, T any](p Skipped, rows []R, total int64, show func(*R) T) *pageOutput[T] {
	return &pageOutput[T]{Page[T]{
		Data: shown(rows, show), Limit: p.Limit, Skip: &p.Skip, Total: &total, HasMore: int64(p.Skip+len(rows)) < total,
	}}
}

// Cursored are the parameters of a collection that is read by cursor.
type Cursored struct {
	Limit  int    `query:"limit" minimum:"1" maximum:"100" default:"20" doc:"How many items to answer at most"`
	Cursor string `query:"cursor" maxLength:"64" doc:"The next_cursor of the page before"`
}

// position returns the id of the last item that was seen; nil at the beginning.
func (p Cursored) position() (*uuid.UUID, error) {
	if p.Cursor == "" {
		return nil, nil //nolint:nilnil // no position and no error is the beginning
	}
	raw, err := base64.RawURLEncoding.DecodeString(p.Cursor)
	if err != nil {
		return nil, invalid("query.cursor", "expected the next_cursor of an earlier page")
	}
	id, err := uuid.FromBytes(raw)
	if err != nil {
		return nil, invalid("query.cursor", "expected the next_cursor of an earlier page")
	}
	return &id, nil
}

// cursor is the text that position reads.
func cursor(last uuid.UUID) string { return base64.RawURLEncoding.EncodeToString(last[:]) }

// cursoredPage builds the answer of a collection that is read by cursor.
func cursoredPage[R, T any](p Cursored, rows []R, more bool, id func(*R) uuid.UUID, show func(*R) T) *pageOutput[T] {
	page := Page[T]{Data: shown(rows, show), Limit: p.Limit, HasMore: more}
	if more && len(rows) > 0 {
		page.NextCursor = cursor(id(&rows[len(rows)-1]))
	}
	return &pageOutput[T]{page}
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
