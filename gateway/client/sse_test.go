package client

import (
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"
	"time"
)

func TestSSEReader(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		stream string
		want   []sseEvent
		last   string
		retry  time.Duration
	}{
		{name: "an empty stream has no events"},
		{
			name: "an event has an id, a name and data", stream: "id: 7\nevent: job.state\ndata: {}\n\n",
			want: []sseEvent{{ID: "7", Name: "job.state", Data: []byte("{}")}}, last: "7",
		},
		{
			name: "an event without a name is a message", stream: "data: x\n\n",
			want: []sseEvent{{Name: "message", Data: []byte("x")}},
		},
		{
			name: "data lines are joined by line feeds", stream: "data: a\n" + "data:\n" + "data: b\n\n",
			want: []sseEvent{{Name: "message", Data: []byte("a\n\nb")}},
		},
		{
			name: "one space after the colon is left out, the second is data", stream: "data:  a\n\ndata:b\n\n",
			want: []sseEvent{{Name: "message", Data: []byte(" a")}, {Name: "message", Data: []byte("b")}},
		},
		{
			name: "a field without a colon has an empty value", stream: "data\n\n" + "data\n" + "data\n\n",
			want: []sseEvent{{Name: "message", Data: []byte("")}, {Name: "message", Data: []byte("\n")}},
		},
		{
			name: "comments and unknown fields are ignored", stream: ": heartbeat\n\n:\nother: 1\ndata: x\n: y\n\n",
			want: []sseEvent{{Name: "message", Data: []byte("x")}},
		},
		{
			name: "an event without data is not dispatched but its id counts", stream: "id: 3\nevent: nothing\n\ndata: x\n\n",
			want: []sseEvent{{ID: "3", Name: "message", Data: []byte("x")}}, last: "3",
		},
		{
			name: "an id stays in force until the next one", stream: "id: 1\ndata: a\n\ndata: b\n\nid\ndata: c\n\n",
			want: []sseEvent{
				{ID: "1", Name: "message", Data: []byte("a")},
				{ID: "1", Name: "message", Data: []byte("b")},
				{Name: "message", Data: []byte("c")},
			},
		},
		{
			name: "an id with a NUL is ignored", stream: "id: 1\ndata: a\n\nid: 2\x003\ndata: b\n\n",
			want: []sseEvent{{ID: "1", Name: "message", Data: []byte("a")}, {ID: "1", Name: "message", Data: []byte("b")}}, last: "1",
		},
		{
			name: "lines end in LF, CR or CRLF", stream: "data: a\r\ndata: b\rdata: c\n\r\ndata: d\r\r",
			want: []sseEvent{{Name: "message", Data: []byte("a\nb\nc")}, {Name: "message", Data: []byte("d")}},
		},
		{
			name: "a byte order mark is left out at the start only", stream: "\ufeffdata: a\n\n\ufeffdata: b\n\n",
			want: []sseEvent{{Name: "message", Data: []byte("a")}},
		},
		{
			name: "an event that the end cuts off is dropped with its id", stream: "id: 1\ndata: a\n\nid: 2\ndata: b\n",
			want: []sseEvent{{ID: "1", Name: "message", Data: []byte("a")}}, last: "1",
		},
		{name: "retry is in milliseconds", stream: "retry: 1500\n\n", retry: 1500 * time.Millisecond},
		{
			name: "a retry that is not all digits is ignored", stream: "retry: 20\nretry: 5s\nretry: -1\nretry\n\n",
			retry: 20 * time.Millisecond,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			for _, source := range []io.Reader{
				strings.NewReader(tt.stream), iotest.OneByteReader(strings.NewReader(tt.stream)),
			} {
				r := newSSEReader(source)
				var got []sseEvent
				for {
					e, err := r.next()
					if errors.Is(err, io.EOF) {
						break
					}
					if err != nil {
						t.Fatal(err)
					}
					got = append(got, e)
				}
				if !reflect.DeepEqual(got, tt.want) {
					t.Errorf("events %q, want %q", got, tt.want)
				}
				if r.lastEventID() != tt.last {
					t.Errorf("last event id %q, want %q", r.lastEventID(), tt.last)
				}
				if r.retryDelay() != tt.retry {
					t.Errorf("retry %s, want %s", r.retryDelay(), tt.retry)
				}
			}
		})
	}
}

func TestSSEReaderRefusesEventsWithoutEnd(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 1<<20)
	for name, line := range map[string]string{"one endless line": long, "endless data": "data: " + long + "\n"} {
		_, err := newSSEReader(strings.NewReader(strings.Repeat(line, 6))).next()
		if !errors.Is(err, errEventTooLarge) {
			t.Errorf("%s: error %v, want %v", name, err, errEventTooLarge)
		}
	}
}

func TestSSEReaderPassesTheSourcesErrorOn(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	r := newSSEReader(io.MultiReader(strings.NewReader("id: 1\ndata: a\n\ndata"), iotest.ErrReader(broken)))
	if _, err := r.next(); err != nil {
		t.Fatal(err)
	}
	if _, err := r.next(); !errors.Is(err, broken) {
		t.Errorf("error %v, want %v", err, broken)
	}
}

func FuzzSSEReader(f *testing.F) {
	f.Add("id: 1\nevent: a\ndata: b\n\n")
	f.Add("\ufeffdata\r\n\r\nretry: 9\r")
	f.Fuzz(func(t *testing.T, stream string) {
		whole, split := newSSEReader(strings.NewReader(stream)), newSSEReader(iotest.OneByteReader(strings.NewReader(stream)))
		for {
			a, errA := whole.next()
			b, errB := split.next()
			if !reflect.DeepEqual(a, b) || !errors.Is(errB, errA) {
				t.Fatalf("whole: %q %v, byte by byte: %q %v", a, errA, b, errB)
			}
			if errA != nil {
				return
			}
			if strings.ContainsAny(a.Name+a.ID, "\r\n") {
				t.Fatalf("line ends in %q", a)
			}
		}
	})
}
