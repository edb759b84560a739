package httpapi

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/tarento/copilot/events"
	"github.com/tarento/copilot/pkg/fault"
)

// What the messages of a socket are for, as their op says. Clients ask.
const (
	opAuthenticate = "authenticate"
	opSubscribe    = "subscribe"
	opUnsubscribe  = "unsubscribe"
	opPing         = "ping"
)

// The gateway answers.
const (
	opAuthenticated = "authenticated"
	opSubscribed    = "subscribed"
	opEvent         = "event"
	opPosition      = "position"
	opEnded         = "ended"
	opPong          = "pong"
	opError         = "error"
)

// authenticateMessage says who the client is, or that it still is, with a new token.
type authenticateMessage struct {
	Op    string `json:"op"`
	Token string `json:"token" minLength:"1" maxLength:"8192" doc:"An access token or an API key"`
}

// subscribeMessage asks for the events of a job or for the feed.
type subscribeMessage struct {
	Op          string      `json:"op"`
	ID          string      `json:"id" minLength:"1" maxLength:"64" doc:"What the client calls the subscription"`
	JobID       string      `json:"job_id,omitempty" format:"uuid" doc:"The job to follow"`
	Feed        *feedFilter `json:"feed,omitempty" nullable:"false" doc:"Which events of all jobs to follow, instead"`
	LastEventID string      `json:"last_event_id,omitempty" maxLength:"128" doc:"The event_id that came last; the subscription goes on after it"`
}

// feedFilter is what the query of the feed is elsewhere.
type feedFilter struct {
	From  string        `json:"from,omitempty" enum:"beginning,now" doc:"Where a client without an id starts; now if nothing is said"`
	Since *time.Time    `json:"since,omitempty" nullable:"false" format:"date-time" doc:"Starts with what was written then, instead"`
	Kinds []events.Kind `json:"kinds,omitempty" nullable:"false" maxItems:"5" enum:"agent.run,document.ingest,document.delete,document.sync,embedding.create" doc:"Only events of jobs of these kinds"`
	Types []events.Type `json:"types,omitempty" nullable:"false" maxItems:"6" enum:"job.state,job.progress,step.started,step.finished,text.delta,usage" doc:"Only these events"`
}

// unsubscribeMessage ends a subscription.
type unsubscribeMessage struct {
	Op string `json:"op"`
	ID string `json:"id" minLength:"1" maxLength:"64" doc:"What the client calls the subscription"`
}

// pingMessage asks for a sign of life, for clients that cannot send WebSocket's own pings.
type pingMessage struct {
	Op string `json:"op"`
	ID string `json:"id,omitempty" maxLength:"64" doc:"Comes back with the answer"`
}

// socketAnswer is what the gateway says, beside events.
type socketAnswer struct {
	Op string `json:"op"`
	// ID is the subscription that it is about, or that of the message that it answers.
	ID string `json:"id,omitempty"`
	// EventID is where the subscription stands.
	EventID string `json:"event_id,omitempty"`
	// Restarted says that a feed begins a little before its last event.
	Restarted bool `json:"restarted,omitempty"`
	// ExpiresAt is when the connection ends unless the client authenticates again.
	ExpiresAt time.Time `json:"expires_at,omitzero"`
	// Reason is why a subscription has ended.
	Reason string   `json:"reason,omitempty"`
	Error  *Problem `json:"error,omitempty"`
	// RetryAfter is when to try again what was refused, in seconds.
	RetryAfter int `json:"retry_after,omitempty"`
}

// socketMessages reads what clients send over sockets. It is safe for concurrent use.
type socketMessages struct {
	registry huma.Registry
	forms    map[string]*huma.Schema // by op
}

func newSocketMessages() *socketMessages {
	m := &socketMessages{registry: huma.NewMapRegistry("#/", huma.DefaultSchemaNamer), forms: map[string]*huma.Schema{}}
	for op, form := range map[string]reflect.Type{
		opAuthenticate: reflect.TypeFor[authenticateMessage](), opSubscribe: reflect.TypeFor[subscribeMessage](),
		opUnsubscribe: reflect.TypeFor[unsubscribeMessage](), opPing: reflect.TypeFor[pingMessage](),
	} {
		m.forms[op] = huma.SchemaFromType(m.registry, form)
	}
	return m
}

// ops are what messages can be for, in words.
func (m *socketMessages) ops() string { return strings.Join(slices.Sorted(maps.Keys(m.forms)), ", ") }

// read returns a message: a pointer to one of the structs above. The id is the one that the message has, if that much can be read of
// one that is refused. Refusals are problems.
func (m *socketMessages) read(text []byte) (message any, id string, err error) {
	if p := checkJSON(text); p != nil {
		p.Detail = "The message cannot be read as plain JSON; errors says where."
		for i := range p.Errors {
			p.Errors[i].Location = socketLocation + strings.TrimPrefix(p.Errors[i].Location, "body")
		}
		return nil, "", p
	}
	var parts map[string]any
	if json.Unmarshal(text, &parts) != nil || parts == nil {
		return nil, "", invalid(socketLocation, "expected an object")
	}
	if given, ok := parts["id"].(string); ok && len(given) <= maxSocketID {
		id = given
	}
	op, _ := parts["op"].(string)
	form, known := m.forms[op]
	if !known {
		return nil, id, invalid(socketLocation+".op", "expected one of "+m.ops())
	}
	found, path := &huma.ValidateResult{}, huma.NewPathBuffer(nil, 0)
	path.Push(socketLocation)
	huma.Validate(m.registry, form, path, huma.ModeWriteToServer, parts, found)
	if len(found.Errors) > 0 {
		return nil, id, refused(found.Errors)
	}
	if message, err = decodeMessage(op, text); err != nil {
		// What the schema lets pass and Go does not, such as a year of five digits.
		return nil, id, newProblem(fault.Invalid, codeInvalid, "The message has a value that cannot be read.")
	}
	return message, id, nil
}

const (
	// socketLocation is where errors in messages stand.
	socketLocation = "message"
	// maxSocketID is how long the id of a subscription may be, in bytes, if it is to come back with an error.
	maxSocketID = 4 * 64
)

// refused is the problem of what did not fit a schema.
func refused(errs []error) *Problem {
	p := newProblem(fault.Invalid, codeInvalid, "The message does not fit; errors says where.")
	for _, err := range errs {
		if d, ok := err.(huma.ErrorDetailer); ok {
			p.Errors = append(p.Errors, fieldError(d.ErrorDetail()))
		}
	}
	return p
}

func decodeMessage(op string, text []byte) (any, error) {
	var message any
	switch op {
	case opAuthenticate:
		message = new(authenticateMessage)
	case opSubscribe:
		message = new(subscribeMessage)
	case opUnsubscribe:
		message = new(unsubscribeMessage)
	default:
		message = new(pingMessage)
	}
	if err := json.Unmarshal(text, message); err != nil {
		return nil, fmt.Errorf("httpapi: decode a message: %w", err)
	}
	return message, nil
}

// eventMessages writes the events of one subscription, and where it stands.
type eventMessages struct{ begin, stands []byte }

func newEventMessages(id string) eventMessages {
	quoted, err := json.Marshal(id)
	if err != nil {
		quoted = []byte(`""`) // a text can always be encoded
	}
	begin := func(op string) []byte {
		return append(append([]byte(`{"op":"`+op+`","id":`), quoted...), `,"event_id":"`...)
	}
	return eventMessages{begin(opEvent), begin(opPosition)}
}

// position says behind which event the subscription stands, of those that the client was not to see.
func (m eventMessages) position(id string) []byte {
	return append(append(slices.Clone(m.stands), id...), `"}`...)
}

// event writes one event as it stands in the log: data is JSON already, and neither ids nor types need escapes.
func (m eventMessages) event(id string, is events.Type, data []byte) []byte {
	if len(data) == 0 {
		data = []byte("null")
	}
	b := make([]byte, 0, len(m.begin)+len(id)+len(is)+len(data)+24)
	b = append(b, m.begin...)
	b = append(b, id...)
	b = append(b, `","type":"`...)
	b = append(b, is...)
	b = append(b, `","data":`...)
	b = append(b, data...)
	return append(b, '}')
}

// problemAnswer tells of a refusal or a failure.
func problemAnswer(op, id, reason string, p *Problem) socketAnswer {
	a := socketAnswer{Op: op, ID: id, Reason: reason, Error: p}
	if after, err := strconv.Atoi(p.header.Get("Retry-After")); err == nil {
		a.RetryAfter = after
	}
	return a
}
