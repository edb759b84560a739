package stream

import (
	"github.com/tarento/copilot/pkg/store"
	"github.com/tarento/copilot/pkg/tenant"
)

// CursorAt is the id that a gateway gives out for a position.
func (h *Hub) CursorAt(t tenant.ID, p store.FeedPosition) string { return h.cursors.write(t, p) }

// PositionOf is what a gateway reads in it.
func (h *Hub) PositionOf(t tenant.ID, cursor string) (store.FeedPosition, error) {
	return h.cursors.read(t, cursor)
}

// Join has a reader come and go who has found out where the feed ends; late says that it did so after the tail was made that is there.
func (h *Hub) Join(t tenant.ID, end store.FeedPosition, late bool) error {
	var found *tail
	if late {
		found = h.tailOf(t)
	}
	joined, err := h.join(t, end, found)
	if err == nil {
		h.leave(joined)
	}
	return err
}
