package client

import (
	"net/url"
	"testing"
	"time"
)

func TestQuerySaysWhatWasGivenAndNothingElse(t *testing.T) {
	t.Parallel()
	q := query{}
	for name, value := range map[string]any{
		"text": "a b", "empty": "", "kind": JobKindAgentRun, "number": 7, "zero": 0, "sent_zero": new(0), "score": 0.25, "no": new(false),
		"unset": (*bool)(nil), "list": []string{"a", "b"}, "nothing": []string{}, "since": time.Date(2026, 7, 1, 12, 0, 0, 5000, time.UTC),
		"never": time.Time{}, "until": new(time.Date(2026, 7, 2, 0, 0, 0, 0, time.UTC)),
	} {
		q.set(name, value)
	}
	want := "kind=agent.run&list=a%2Cb&no=false&number=7&score=0.25&sent_zero=0&since=2026-07-01T12%3A00%3A00.000005Z&text=a+b&until=2026-07-02T00%3A00%3A00Z"
	if got := url.Values(q).Encode(); got != want {
		t.Errorf("query %s, want %s", got, want)
	}
}

func TestFormRepeatsTheFieldOfAList(t *testing.T) {
	t.Parallel()
	f := &form{}
	f.set("tags", []string{"a", "b"})
	f.set("is_public", true)
	f.set("title", "")
	if len(f.fields) != 3 || f.fields[1] != (field{"tags", "b"}) || f.fields[2] != (field{"is_public", "true"}) {
		t.Errorf("fields %+v", f.fields)
	}
}

func TestPagesFollowByCursorOrElseByNumber(t *testing.T) {
	t.Parallel()
	if at := (position{skip: new(10)}).following("next", 5); at.cursor != "next" || at.skip != nil {
		t.Errorf("with a cursor: %+v, want the cursor alone", at)
	}
	if at := (position{skip: new(10)}).following("", 5); at.cursor != "" || *at.skip != 15 {
		t.Errorf("without a cursor: %+v, want 15 left out", at)
	}
	if at := (position{}).following("", 5); *at.skip != 5 {
		t.Errorf("after the first page: %+v, want 5 left out", at)
	}
}

func TestPathsEscapeTheirValues(t *testing.T) {
	t.Parallel()
	if got := at("/a/", "b/c?d", "/e/", "ü"); got != "/a/b%2Fc%3Fd/e/%C3%BC" {
		t.Errorf("path %s", got)
	}
}
