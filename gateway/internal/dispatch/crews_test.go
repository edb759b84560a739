package dispatch

import (
	"strconv"
	"testing"
	"time"

	"github.com/tarento/copilot/events"
)

func TestRoomIsWhatWorkersAreThroughWithLessWhatTheyHaveClaimed(t *testing.T) {
	t.Parallel()
	c, now := newCrews(), time.Now()
	if room := c.room(events.KindAgentRun, now); room != 0 {
		t.Errorf("room for %d without workers", room)
	}
	for i := range 2 {
		c.beat(&events.WorkerBeat{Worker: strconv.Itoa(i), Kind: events.KindAgentRun, Slots: 4}, now)
	}
	if room := c.room(events.KindAgentRun, now); room != 8 {
		t.Errorf("room for %d in 8 free slots", room)
	}
	// Either has ended some 400 jobs a second for a while: 20 in the time that is looked ahead.
	ids := make([]string, 40)
	flow := events.Flow{Kind: events.KindAgentRun, Claimed: ids, Ended: make([]events.Ended, 40)}
	for range 30 {
		now = now.Add(100 * time.Millisecond)
		for i := range 2 {
			flow.Worker = strconv.Itoa(i)
			c.beat(&events.WorkerBeat{Worker: flow.Worker, Kind: flow.Kind, Slots: 4}, now)
			c.flow(&flow)
		}
		c.room(flow.Kind, now)
	}
	if room := c.room(flow.Kind, now); room < 8+19 || room > 8+20 {
		t.Errorf("room for %d, of which 8 in free slots", room)
	}
	// One of them holds three more than it has slots for: so many less.
	flow = events.Flow{Worker: "0", Kind: flow.Kind, Claimed: ids[:7]}
	c.flow(&flow)
	if room := c.room(flow.Kind, now); room < 4+16 || room > 4+17 {
		t.Errorf("room for %d, of which 4 in free slots and 3 claimed already", room)
	}
}
