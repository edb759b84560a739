package client

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"strconv"
	"time"
)

// maxEventBytes bounds one event, so that a broken server cannot fill the memory.
const maxEventBytes = 4 << 20

// errEventTooLarge is returned for an event of more than maxEventBytes.
var errEventTooLarge = errors.New("server-sent event is larger than 4 MiB")

// sseEvent is one dispatched server-sent event.
type sseEvent struct {
	// ID is the last event id in force when the event was dispatched. It is opaque and may stem from an earlier event.
	ID string
	// Name is the event's type, "message" when the stream names none.
	Name string
	// Data holds the data lines, joined by line feeds.
	Data []byte
}

// sseReader reads an event stream as the WHATWG HTML standard describes it, section "Interpreting an event stream". It is not
// safe for concurrent use.
type sseReader struct {
	src     *bufio.Reader
	line    []byte
	started bool // the first line was read; a byte order mark may only precede that one
	afterCR bool // the last line ended in CR, so that a LF that follows belongs to it

	id    string // the id field seen last, in force from the next dispatch on
	name  string
	data  []byte
	any   bool // a data field was seen since the last dispatch
	last  string
	retry time.Duration
}

func newSSEReader(r io.Reader) *sseReader { return &sseReader{src: bufio.NewReader(r)} }

// lastEventID is what a reconnecting client sends as Last-Event-ID: the id in force at the last complete event.
func (r *sseReader) lastEventID() string { return r.last }

// retryDelay is the reconnection time that the server asked for, zero when it did not.
func (r *sseReader) retryDelay() time.Duration { return r.retry }

// next returns the next event. An event that the end of the stream cuts off is dropped, and its id with it. The error is
// io.EOF at the end of the stream, errEventTooLarge, or the one of the source.
func (r *sseReader) next() (sseEvent, error) {
	r.name, r.data, r.any = "", nil, false
	for {
		line, err := r.readLine()
		if err != nil {
			return sseEvent{}, err
		}
		if len(line) > 0 {
			r.field(line)
			continue
		}
		r.last = r.id
		if !r.any {
			r.name = ""
			continue
		}
		e := sseEvent{ID: r.last, Name: r.name, Data: bytes.TrimSuffix(r.data, []byte("\n"))}
		if e.Name == "" {
			e.Name = "message"
		}
		return e, nil
	}
}

// field takes one line that is not blank. Comments and unknown fields are ignored.
func (r *sseReader) field(line []byte) {
	name, value, _ := bytes.Cut(line, []byte(":"))
	value = bytes.TrimPrefix(value, []byte(" "))
	switch string(name) {
	case "event":
		r.name = string(value)
	case "data":
		r.data = append(append(r.data, value...), '\n')
		r.any = true
	case "id":
		if !bytes.ContainsRune(value, 0) {
			r.id = string(value)
		}
	case "retry":
		if ms, err := strconv.ParseUint(string(value), 10, 31); err == nil {
			r.retry = time.Duration(ms) * time.Millisecond
		}
	}
}

// readLine returns the next line without its end, which is CR, LF or CRLF. The result is valid until the next call.
func (r *sseReader) readLine() ([]byte, error) {
	r.line = r.line[:0]
	for {
		if _, err := r.src.Peek(1); err != nil {
			return nil, err
		}
		there, err := r.src.Peek(r.src.Buffered())
		if err != nil {
			return nil, err
		}
		if r.afterCR && there[0] == '\n' {
			r.afterCR = false
			r.skip(1)
			continue
		}
		r.afterCR = false
		end := bytes.IndexAny(there, "\r\n")
		if end < 0 {
			end = len(there)
		}
		if len(r.line)+len(r.data)+end > maxEventBytes {
			return nil, errEventTooLarge
		}
		r.line = append(r.line, there[:end]...)
		if end == len(there) {
			r.skip(len(there))
			continue
		}
		r.afterCR = there[end] == '\r'
		r.skip(end + 1)
		if !r.started {
			r.started = true
			return bytes.TrimPrefix(r.line, []byte("\ufeff")), nil
		}
		return r.line, nil
	}
}

// skip drops so many bytes, which are in the buffer.
func (r *sseReader) skip(n int) {
	_, _ = r.src.Discard(n) // no error is possible
}
