package stream

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/tarento/copilot/events"
)

// readLive reads a piece of text as the bus brings it. Most of what a gateway reads are such pieces, thousands a second, so those that look
// as workers write them are not read by reflection. Whatever looks different is. The data must not change afterwards.
func readLive(data []byte) (*told, error) {
	t := &told{}
	if t.read(data) {
		return t, nil
	}
	var e events.Event
	if err := json.Unmarshal(data, &e); err != nil {
		return nil, fmt.Errorf("stream: decode a live event: %w", err)
	}
	return newTold(e)
}

// read reads the form that encoding/json gives an event with a piece of text, and reports false for every other.
func (t *told) read(data []byte) bool {
	f := fields{rest: data}
	t.JobID = f.text(`{"job_id":"`)
	t.TenantID = f.text(`,"tenant_id":"`)
	t.Seq = f.number(`,"seq":`)
	t.Type = events.Type(f.text(`,"type":"`))
	at := f.text(`,"time":"`)
	f.skip(`,"data":`)
	inner := len(f.rest) - 1 // the last brace is the event's
	if f.failed || t.Type != events.TypeTextDelta || inner < 0 || f.rest[inner] != '}' {
		return false
	}
	var err error
	if t.Time, err = time.Parse(time.RFC3339Nano, at); err != nil {
		return false
	}
	t.Data = f.rest[:inner:inner]
	f.rest = t.Data
	t.delta = events.TextDelta{Start: f.number(`{"start":`), Offset: int(f.number(`,"offset":`)), Text: f.text(`,"text":"`)}
	f.skip(`}`)
	if !f.failed && len(f.rest) == 0 {
		return true
	}
	// Most likely the text has characters that are written in another way.
	t.delta = events.TextDelta{}
	return json.Unmarshal(t.Data, &t.delta) == nil
}

// fields takes a JSON object apart that is known to have its fields in one order. It fails once, and for good.
type fields struct {
	rest   []byte
	failed bool
}

// skip takes what must come next.
func (f *fields) skip(name string) {
	rest, found := bytes.CutPrefix(f.rest, []byte(name))
	f.rest, f.failed = rest, f.failed || !found
}

// text takes a string that is written as it is.
func (f *fields) text(name string) string {
	f.skip(name)
	for i, b := range f.rest {
		switch {
		case f.failed:
			return ""
		case b == '"':
			text := f.rest[:i]
			f.rest, f.failed = f.rest[i+1:], !utf8.Valid(text)
			return string(text)
		case b == '\\', b < ' ':
			f.failed = true
		}
	}
	f.failed = true
	return ""
}

// number takes a number that is not negative and has at most 18 digits.
func (f *fields) number(name string) int64 {
	f.skip(name)
	n := 0
	for n < len(f.rest) && n < 19 && f.rest[n] >= '0' && f.rest[n] <= '9' {
		n++
	}
	value, err := strconv.ParseInt(string(f.rest[:n]), 10, 64)
	f.rest, f.failed = f.rest[n:], f.failed || err != nil || n > 1 && value < 10
	return value
}
