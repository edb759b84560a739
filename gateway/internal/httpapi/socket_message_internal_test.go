package httpapi

import (
	"encoding/json"
	"errors"
	"testing"

	"github.com/tarento/copilot/events"
)

// FuzzSocketMessage looks for messages that make the reader panic, that are taken without being understood, or whose refusal says
// nothing.
func FuzzSocketMessage(f *testing.F) {
	for _, seed := range []string{
		`{"op":"ping"}`, `{"op":"ping","id":"a"}`, `{"op":"authenticate","token":"x"}`, `{"op":"unsubscribe","id":"a"}`,
		`{"op":"subscribe","id":"a","job_id":"01900000-0000-7000-8000-00000000dead","last_event_id":"7.5"}`,
		`{"op":"subscribe","id":"a","feed":{"from":"now","kinds":["agent.run"],"types":["usage"],"since":"2026-01-31T12:00:00Z"}}`,
		`{"op":"subscribe","id":"a","feed":{"since":"99999-01-31T12:00:00Z"}}`, `{"op":null}`, `[]`, `{"op":"ping","id":null}`, "\xff", ``,
		`{"op":"subscribe","id":"a","job_id":"{01900000-0000-7000-8000-00000000dead}"}`, `{"op":"subscribe","id":"a","feed":null}`,
	} {
		f.Add([]byte(seed))
	}
	messages := newSocketMessages()
	f.Fuzz(func(t *testing.T, text []byte) {
		message, id, err := messages.read(text)
		if err != nil {
			p, ok := errors.AsType[*Problem](err)
			if !ok || p.Code == "" || p.Detail == "" || message != nil {
				t.Fatalf("refused with %v and %v", err, message)
			}
			if p.Code != codeInvalid && p.Code != codeMalformed {
				t.Fatalf("refused with the code %s", p.Code)
			}
			return
		}
		switch m := message.(type) {
		case *authenticateMessage:
			if m.Op != opAuthenticate || m.Token == "" {
				t.Fatalf("taken: %+v", m)
			}
		case *subscribeMessage:
			if m.Op != opSubscribe || m.ID == "" || m.ID != id {
				t.Fatalf("taken: %+v of %q", m, id)
			}
		case *unsubscribeMessage:
			if m.Op != opUnsubscribe || m.ID == "" || m.ID != id {
				t.Fatalf("taken: %+v of %q", m, id)
			}
		case *pingMessage:
			if m.Op != opPing || m.ID != id {
				t.Fatalf("taken: %+v of %q", m, id)
			}
		default:
			t.Fatalf("taken: %T", message)
		}
		wrote := newEventMessages(id)
		for _, out := range [][]byte{wrote.event("7.5", events.TypeUsage, []byte(`{"a":"<b>"}`)), wrote.position("x"), wrote.event("1", events.TypeUsage, nil)} {
			var back struct {
				ID string
			}
			if err := json.Unmarshal(out, &back); err != nil || back.ID != id {
				t.Fatalf("%s for %q: %v", out, id, err)
			}
		}
	})
}
