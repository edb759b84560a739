package httpapi

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"net/http"
	"reflect"
	"strings"
	"time"
	"unicode"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humagin"
	"github.com/google/uuid"

	"github.com/tarento/copilot/gateway/internal/rbac"
	"github.com/tarento/copilot/pkg/access"
	"github.com/tarento/copilot/pkg/store"
)

// exportPage is how many messages of an export are in memory at once.
const exportPage = 50

type exportConversationInput struct {
	ConversationInput

	Format string `query:"format" enum:"json,markdown" default:"json" doc:"JSON with all fields, or Markdown to read"`
}

// ConversationExport is a conversation with all its messages.
type ConversationExport struct {
	Conversation

	Messages []Message `json:"messages" nullable:"false" doc:"All messages, oldest first"`
}

func (s *Server) conversationExportOperations() {
	export := conversation("export-conversation", http.MethodGet, "/{id}/export", "Download a conversation", http.StatusNotFound)
	export.long = true
	export.about = "The whole conversation with all its messages, oldest first, as a file."
	secured(s, access.ConversationsRead, export, s.exportConversation)
	registry, op := s.api.OpenAPI().Components.Schemas, s.api.OpenAPI().Paths[base+"/conversations/{id}/export"].Get
	op.Responses["200"] = &huma.Response{
		Description: "The file",
		Headers: map[string]*huma.Param{
			"Content-Disposition": {Description: "The name for the file", Schema: &huma.Schema{Type: huma.TypeString}},
		},
		Content: map[string]*huma.MediaType{
			mediaJSON:       {Schema: registry.Schema(reflect.TypeFor[ConversationExport](), true, "")},
			"text/markdown": {Schema: &huma.Schema{Type: huma.TypeString}},
		},
	}
}

func (s *Server) exportConversation(
	ctx context.Context, p *rbac.Principal, in *exportConversationInput,
) (*huma.StreamResponse, error) {
	row, err := view(ctx, s, p.Tenant, func(tx *store.Tx) (*store.Conversation, error) { return readable(tx, p, in.ID) })
	if err != nil {
		return nil, err
	}
	write, media, extension := exportJSON, mediaJSON, ".json"
	if in.Format == "markdown" {
		write, media, extension = exportMarkdown, "text/markdown; charset=utf-8", ".md"
	}
	return &huma.StreamResponse{Body: func(hc huma.Context) {
		c := humagin.Unwrap(hc)
		c.Header("Content-Type", media)
		name := map[string]string{"filename": fileNameOf(row.Title) + extension}
		c.Header("Content-Disposition", mime.FormatMediaType("attachment", name))
		out := bufio.NewWriter(&fileWriter{ResponseWriter: c.Writer, request: c, control: http.NewResponseController(c.Writer)})
		err := write(out, row, func(each func(*store.Message) error) error { return s.eachMessage(ctx, p, row.ID, each) })
		if err == nil {
			err = out.Flush()
		}
		if err != nil {
			requestOf(ctx).log.WarnContext(ctx, "export broke off", "error", err)
			// The client must not take a part for the whole: the connection ends without the end of the answer.
			panic(http.ErrAbortHandler)
		}
	}}, nil
}

// eachMessage reads the messages of a conversation in pages, oldest first.
func (s *Server) eachMessage(ctx context.Context, p *rbac.Principal, conversation uuid.UUID, each func(*store.Message) error) error {
	next := store.MessageFilter{Page: store.Page{Limit: exportPage, Sort: store.Sort{Ascending: true}}}
	for {
		var page store.Listed[store.Message]
		err := s.Store.View(ctx, p.Tenant, func(tx *store.Tx) (err error) {
			page, err = tx.Messages().List(conversation, next)
			return err
		})
		if err != nil {
			return err
		}
		for i := range page.Rows {
			if err := each(&page.Rows[i]); err != nil {
				return err
			}
		}
		if next.Page.After = page.Next; page.Next == nil {
			return nil
		}
	}
}

// messagesOf calls each with every message of a conversation, in order.
type messagesOf func(each func(*store.Message) error) error

// exportJSON writes a ConversationExport.
func exportJSON(w io.Writer, c *store.Conversation, messages messagesOf) error {
	text, err := json.Marshal(showConversation(c))
	if err != nil {
		return fmt.Errorf("httpapi: encode a conversation: %w", err)
	}
	// The messages become the last field of the object.
	if _, err := fmt.Fprintf(w, `%s,"messages":[`, text[:len(text)-1]); err != nil {
		return err
	}
	between := ""
	err = messages(func(m *store.Message) error {
		text, err := json.Marshal(showMessage(m))
		if err != nil {
			return fmt.Errorf("httpapi: encode a message: %w", err)
		}
		_, err = fmt.Fprintf(w, "%s%s", between, text)
		between = ","
		return err
	})
	if err != nil {
		return err
	}
	_, err = io.WriteString(w, "]}\n")
	return err
}

// exportMarkdown writes a conversation to be read. Every message is a quotation: its text stays as it is, and an open code block or
// comment in it ends with it.
func exportMarkdown(w io.Writer, c *store.Conversation, messages messagesOf) error {
	title := oneLine(c.Title)
	if title == "" {
		title = "Conversation"
	}
	if _, err := fmt.Fprintf(w, "# %s\n", title); err != nil {
		return err
	}
	if c.Description != "" {
		if _, err := fmt.Fprintf(w, "\n%s", quoted(c.Description)); err != nil {
			return err
		}
	}
	return messages(func(m *store.Message) error {
		_, err := fmt.Fprintf(w, "\n## %s, %s\n\n%s", m.Role, m.CreatedAt.UTC().Format(time.DateTime+" UTC"), quoted(m.Content))
		return err
	})
}

// quoted is a text as a quotation in Markdown.
func quoted(text string) string {
	text = strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(text)
	var b strings.Builder
	for line := range strings.SplitSeq(strings.TrimRight(text, "\n"), "\n") {
		b.WriteString(strings.TrimRight("> "+line, " ") + "\n")
	}
	return b.String()
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

// maxFileName bounds the name of a file, in characters.
const maxFileName = 80

// fileNameOf makes a name that every system takes: without separators, control characters and what some shells or file systems give a
// meaning to.
func fileNameOf(title string) string {
	name := []rune(oneLine(strings.Map(func(r rune) rune {
		if unicode.IsLetter(r) || unicode.IsDigit(r) || strings.ContainsRune("-_.,()", r) {
			return r
		}
		return ' '
	}, title)))
	if len(name) > maxFileName {
		name = name[:maxFileName]
	}
	if trimmed := strings.Trim(string(name), " ."); trimmed != "" {
		return trimmed
	}
	return "conversation"
}
