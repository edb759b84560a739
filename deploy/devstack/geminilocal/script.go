package geminilocal

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// Step is one scripted reaction. The first step of a session's queue whose conditions hold answers the call; when none does,
// the stand-in behaves as without a script. A step with neither Parts, Finish, Blocked nor Error only changes how the
// stand-in's own answer is delivered.
type Step struct {
	// Endpoint limits the step to one method ("generateContent", "streamGenerateContent", "batchEmbedContents",
	// "embedContent", "countTokens") or to a group ("generate", "embed"). Empty means any, except that a step that says what
	// the model answers applies to "generate" only.
	Endpoint string `json:"endpoint,omitempty"`
	// Model limits the step to one model.
	Model string `json:"model,omitempty"`
	// Contains limits the step to requests in which this text occurs.
	Contains string `json:"contains,omitempty"`
	// Repeat is how many calls the step answers: 0 and 1 mean one, a negative number means all.
	Repeat int `json:"repeat,omitempty"`

	// Delay is the wait before the first byte, ChunkDelay the wait before each further chunk; they add to the latency.
	Delay      Duration `json:"delay,omitzero"`
	ChunkDelay Duration `json:"chunk_delay,omitzero"`

	// Parts is the answer, one chunk of the stream each.
	Parts []Part `json:"parts,omitempty"`
	// Finish is the finishReason of the answer; empty means STOP. Without Parts the answer is empty.
	Finish string `json:"finish,omitempty"`
	// Blocked answers with no candidate and this blockReason.
	Blocked string `json:"blocked,omitempty"`
	// Usage replaces the counted usage.
	Usage *Usage `json:"usage,omitempty"`
	// Cut ends the response early.
	Cut *Cut `json:"cut,omitempty"`
	// Error answers with an error body.
	Error *Failure `json:"error,omitempty"`
}

// Part is one piece of a scripted answer; exactly one field is set.
type Part struct {
	Text    string `json:"text,omitempty"`
	Thought string `json:"thought,omitempty"`
	Call    *Call  `json:"call,omitempty"`
}

// Call is a function call. Without an ID it gets one.
type Call struct {
	ID   string         `json:"id,omitempty"`
	Name string         `json:"name"`
	Args map[string]any `json:"args,omitempty"`
	// NoID leaves the id out, as some models do.
	NoID bool `json:"no_id,omitempty"`
}

// Usage is what a call is said to have cost, in tokens.
type Usage struct {
	Prompt   int `json:"prompt,omitempty"`
	Cached   int `json:"cached,omitempty"`
	Output   int `json:"output,omitempty"`
	Thoughts int `json:"thoughts,omitempty"`
}

// Cut ends a response after a number of chunks: by breaking the connection, or with Clean by ending the stream as if nothing
// were missing. A response that is not streamed breaks in the middle of its body.
type Cut struct {
	After int  `json:"after"`
	Clean bool `json:"clean,omitempty"`
}

// Failure is an error as the service words it.
type Failure struct {
	// Code is the HTTP status.
	Code int `json:"code"`
	// Message is the text for people; empty means a usual one.
	Message string `json:"message,omitempty"`
	// Reason adds an ErrorInfo detail, as in "API_KEY_INVALID".
	Reason string `json:"reason,omitempty"`
	// RetryAfter adds a RetryInfo detail.
	RetryAfter Duration `json:"retry_after,omitzero"`
	// After sends that many chunks first and the error as an event of the stream. It has no effect on other methods.
	After int `json:"after,omitempty"`
}

// Duration is a time.Duration that reads and writes "1.5s".
type Duration time.Duration

// MarshalJSON writes the duration as a string.
func (d Duration) MarshalJSON() ([]byte, error) { return json.Marshal(time.Duration(d).String()) }

// UnmarshalJSON reads a string that time.ParseDuration understands.
func (d *Duration) UnmarshalJSON(data []byte) error {
	var s string
	if err := json.Unmarshal(data, &s); err != nil {
		return fmt.Errorf("a duration is a string like \"1.5s\": %w", err)
	}
	v, err := time.ParseDuration(s)
	if err != nil {
		return err
	}
	*d = Duration(v)
	return nil
}

// Calls is what a session got since it was last reset.
type Calls struct {
	// Total counts all calls, Counts those of each method.
	Total  int            `json:"total"`
	Counts map[string]int `json:"counts"`
	// Pending is the number of steps still queued.
	Pending int `json:"pending"`
	// Requests holds the latest calls, oldest first.
	Requests []Recorded `json:"requests"`
}

// Recorded is one call as it arrived.
type Recorded struct {
	Endpoint string `json:"endpoint"`
	Model    string `json:"model"`
	// Scripted says that a step answered it.
	Scripted bool `json:"scripted"`
	// Request is the body; null when it was longer than 64 KiB or no JSON.
	Request json.RawMessage `json:"request"`
}

const (
	maxRecorded     = 256
	maxRecordedBody = 64 << 10
)

// session is the script and the memory of one API key.
type session struct {
	mu       sync.Mutex
	steps    []Step
	total    int
	counts   map[string]int
	recorded []Recorded
	latency  *latency
}

type latency struct {
	Call  Duration `json:"call"`
	Chunk Duration `json:"chunk"`
}

// take records a call and returns the step that answers it, or nil, and the session's own latency if it has one.
func (s *session) take(endpoint, model string, body []byte) (step *Step, own *latency) {
	prompt := sync.OnceValue(func() string { return promptOf(endpoint, body) })
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.steps {
		st := &s.steps[i]
		if !st.matches(endpoint, model) || st.Contains != "" && !strings.Contains(prompt(), st.Contains) {
			continue
		}
		taken := s.steps[i]
		step = &taken
		switch {
		case taken.Repeat > 1:
			s.steps[i].Repeat--
		case taken.Repeat >= 0:
			s.steps = slices.Delete(s.steps, i, i+1)
		}
		break
	}

	s.total++
	if s.counts == nil {
		s.counts = make(map[string]int)
	}
	s.counts[endpoint]++
	if len(body) > maxRecordedBody || !json.Valid(body) {
		body = nil
	}
	if len(s.recorded) == maxRecorded {
		s.recorded = slices.Delete(s.recorded, 0, 1)
	}
	s.recorded = append(s.recorded, Recorded{Endpoint: endpoint, Model: model, Scripted: step != nil, Request: bytes.Clone(body)})
	return step, s.latency
}

// snapshot returns what was recorded.
func (s *session) snapshot() Calls {
	s.mu.Lock()
	defer s.mu.Unlock()
	counts := maps.Clone(s.counts)
	if counts == nil {
		counts = map[string]int{}
	}
	return Calls{Total: s.total, Counts: counts, Pending: len(s.steps), Requests: append([]Recorded{}, s.recorded...)}
}

// matches checks the conditions that need no look into the request.
func (st *Step) matches(endpoint, model string) bool {
	generates := endpoint == methodGenerate || endpoint == methodStream
	if st.answers() && !generates {
		return false
	}
	switch st.Endpoint {
	case "", endpoint:
	case "generate":
		if !generates {
			return false
		}
	case "embed":
		if endpoint != methodEmbed && endpoint != methodBatchEmbed {
			return false
		}
	default:
		return false
	}
	return st.Model == "" || st.Model == model
}

// answers reports whether the step says what the model answers.
func (st *Step) answers() bool {
	return len(st.Parts) > 0 || st.Finish != "" || st.Blocked != "" || st.Usage != nil || st.Cut != nil
}

// validate refuses what would silently do something else than meant.
func (st *Step) validate() error {
	switch st.Endpoint {
	case "", "generate", "embed", methodGenerate, methodStream, methodBatchEmbed, methodEmbed, methodCount:
	default:
		return fmt.Errorf("unknown endpoint %q", st.Endpoint)
	}
	if st.Error != nil && (st.Error.Code < 400 || st.Error.Code > 599) {
		return fmt.Errorf("error.code %d is no HTTP error", st.Error.Code)
	}
	if st.Error != nil && st.Error.After > 0 && st.Cut != nil {
		return fmt.Errorf("error.after and cut exclude each other")
	}
	for i, p := range st.Parts {
		set := 0
		for _, is := range []bool{p.Text != "", p.Thought != "", p.Call != nil} {
			if is {
				set++
			}
		}
		if set != 1 {
			return fmt.Errorf("parts[%d] must have exactly one of text, thought and call", i)
		}
	}
	return nil
}

// reply is the step's own answer; ok is false when the step leaves it to the stand-in.
func (st *Step) reply(turn int) (r reply, ok bool) {
	r = reply{finish: st.Finish, blocked: st.Blocked, usage: st.Usage}
	if st.Finish == "MALFORMED_FUNCTION_CALL" {
		r.finishMessage = "Malformed function call: " + RetrievalTool + "(query="
	}
	if r.finish == "" {
		r.finish = "STOP"
	}
	for i, p := range st.Parts {
		switch {
		case p.Call != nil:
			id := p.Call.ID
			if id == "" && !p.Call.NoID {
				id = fmt.Sprintf("standin-%d-%d", turn, i)
			}
			r.pieces = append(r.pieces, signed(part{FunctionCall: &functionCall{ID: id, Name: p.Call.Name, Args: p.Call.Args}}))
		case p.Thought != "":
			r.pieces = append(r.pieces, part{Text: p.Thought, Thought: true})
		default:
			r.pieces = append(r.pieces, part{Text: p.Text})
		}
	}
	return r, len(st.Parts) > 0 || st.Finish != "" || st.Blocked != ""
}

// session returns the session of a request, made when it is first seen.
func (s *Server) session(r *http.Request) *session {
	name := r.Header.Get("X-Standin-Session")
	if name == "" {
		name = apiKey(r)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	found := s.sessions[name]
	if found == nil {
		found = &session{}
		s.sessions[name] = found
	}
	return found
}
