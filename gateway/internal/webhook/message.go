package webhook

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/tarento/copilot/events"
	"github.com/tarento/copilot/pkg/store"
)

// The types of events that webhooks can be told of, and the one that is sent on demand.
const (
	JobSucceeded      = "job.succeeded"
	JobFailed         = "job.failed"
	JobCancelled      = "job.cancelled"
	JobDead           = "job.dead" // failed because no attempt was left; job.failed is sent, too
	DocumentCompleted = "document.completed"
	DocumentFailed    = "document.failed"
	DocumentDeleted   = "document.deleted"
	Ping              = "ping"
)

// payload is the body of every message.
type payload struct {
	Type      string    `json:"type"`
	Timestamp time.Time `json:"timestamp"`
	Data      data      `json:"data"`
}

// data is what a message is about.
type data struct {
	// Job is the job that has ended, as the API shows it.
	Job any `json:"job,omitempty"`
	// ResultOmitted says that the job's result is too large for a message; the API has it.
	ResultOmitted bool `json:"result_omitted,omitempty"`
	// DocumentID is the document that an event of documents is about.
	DocumentID *uuid.UUID `json:"document_id,omitempty"`
	// WebhookID is the webhook that a ping is for.
	WebhookID *uuid.UUID `json:"webhook_id,omitempty"`
}

// maxResult is how large a job's result may be to be sent along.
const maxResult = 16 << 10

// typesOf are the types of events that the end of a job is.
func typesOf(end *store.JobEnd) []string {
	ingest := end.Job.Kind == events.KindDocumentIngest
	switch end.State.Status {
	case events.StatusSucceeded:
		if ingest {
			return []string{JobSucceeded, DocumentCompleted}
		}
		if end.Job.Kind == events.KindDocumentDelete {
			return []string{JobSucceeded, DocumentDeleted}
		}
		return []string{JobSucceeded}
	case events.StatusFailed:
		types := []string{JobFailed}
		if end.State.Dead {
			types = append(types, JobDead)
		}
		if ingest {
			types = append(types, DocumentFailed)
		}
		return types
	case events.StatusCancelled:
		return []string{JobCancelled}
	default:
		return nil
	}
}

// wants reports whether a webhook is to be told of an event of a job's kind. The kinds narrow events of jobs only.
func wants(s store.Subscriber, kind events.Kind, eventType string) bool {
	return slices.Contains(s.EventTypes, eventType) &&
		(len(s.JobKinds) == 0 || !strings.HasPrefix(eventType, "job.") || slices.Contains(s.JobKinds, string(kind)))
}

// messages are what the end of a job has to say, to whom.
func (s *Service) messages(end *store.JobEnd, who []store.Subscriber) (all []store.WebhookMessage, err error) {
	for _, eventType := range typesOf(end) {
		var body json.RawMessage
		for _, subscriber := range who {
			if !end.Reaches(subscriber) || !wants(subscriber, end.Job.Kind, eventType) {
				continue
			}
			if body == nil {
				if body, err = s.payloadOf(end, eventType); err != nil {
					return nil, err
				}
			}
			all = append(all, store.WebhookMessage{
				Webhook: subscriber.ID, ID: messageID(end, eventType), Type: eventType, Payload: body,
			})
		}
	}
	return all, nil
}

// messageID follows from the event, so that all who are told of it get the same.
func messageID(end *store.JobEnd, eventType string) string {
	return "msg_" + uuid.NewSHA1(end.Job.ID, []byte(strconv.FormatInt(end.Seq, 10)+"."+eventType)).String()
}

func (s *Service) payloadOf(end *store.JobEnd, eventType string) (json.RawMessage, error) {
	job := *end.Job
	// The job as the event found it: it may have been tried again since.
	job.Status, job.WaitingOn, job.Dead = end.State.Status, events.WaitingNothing, end.State.Dead
	if f := end.State.Error; f != nil {
		job.ErrorCode, job.ErrorMessage = &f.Code, &f.Message
	}
	d := data{ResultOmitted: len(job.Result) > maxResult}
	if d.ResultOmitted {
		job.Result = nil
	}
	if strings.HasPrefix(eventType, "document.") {
		d.DocumentID = job.DocumentID
	}
	d.Job = s.showJob(&job)
	return encode(payload{eventType, events.Time(end.Time), d})
}

func encode(p payload) (json.RawMessage, error) {
	body, err := json.Marshal(p)
	if err != nil {
		return nil, fmt.Errorf("webhook: encode a message: %w", err)
	}
	return body, nil
}
