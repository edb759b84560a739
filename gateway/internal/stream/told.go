package stream

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync/atomic"

	"github.com/tarento/copilot/events"
)

// told is an event as the bus told it: read once, and shared by all who follow its job.
type told struct {
	events.Event

	// delta is what Data says, where it is a piece of text.
	delta events.TextDelta
	// shared says that several follow the job; then frame is the event as it was last encoded.
	shared bool
	frame  atomic.Pointer[frame]
}

// frame is an event as it is sent, with the position after it as its id.
type frame struct {
	at   events.Position
	text []byte
}

// newTold reads what an event says, as far as that decides where it belongs.
func newTold(e events.Event) (*told, error) {
	t := &told{Event: e}
	if e.Type != events.TypeTextDelta {
		return t, nil
	}
	if err := json.Unmarshal(e.Data, &t.delta); err != nil {
		return nil, fmt.Errorf("stream: decode text delta %d: %w", e.Seq, err)
	}
	return t, nil
}

// Item is one thing to show to the client. Position is where the client stands after it.
type Item struct {
	Position events.Position
	Event    events.Event

	// told is set while the event is the same for all who get it.
	told *told
}

// appendTo appends the item as a server-sent event. What many get is encoded once.
func (i *Item) appendTo(frames []byte) []byte {
	if i.told == nil || !i.told.shared {
		return appendFrame(frames, i.Position.String(), i.Event.Type, i.Event.Data)
	}
	f := i.told.frame.Load()
	if f == nil || f.at != i.Position {
		f = &frame{i.Position, appendFrame(nil, i.Position.String(), i.Event.Type, i.Event.Data)}
		i.told.frame.Store(f)
	}
	return append(frames, f.text...)
}

func appendFrame(frames []byte, id string, name events.Type, data []byte) []byte {
	frames = append(append(frames, "id: "...), id...)
	frames = append(append(frames, "\nevent: "...), name...)
	frames = append(append(frames, "\ndata: "...), data...)
	return append(frames, "\n\n"...)
}

// stillHere is the sign of life of a silent stream; a feed's has the id of where it stands.
const stillHere = ": still here\n\n"

func stillAt(id string) string { return strings.TrimSuffix(stillHere, "\n") + "id: " + id + "\n\n" }
