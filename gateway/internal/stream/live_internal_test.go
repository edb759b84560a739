package stream

import (
	"encoding/json"
	"reflect"
	"testing"
	"time"

	"github.com/tarento/copilot/events"
)

// likeReflection compares what readLive finds with what encoding/json finds.
func likeReflection(t *testing.T, data []byte) {
	t.Helper()
	var want events.Event
	wantErr := json.Unmarshal(data, &want)
	var delta events.TextDelta
	if wantErr == nil && want.Type == events.TypeTextDelta {
		wantErr = json.Unmarshal(want.Data, &delta)
	}
	got, err := readLive(data)
	if (err == nil) != (wantErr == nil) {
		t.Fatalf("%s: %v, want %v", data, err, wantErr)
	}
	if err != nil {
		return
	}
	if !got.Time.Equal(want.Time) {
		t.Errorf("%s: at %s, want %s", data, got.Time, want.Time)
	}
	got.Time = want.Time // the place may be another pointer
	if !reflect.DeepEqual(got.Event, want) || got.delta != delta {
		t.Errorf("%s:\ngot  %+v %+v\nwant %+v %+v", data, got.Event, got.delta, want, delta)
	}
}

func written(text string) []byte {
	data, _ := json.Marshal(events.TextDelta{Start: 3, Offset: 40, Text: text})
	piece, _ := json.Marshal(events.Event{
		JobID: "01900000-0000-7000-8000-000000000001", TenantID: "01900000-0000-7000-8000-000000000a00",
		Type: events.TypeTextDelta, Time: events.Time(time.Now()), Data: data,
	})
	return piece
}

func TestALivePieceIsReadAsReflectionWould(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", "plain", "Grüße ✓", "a \"quote\"", "two\nlines", `\`, "<b>&", "\u2028", "\x00", "\xff"} {
		likeReflection(t, written(text))
		if got, err := readLive(written(text)); err != nil || got.delta.Start != 3 || got.delta.Offset != 40 {
			t.Errorf("%q came as %+v, %v", text, got, err)
		}
	}
	const head = `{"job_id":"j","tenant_id":"t","seq":0,"type":"text.delta","time":"2026-01-31T12:00:00.5Z","data":`
	for _, data := range []string{
		head + `{"start":1,"offset":2,"text":"x"}}`,
		head + `{"start":1,"offset":2,"text":"x"}} `,
		head + `{"start":1,"offset":2,"text":"x","more":true}}`,
		head + `{"offset":2,"text":"x","start":1}}`,
		head + `{"start":-1,"offset":2,"text":"x"}}`,
		head + `{"start":01,"offset":2,"text":"x"}}`,
		head + `{"start":9223372036854775808,"offset":2,"text":"x"}}`,
		head + `{"start":1.5,"offset":2,"text":"x"}}`,
		head + `{"start":1,"offset":2,"text":"x"`,
		head + `{"start":1,"offset":2,"text":"x}}`,
		head + `}`, head + `{}}`, head + `null}`, head + `"x"}`, head, `{}`, ``, `[]`, `{"job_id":"j`,
		`{"job_id":"a\u0041","tenant_id":"t","seq":7,"type":"text.delta","time":"2026-01-31T12:00:00Z","data":{"start":1,"offset":2,"text":"x"}}`,
		`{"job_id":"j","tenant_id":"t","seq":7,"type":"usage","time":"2026-01-31T12:00:00Z","data":{"model":"m"}}`,
		`{"job_id":"j","tenant_id":"t","seq":7,"type":"text.delta","time":"yesterday","data":{"start":1,"offset":2,"text":"x"}}`,
	} {
		likeReflection(t, []byte(data))
	}
}

func FuzzALivePieceIsReadAsReflectionWould(f *testing.F) {
	f.Add(written("plain"))
	f.Add(written("two\nlines"))
	f.Fuzz(func(t *testing.T, data []byte) { likeReflection(t, data) })
}
