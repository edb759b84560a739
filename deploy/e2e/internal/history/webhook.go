package history

import (
	"fmt"
	"slices"
	"strings"

	"github.com/tarento/copilot/events"
)

// Hook is a webhook, with what its receiver got. Make it with NewHook. It is not safe for concurrent use.
type Hook struct {
	Name   string
	Tenant string
	// Types is what it is told of, Kinds of which kinds of jobs; empty is all. Kinds narrow events of jobs only.
	Types []string
	Kinds []events.Kind

	messages map[string]*message // by their ids
	ids      map[string][]string // by job and type
	broken   []Violation
	checked  map[string]bool // jobs
	tally    HookTally
}

// message is what came under one id.
type message struct {
	job, is string
	body    uint64
	taken   bool
}

// HookTally counts what a receiver got.
type HookTally struct {
	// Messages counts ids, Came how often one came, Again those that came although they had been taken before.
	Messages int `json:"messages"`
	Came     int `json:"came"`
	Again    int `json:"again"`
}

// Add adds another tally.
func (t *HookTally) Add(o HookTally) {
	t.Messages += o.Messages
	t.Came += o.Came
	t.Again += o.Again
}

// NewHook returns a webhook whose receiver got nothing yet.
func NewHook(name, tenant string, types []string, kinds []events.Kind) *Hook {
	return &Hook{
		Name: name, Tenant: tenant, Types: types, Kinds: kinds,
		messages: map[string]*message{}, ids: map[string][]string{}, checked: map[string]bool{},
	}
}

// Arrival is one message as it came.
type Arrival struct {
	// ID is the webhook-id header.
	ID string
	// Type and Job are what its body says.
	Type, Job string
	Body      []byte
	// Signed says that its signature is that of the webhook's secret.
	Signed bool
	// Taken says that the receiver answered that it has it.
	Taken bool
}

// Add notes an arrival.
func (h *Hook) Add(a Arrival) {
	h.tally.Came++
	if !a.Signed {
		h.brokenf(a.Job, "%s %s is not signed", a.Type, a.ID)
	}
	m, body := h.messages[a.ID], digest(string(a.Body))
	if m == nil {
		m = &message{job: a.Job, is: a.Type, body: body}
		h.messages[a.ID] = m
		h.tally.Messages++
		h.ids[a.Job+" "+a.Type] = append(h.ids[a.Job+" "+a.Type], a.ID)
	}
	if m.job != a.Job || m.is != a.Type || m.body != body {
		h.brokenf(a.Job, "%s comes a second time, with another body", a.ID)
	}
	if m.taken {
		h.tally.Again++
	}
	m.taken = m.taken || a.Taken
}

func (h *Hook) brokenf(job, format string, args ...any) {
	h.broken = append(h.broken, violationOf(Told, job, h.Name+": "+format, args...))
}

// ends are the types of what a webhook is told of the end of a job.
func ends(j *Job) (types []string) {
	if j.Record == nil || j.Record.Part || j.Kind == events.KindWebhookDeliver {
		return nil
	}
	document := map[events.Status]string{}
	switch j.Kind {
	case events.KindDocumentIngest:
		document = map[events.Status]string{events.StatusSucceeded: "document.completed", events.StatusFailed: "document.failed"}
	case events.KindDocumentDelete:
		document = map[events.Status]string{events.StatusSucceeded: "document.deleted"}
	default:
	}
	if j.Record.Status.Terminal() {
		types = append(types, "job."+string(j.Record.Status))
	}
	if j.Record.Status == events.StatusFailed && j.died() {
		types = append(types, "job.dead")
	}
	if is := document[j.Record.Status]; is != "" {
		types = append(types, is)
	}
	return types
}

// Check holds what came about a job against how it ended.
func (h *Hook) Check(j *Job) {
	h.checked[j.ID] = true
	told := ends(j)
	if j.Record != nil && j.Record.Tenant != h.Tenant {
		told = nil
	}
	told = slices.DeleteFunc(told, func(is string) bool {
		narrowed := len(h.Kinds) > 0 && strings.HasPrefix(is, "job.") && !slices.Contains(h.Kinds, j.Kind)
		return narrowed || !slices.Contains(h.Types, is)
	})
	for _, is := range told {
		ids := h.ids[j.ID+" "+is]
		switch {
		case len(ids) == 0:
			h.brokenf(j.ID, "%s never came", is)
		case len(ids) > 1:
			h.brokenf(j.ID, "%s came under %d ids: %q", is, len(ids), ids)
		case !h.messages[ids[0]].taken:
			h.brokenf(j.ID, "%s came, and did not come again until it was taken", is)
		}
	}
	for _, is := range h.Types {
		if ids := h.ids[j.ID+" "+is]; len(ids) > 0 && !slices.Contains(told, is) {
			h.brokenf(j.ID, "%s came, and is nothing that it is to be told", is)
		}
	}
}

// Violations returns what Add and Check have found, and what came about jobs that were never checked: there are none such.
func (h *Hook) Violations() ([]Violation, HookTally) {
	all := slices.Clone(h.broken)
	for id, m := range h.messages {
		switch {
		case !h.checked[m.job]:
			all = append(all, violationOf(Told, m.job, "%s: %s %s is about a job that the record does not know", h.Name, m.is, id))
		case !slices.Contains(h.Types, m.is):
			all = append(all, violationOf(Told, m.job, "%s: %s %s is nothing that it has asked for", h.Name, m.is, id))
		}
	}
	slices.SortStableFunc(all, func(a, b Violation) int { return strings.Compare(a.Job+a.What, b.Job+b.What) })
	return all, h.tally
}

// String tells how much came.
func (t *HookTally) String() string {
	return fmt.Sprintf("%d messages, %d times delivered, %d of them again after they had been taken", t.Messages, t.Came, t.Again)
}
