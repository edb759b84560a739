package tour

import (
	"fmt"
	"strings"

	"github.com/tarento/copilot/gateway/client"
)

// CheckError says what was not as it should be in a tour with [Config.Check].
type CheckError struct {
	// Mismatches holds one sentence for each thing that was not as expected, in the order of the tour. It is never empty.
	Mismatches []string
}

// Error lists all mismatches, one on each line.
func (e *CheckError) Error() string {
	return "the tour did not go as expected:\n  - " + strings.Join(e.Mismatches, "\n  - ")
}

// mismatches compares an answer with what the question expects. streamed is the text as it was put together from the deltas.
func (q question) mismatches(streamed string, got client.AgentRunResult) []string {
	var all []string
	say := func(format string, args ...any) {
		all = append(all, fmt.Sprintf("%q: %s", q.Text, fmt.Sprintf(format, args...)))
	}
	if strings.TrimSpace(streamed) != strings.TrimSpace(got.Content) {
		say("the streamed text %q is not the stored answer %q", streamed, got.Content)
	}
	cited, ok := q.find(got.Citations)
	switch {
	case len(got.Citations) == 0:
		say("the answer cites nothing, expected %s", q.source())
	case !ok:
		say("the answer cites %s, expected %s", citedSources(got.Citations), q.source())
	case !strings.Contains(got.Content, cited.Mark):
		say("the mark %s of the cited passage does not stand in the answer %q", cited.Mark, got.Content)
	}
	if !contains(got.Content, q.Phrase) && !contains(cited.Text, q.Phrase) {
		say("neither the answer nor the passage holds %q; the answer is %q", q.Phrase, got.Content)
	}
	return all
}

// find returns the citation of the expected passage.
func (q question) find(cited []client.Citation) (client.Citation, bool) {
	for _, c := range cited {
		if c.Title == q.Document && c.Page == q.Page && contains(c.Heading, q.Heading) {
			return c, true
		}
	}
	return client.Citation{}, false
}

// source names the expected passage for people.
func (q question) source() string { return source(q.Document, q.Page, q.Heading) }

// citedSources names all cited passages for people.
func citedSources(cited []client.Citation) string {
	names := make([]string, len(cited))
	for i, c := range cited {
		names[i] = source(c.Title, c.Page, c.Heading)
	}
	return strings.Join(names, "; ")
}

// source names a passage for people: its document and, as far as known, the page and the heading.
func source(title string, page int, heading string) string {
	if page > 0 {
		title += fmt.Sprintf(", page %d", page)
	}
	if heading != "" {
		title += fmt.Sprintf(", under %q", heading)
	}
	return title
}

// contains reports whether text holds part, whatever the letter case and however the words are spaced or broken into lines.
func contains(text, part string) bool {
	fold := func(s string) string { return strings.ToLower(strings.Join(strings.Fields(s), " ")) }
	return strings.Contains(fold(text), fold(part))
}
