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
