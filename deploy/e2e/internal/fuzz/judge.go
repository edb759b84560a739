package fuzz

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"mime"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/tarento/copilot/deploy/e2e/internal/openapi"
)

// verdict is something wrong with an answer.
type verdict struct {
	// kind groups verdicts; reason says what exactly is wrong.
	kind, reason string
}

// judge holds answers against the document and against what must never be.
type judge struct {
	// within is how long an answer may take.
	within time.Duration
	// marks are texts that only other tenants may see.
	marks []string
	// secrets are texts that nobody may see.
	secrets []string
	insides []inside
}

func newJudge(within time.Duration, marks, secrets []string) *judge {
	j := &judge{within: within, marks: marks, secrets: secrets}
	for _, what := range slices.Sorted(maps.Keys(insides)) {
		j.insides = append(j.insides, inside{what, regexp.MustCompile(strings.Join(insides[what], "|"))})
	}
	return j
}

// inside is something of the system's that nobody outside should see, and how it is recognized.
type inside struct {
	what    string
	pattern *regexp.Regexp
}

// insides are what no answer may show of the system, as regular expressions.
var insides = map[string][]string{
	"a stack": {`goroutine \d+ \[`, `runtime error`, `runtime/debug`, `panic: `, `nil pointer`, `interface conversion`, `\.go:\d+`},
	"an error of Go's": {
		`cannot unmarshal`, `json: `, `strconv\.`, `invalid UUID`, `context (deadline exceeded|canceled)`, `unexpected EOF`, `dial tcp`,
		`broken pipe`, `connection refused`, `invalid character '`,
	},
	"a Go type": {
		`\b(httpapi|huma|store|fault|uuid|pgx|pgconn|pgtype|gorm|gin|json|time|reflect|sql|access|account|auth|rbac)\.[A-Z]\w+`,
		`\bmap\[string\]`, `\bstruct ?\{`, `\[\]uint8`, `%!\w?\(`,
	},
	"SQL": {
		`SQLSTATE`, `\bERROR: `, `pq: `, `violates (foreign|unique|check|not-null)`, `duplicate key value`, `row-level security`,
		`\b(SELECT|INSERT INTO|DELETE FROM)\s.+\s(FROM|VALUES|WHERE)\b`, `\bUPDATE \w+ SET\b`, `invalid byte sequence`,
	},
	"a path of the server": {
		`(^|["' :])/(root|home|usr|var|tmp|build|work|opt|go)/\w`, `github\.com/`, `"file_path":"[^\[]`, `\.devstack`,
	},
	"a hash of a password":  {`\$2[aby]\$\d\d\$`, `password_hash":"[^\[]`},
	"an address of memory":  {`0xc0[0-9a-f]{8}`},
	"a name of our engines": {`(?i:postgres(ql)?://|redis://|nats://)`, `copilot_(app|engine|auth)\b`},
}

// kindFault is a fault of the server's: nothing that it answers with it is looked at closely.
const kindFault = "fault"

// judge returns everything that is wrong with an answer.
func (j *judge) judge(t trial, got answer) []verdict {
	wrong := j.status(t, got)
	if len(wrong) == 0 || wrong[0].kind != kindFault {
		for _, what := range contract(t, got) {
			wrong = append(wrong, verdict{"contract", what})
		}
		wrong = append(wrong, headers(t, got)...)
	}
	wrong = append(wrong, j.leaks(t, got)...)
	if limit := j.limit(t); got.took > limit {
		wrong = append(wrong, verdict{"slow", fmt.Sprintf("the answer took %s, more than %s", got.took.Round(time.Millisecond), limit)})
	}
	return wrong
}

// waits is how long a request may ask to be held for a job.
const waits = 30 * time.Second

// limit is how long an answer to the request may take.
func (j *judge) limit(t trial) time.Duration {
	if t.header.Get("Prefer") != "" || strings.Contains(t.target, "wait=") {
		return j.within + waits
	}
	return j.within
}

// status judges the status by itself and by what the request was.
func (*judge) status(t trial, got answer) []verdict {
	switch {
	case got.status == http.StatusServiceUnavailable && got.header.Get("Retry-After") != "":
	case got.status >= http.StatusInternalServerError:
		return []verdict{{kindFault, fmt.Sprintf("status %d: %.300s", got.status, got.body)}}
	case len(t.refuse) > 0 && got.success() && !t.astray:
		part := slices.Sorted(maps.Keys(t.refuse))[0]
		return []verdict{{"accepted", fmt.Sprintf("status %d, although %s %s", got.status, part, t.refuse[part])}}
	case t.unknown && !t.astray && !t.bulky && len(t.target) <= longTarget && got.status != http.StatusUnauthorized:
		return []verdict{{"login", fmt.Sprintf("status %d to somebody who is not logged in", got.status)}}
	}
	return nil
}

// contract holds an answer against the document.
func contract(t trial, got answer) []string {
	switch {
	case t.bulky && got.status == http.StatusRequestHeaderFieldsTooLarge:
		return nil
	case len(t.target) > longTarget && got.status == http.StatusRequestURITooLong:
		return problem(got)
	case t.method == http.MethodHead || t.method == http.MethodOptions:
		return nil // as the method wants it, not the document
	case t.astray && got.status >= 300 && got.status < 400:
		return nil
	case t.astray && got.success():
		return nil // another operation's
	case isGeneral(t, got.status):
		return problem(got)
	case t.op.Streams() && got.success():
		if media, _, _ := mime.ParseMediaType(got.header.Get("Content-Type")); media == "text/event-stream" && !openapi.IsEvents(got.body) {
			return []string{fmt.Sprintf("the body is no stream of events: %.200q", got.body)}
		}
	}
	wrong := t.op.Check(got.status, got.header, got.body)
	if got.status >= http.StatusBadRequest {
		wrong = append(wrong, problem(got)...)
	}
	return wrong
}

// longTarget is how long a path and query may get without anybody minding, in bytes.
const longTarget = 2 << 10

// isGeneral tells whether a status needs no word in the document: every operation may answer so.
func isGeneral(t trial, status int) bool {
	switch status {
	case http.StatusUnauthorized:
		return t.op.Secured
	case http.StatusNotFound, http.StatusMethodNotAllowed:
		return t.astray
	case http.StatusTooManyRequests:
		return true
	default:
		return t.astray && status/100 == 4
	}
}

// problem says what an error lacks to be a problem document about this very answer.
func problem(got answer) []string {
	media, _, _ := mime.ParseMediaType(got.header.Get("Content-Type"))
	if media != openapi.MediaProblem {
		return []string{fmt.Sprintf("status %d with the media type %q, not %s", got.status, media, openapi.MediaProblem)}
	}
	var p struct {
		Type, Title, Code string
		Status            int
		RequestID         string `json:"request_id"`
	}
	if err := json.Unmarshal(got.body, &p); err != nil {
		return []string{fmt.Sprintf("the problem cannot be read: %.200q", got.body)}
	}
	var wrong []string
	if p.Type == "" || p.Title == "" || p.Code == "" {
		wrong = append(wrong, fmt.Sprintf("the problem has no type, title or code: %.300s", got.body))
	}
	if p.Status != got.status {
		wrong = append(wrong, fmt.Sprintf("the problem says status %d, the answer %d", p.Status, got.status))
	}
	if p.RequestID != got.header.Get("X-Request-ID") {
		wrong = append(wrong, fmt.Sprintf("the problem is of request %q, the answer of %q", p.RequestID, got.header.Get("X-Request-ID")))
	}
	return wrong
}

// headers judges the headers that follow from the status.
func headers(t trial, got answer) []verdict {
	if t.bulky && got.status == http.StatusRequestHeaderFieldsTooLarge || t.astray && got.status/100 == 3 {
		return nil // by the server or the router, before anything of ours
	}
	want := map[int]string{
		http.StatusUnauthorized: "WWW-Authenticate", http.StatusMethodNotAllowed: "Allow", http.StatusTooManyRequests: "Retry-After",
	}
	// What was made has a place, unless it is several things.
	if made := got.status == http.StatusCreated || got.status == http.StatusAccepted; made && got.field("id") != "" {
		want[got.status] = "Location"
	}
	var wrong []verdict
	for _, name := range []string{"X-Request-ID", want[got.status]} {
		if name != "" && got.header.Get(name) == "" {
			wrong = append(wrong, verdict{"header", fmt.Sprintf("status %d without %s", got.status, name)})
		}
	}
	if got.status == http.StatusNoContent && len(got.body) > 0 {
		wrong = append(wrong, verdict{"header", "status 204 with a body"})
	}
	return wrong
}

// leaks finds what the asker must not see. What the request itself says may be repeated.
func (j *judge) leaks(t trial, got answer) []verdict {
	text := got.body
	if strings.HasPrefix(got.header.Get("Content-Disposition"), "attachment") {
		return nil // a file, as it was uploaded
	}
	var wrong []verdict
	for _, in := range j.insides {
		if found := in.pattern.Find(text); found != nil && !bytes.Contains(t.body, bytes.TrimLeft(found, `"' :`)) {
			wrong = append(wrong, verdict{"inside", fmt.Sprintf("the body shows %s: %s", in.what, around(text, found))})
		}
	}
	for _, mark := range j.marks {
		if bytes.Contains(text, []byte(mark)) && !strings.Contains(t.target+string(t.body), mark) {
			wrong = append(wrong, verdict{kindTenant, "the body has something of another tenant's: " + around(text, []byte(mark))})
		}
	}
	for _, secret := range j.secrets {
		if bytes.Contains(text, []byte(secret)) {
			wrong = append(wrong, verdict{"secret", "the body has a password: " + around(text, []byte(secret))})
		}
	}
	return wrong
}

// around is what was found, with some of what stands around it.
func around(text, found []byte) string {
	const wide = 80
	i := bytes.Index(text, found)
	return fmt.Sprintf("%q", text[max(0, i-wide):min(len(text), i+len(found)+wide)])
}

// twins judges whether what belongs to another tenant can be told from what does not exist. What differs from request to request is
// no difference.
func twins(strange, missing answer) []verdict {
	if strange.success() {
		return []verdict{{
			kindTenant, fmt.Sprintf("status %d to a request about something of another tenant's: %.300s", strange.status, strange.body),
		}}
	}
	summary := func(a answer) string { return fmt.Sprintf("%d %s: %s", a.status, a.field("code"), a.field("detail")) }
	if one, other := summary(strange), summary(missing); one != other {
		return []verdict{{
			kindTenant, fmt.Sprintf("what is another tenant's (%s) can be told from what does not exist (%s)", one, other),
		}}
	}
	return nil
}

// kindTenant is something of another tenant's that was seen.
const kindTenant = "tenant"
