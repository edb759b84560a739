package e2e_test

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tarento/copilot/events"
)

const docxMedia = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"

// bundled reads one of the documents that the tour brings along.
func bundled(t *testing.T, name, media string) file {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("..", "devstack", "tour", "documents", name))
	if err != nil {
		t.Fatal(err)
	}
	return file{name: name, media: media, data: data}
}

func manual(t *testing.T) file {
	t.Helper()
	return bundled(t, "mnesia-4.21.3.pdf", "application/pdf")
}

func policy(t *testing.T) file {
	t.Helper()
	return bundled(t, "acme-travel-policy.docx", docxMedia)
}

func runbook(t *testing.T) file {
	t.Helper()
	return bundled(t, "acme-oncall-runbook.md", "text/markdown")
}

func TestDocumentsAreIngestedSearchedAndCited(t *testing.T) {
	t.Parallel()
	s := newStack(t, setup{})
	c := s.login(adminAcme)

	files := []file{manual(t), policy(t), runbook(t)}
	followers := make([]*follower, len(files))
	jobs := make([]job, len(files))
	for i, f := range files {
		jobs[i] = c.upload(f)
		followers[i] = c.follow(jobs[i].ID)
	}
	for i, f := range files {
		seen := followers[i].all(time.Minute)
		mustTell(t, seen)
		states := decode[events.JobState](t, seen)
		if end := states[len(states)-1]; end.Status != events.StatusSucceeded || end.Attempt != 1 {
			t.Fatalf("%s ended as %+v", f.name, end)
		}
		for _, p := range decode[events.JobProgress](t, seen) {
			if p.Done < 0 || p.Total > 0 && p.Done > p.Total {
				t.Errorf("%s: progress beyond its end: %+v", f.name, p)
			}
		}
		if d := c.document(jobs[i].DocumentID); d.Status != "completed" || d.Error != "" {
			t.Errorf("%s is %+v, want it completed", f.name, d)
		}
	}

	for _, q := range []struct {
		question, title, phrase string
		page                    int
	}{
		{
			question: "After how many records written in the log, or how many minutes, does Mnesia dump the log file by default?",
			title:    files[0].name, page: 54, phrase: "1000 records have been written",
		},
		{question: "What is the nightly hotel limit in Zurich?", title: files[1].name, phrase: "Zurich | Switzerland | CHF 310"},
		{
			question: "When is the secondary on-call engineer paged automatically?",
			title:    files[2].name, phrase: "within 7 minutes",
		},
	} {
		t.Run("a question about "+q.title, func(t *testing.T) {
			c := s.login(adminAcme)
			c.t = t
			if hits := c.search(q.question); len(hits) == 0 || !found(hits, q.title, q.phrase) {
				t.Errorf("the search finds %+v, want a passage of %s with %q", hits, q.title, q.phrase)
			}
			conversation := c.converse(agentAcme)
			asked := c.ask(conversation, q.question)
			told := mustTell(t, c.follow(asked.ID).all(time.Minute))
			result := runResult(t, c.job(asked.ID))
			if strings.TrimSpace(told.text) != result.Content {
				t.Errorf("streamed %q, stored %q", told.text, result.Content)
			}
			cited := false
			for _, citation := range result.Citations {
				cited = cited || citation.Title == q.title && strings.Contains(result.Content, citation.Mark) &&
					(q.page == 0 || citation.Page == q.page) && citation.Heading != "" && strings.Contains(flat(citation.Text), q.phrase)
			}
			if !cited {
				t.Errorf("the answer %q cites %+v, want %s, page %d, %q", result.Content, result.Citations, q.title, q.page, q.phrase)
			}
			messages := c.messages(conversation)
			if len(messages) != 2 || messages[0].Role != "user" || messages[0].Content != q.question {
				t.Fatalf("the conversation holds %+v, want the question and the answer", messages)
			}
			stored := messages[1]
			if stored.Role != "assistant" || stored.Content != result.Content || stored.ID != result.MessageID ||
				stored.Metadata.JobID != asked.ID || len(stored.Metadata.Citations) != len(result.Citations) {
				t.Errorf("the stored answer is %+v, want that of job %s", stored, asked.ID)
			}
		})
	}

	t.Run("a colleague finds the documents, another organization does not", func(t *testing.T) {
		colleague, stranger := s.login(memberAcme), s.login(adminOther)
		colleague.t, stranger.t = t, t
		if hits := colleague.search("nightly hotel limit in Zurich"); !found(hits, files[1].name, "310") {
			t.Errorf("the colleague finds %+v", hits)
		}
		if hits := stranger.search("nightly hotel limit in Zurich"); len(hits) != 0 {
			t.Errorf("the stranger finds %+v", hits)
		}
		var all page[document]
		stranger.get("/api/v1/documents").wants(http.StatusOK).into(&all)
		if len(all.Data) != 0 {
			t.Errorf("the stranger lists %+v", all.Data)
		}
	})
	s.db.verify()
}

func found(hits []events.SearchHit, title, phrase string) bool {
	for _, h := range hits {
		if h.Title == title && strings.Contains(flat(h.Text), phrase) {
			return true
		}
	}
	return false
}

// flat makes one line of a text.
func flat(text string) string { return strings.Join(strings.Fields(text), " ") }
