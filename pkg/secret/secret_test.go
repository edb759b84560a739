package secret_test

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/tarento/copilot/pkg/secret"
)

const plain = "hunter2-correct-horse"

type exported struct{ Key secret.Text }

type hidden struct{ key secret.Text }

func TestTextShowsNowhere(t *testing.T) {
	t.Parallel()
	s := secret.New(plain)
	var v any = s // as the formatters get it
	ways := map[string]func() string{
		"String":              s.String,
		"GoString":            s.GoString,
		"verb v":              func() string { return fmt.Sprintf("%v", v) },
		"verb +v":             func() string { return fmt.Sprintf("%+v", s) },
		"verb #v":             func() string { return fmt.Sprintf("%#v", s) },
		"verb s":              func() string { return fmt.Sprintf("%s", v) },
		"verb q":              func() string { return fmt.Sprintf("%q", s) },
		"verb x":              func() string { return fmt.Sprintf("%x", s) },
		"verb for a number":   func() string { return fmt.Sprintf("%d", s) },
		"pointer":             func() string { return fmt.Sprint(any(&s)) },
		"exported field":      func() string { return fmt.Sprintf("%+v %#v", exported{s}, exported{s}) },
		"unexported field":    func() string { return fmt.Sprintf("%+v %#v", hidden{s}, &hidden{s}) },
		"slice":               func() string { return fmt.Sprint([]secret.Text{s}) },
		"error":               func() string { return fmt.Errorf("open %v: %w", s, fmt.Errorf("with %s", s)).Error() },
		"JSON":                func() string { return string(must(json.Marshal(exported{s}))) },
		"JSON map key's text": func() string { return string(must(s.MarshalText())) },
		"XML":                 func() string { return string(must(xml.Marshal(exported{s}))) },
		"text log":            func() string { return logged(s, false) },
		"JSON log":            func() string { return logged(s, true) },
		"JSON log of a struct": func() string {
			return logged(exported{s}, true)
		},
	}
	hexed := fmt.Sprintf("%x", plain)
	for name, show := range ways {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := show()
			if strings.Contains(got, plain) || strings.Contains(got, hexed) {
				t.Fatalf("the secret shows: %s", got)
			}
			if name != "unexported field" && !strings.Contains(got, "[redacted]") {
				t.Fatalf("got %q, want it to say [redacted]", got)
			}
		})
	}
}

func TestRevealGivesTheValueBack(t *testing.T) {
	t.Parallel()
	var fromText, fromJSON secret.Text
	if err := fromText.UnmarshalText([]byte(plain)); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(`"`+plain+`"`), &fromJSON); err != nil {
		t.Fatal(err)
	}
	for name, s := range map[string]secret.Text{"New": secret.New(plain), "UnmarshalText": fromText, "JSON": fromJSON} {
		if got := s.Reveal(); got != plain || s.Len() != len(plain) || s.IsZero() {
			t.Errorf("%s: Reveal = %q, Len = %d, IsZero = %v", name, got, s.Len(), s.IsZero())
		}
	}
}

func TestZeroTextIsEmpty(t *testing.T) {
	t.Parallel()
	var zero secret.Text
	if !zero.IsZero() || zero.Reveal() != "" || zero.Len() != 0 || !secret.New("").IsZero() || zero.String() != "[redacted]" {
		t.Errorf("zero Text: IsZero %v, Reveal %q, Len %d, String %q", zero.IsZero(), zero.Reveal(), zero.Len(), zero)
	}
}

func TestEqualComparesValues(t *testing.T) {
	t.Parallel()
	if !secret.New(plain).Equal(secret.New(plain)) {
		t.Error("two secrets of one value differ")
	}
	if secret.New(plain).Equal(secret.New(plain+"x")) || secret.New(plain).Equal(secret.Text{}) {
		t.Error("different secrets are equal")
	}
}

func logged(v any, asJSON bool) string {
	var buf bytes.Buffer
	var h slog.Handler = slog.NewTextHandler(&buf, nil)
	if asJSON {
		h = slog.NewJSONHandler(&buf, nil)
	}
	slog.New(h).Info("opened", "with", v)
	return buf.String()
}

func must(b []byte, err error) []byte {
	if err != nil {
		panic(err)
	}
	return b
}
