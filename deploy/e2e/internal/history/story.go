package history

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"

	"github.com/tarento/copilot/events"
)

// fact is an event that is no text.
type fact struct {
	seq  int64
	name events.Type
	data json.RawMessage
}

// story is what a log or a stream tells, however its text was cut into pieces.
type story struct {
	facts []fact
	// texts holds each text by the event that opened it; last is the one opened last.
	texts map[int64]*strings.Builder
	last  int64
	// whole are the texts whose step was finished: nothing of them is void.
	whole map[int64]bool
}

// errStory is the start of each complaint about a stream.
var errStory = errors.New("what is shown makes no sense")

func newStory() *story { return &story{texts: map[int64]*strings.Builder{}, whole: map[int64]bool{}} }

// add tells the next event. It refuses one that is out of order, and text that leaves a byte out or repeats one.
func (s *story) add(at events.Position, name events.Type, data json.RawMessage) error {
	var before int64
	if n := len(s.facts); n > 0 {
		before = s.facts[n-1].seq
	}
	if name == events.TypeTextDelta {
		return s.addText(at, before, data)
	}
	if at.Seq <= before {
		return fmt.Errorf("%w: event %s, %s, comes after event %d", errStory, at, name, before)
	}
	s.facts = append(s.facts, fact{at.Seq, name, data})
	switch name {
	case events.TypeStepStarted:
		s.last = at.Seq
		s.texts[at.Seq] = new(strings.Builder)
	case events.TypeStepFinished:
		s.whole[s.last] = true
	default:
	}
	return nil
}

func (s *story) addText(at events.Position, before int64, data json.RawMessage) error {
	var d events.TextDelta
	if err := json.Unmarshal(data, &d); err != nil {
		return fmt.Errorf("%w: text %s: %w", errStory, at, err)
	}
	text := s.texts[d.Start]
	switch {
	case text == nil || d.Start != s.last:
		return fmt.Errorf("%w: text %s belongs to event %d, after event %d", errStory, at, d.Start, before)
	case at.Seq < before:
		return fmt.Errorf("%w: text %s comes after event %d", errStory, at, before)
	case d.Offset != text.Len() || d.Text == "":
		return fmt.Errorf("%w: text %s goes on at byte %d with %q, after %d bytes", errStory, at, d.Offset, d.Text, text.Len())
	}
	text.WriteString(d.Text)
	return nil
}

// final is the text that was written last.
func (s *story) final() string {
	if text := s.texts[s.last]; text != nil {
		return text.String()
	}
	return ""
}

// differs says where what a reader was shown departs from the log; empty when it does not. A reader may have seen more of a text
// that its worker's death has made void than the log has of it.
func (s *story) differs(log *story) string {
	for i := range max(len(s.facts), len(log.facts)) {
		switch {
		case i >= len(s.facts):
			return fmt.Sprintf("event %d, %s, is missing", log.facts[i].seq, log.facts[i].name)
		case i >= len(log.facts):
			return fmt.Sprintf("event %d, %s, is not in the log", s.facts[i].seq, s.facts[i].name)
		}
		shown, logged := s.facts[i], log.facts[i]
		if shown.seq != logged.seq || shown.name != logged.name || !same(shown.data, logged.data) {
			return fmt.Sprintf("event %d %s %s is shown where the log has %d %s %s",
				shown.seq, shown.name, shown.data, logged.seq, logged.name, logged.data)
		}
	}
	for start, text := range log.texts {
		shown, logged := s.texts[start].String(), text.String()
		if log.whole[start] && shown != logged || !strings.HasPrefix(shown, logged) {
			return fmt.Sprintf("the text of event %d is %q, the log has %q", start, shown, logged)
		}
	}
	return ""
}

// same compares what two pieces of JSON say.
func same(a, b json.RawMessage) bool {
	var x, y any
	return json.Unmarshal(a, &x) == nil && json.Unmarshal(b, &y) == nil && reflect.DeepEqual(x, y)
}

// readers checks each stream against the log, and the text against what the model said.
func (c *checker) readers() {
	log := newStory()
	for _, e := range c.job.Log {
		if err := log.add(events.Position{Seq: e.Seq}, e.Type, e.Data); err != nil {
			c.brokenf(LogWhole, "%v", err)
			return
		}
	}
	if want := c.job.Wanted.Text; want != "" && c.job.Record.Status == events.StatusSucceeded && log.final() != want {
		c.brokenf(ShownOnce, "the log has the text %q, the model said %q", log.final(), want)
	}
	for _, r := range c.job.Readers {
		c.tally.Connections += r.Connections
		c.tally.Shown += len(r.Shown)
		if what := shown(r, log, c.job.Record.Status.Terminal()); what != "" {
			c.brokenf(ShownOnce, "%s: %s", r.Name, what)
		}
	}
}

// shown says what is wrong with what a reader saw; empty when nothing is.
func shown(r Reader, log *story, ended bool) string {
	seen := newStory()
	for _, e := range r.Shown {
		at, err := events.ParsePosition(e.ID)
		if err == nil {
			err = seen.add(at, e.Type, e.Data)
		}
		if err != nil {
			return err.Error()
		}
	}
	if !r.Ended {
		if ended {
			return fmt.Sprintf("it never saw the end, after %d events and %d connections", len(r.Shown), r.Connections)
		}
		return ""
	}
	return seen.differs(log)
}
