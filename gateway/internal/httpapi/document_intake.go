package httpapi

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"net/http"
	"net/url"
	"path"
	"strings"

	"github.com/google/uuid"

	"github.com/tarento/copilot/gateway/internal/rbac"
	"github.com/tarento/copilot/pkg/access"
	"github.com/tarento/copilot/pkg/fault"
)

// NewDocument is a document to be, from a text or from what lies at an address: exactly one of content and url.
type NewDocument struct {
	Title        string     `json:"title,omitempty" maxLength:"500" example:"Travel policy" doc:"What it is called; the file's name when it is left out"`
	Content      string     `json:"content,omitempty" maxLength:"1000000" example:"# Travel policy" doc:"The text itself"`
	ContentType  string     `json:"content_type,omitempty" enum:"text/markdown,text/plain,text/html" default:"text/markdown" doc:"How the content is written"`
	URL          string     `json:"url,omitempty" maxLength:"2000" format:"uri" example:"https://example.com/policy.pdf" doc:"Where to fetch it from: a public http or https address"`
	Description  string     `json:"description,omitempty" maxLength:"5000" doc:"What it is about"`
	DocumentType string     `json:"document_type,omitempty" maxLength:"100" example:"policy" doc:"A kind of your own, to filter by"`
	Tags         []string   `json:"tags,omitempty" maxItems:"50" example:"[\"travel\"]" doc:"Words of your own, to filter by"`
	IsPublic     bool       `json:"is_public,omitempty" doc:"Visible to the whole organization, not only to the project"`
	ProjectID    *uuid.UUID `json:"project_id,omitempty" nullable:"true" format:"uuid" doc:"The project it belongs to"`
}

type createDocumentInput struct {
	Submitting

	Body NewDocument
}

func (s *Server) documentIntakeOperations() {
	op := document("create-document", http.MethodPost, "", "Make a document of a text or an address", http.StatusNotFound,
		http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType)
	op.accepts = true
	op.about = "The same as an upload, for clients that have a text or an address and no file."
	secured(s, access.DocumentsUpload, op, s.createDocument)
}

func (s *Server) createDocument(ctx context.Context, p *rbac.Principal, in *createDocumentInput) (*acceptedOutput, error) {
	n := in.Body
	if (n.Content == "") == (n.URL == "") {
		return nil, invalid("body", "expected either content or url")
	}
	if err := checkTags(n.Tags); err != nil {
		return nil, err
	}
	return s.take(ctx, p, in.Submitting, "POST /documents", n, func(u *uploaded) error {
		u.Title, u.Description, u.DocumentType = strings.TrimSpace(n.Title), n.Description, strings.TrimSpace(n.DocumentType)
		u.Tags, u.IsPublic, u.ProjectID = n.Tags, n.IsPublic, n.ProjectID
		if n.URL != "" {
			return s.fetch(ctx, n.URL, u)
		}
		u.MediaType = n.ContentType
		u.FileName = fileName(n.Title)
		if n.Title == "" {
			u.FileName = "document"
		}
		u.FileName += extensions[n.ContentType]
		return s.keep(ctx, strings.NewReader(n.Content), u)
	})
}

// extensions are the ends of names of files that were sent as text.
var extensions = map[string]string{typeMarkdown: ".md", typeText: ".txt", typeHTML: ".html"}

// fetch stores what lies at an address.
func (s *Server) fetch(ctx context.Context, address string, u *uploaded) error {
	resp, err := s.Egress.Get(ctx, address, strings.Join([]string{typePDF, typeDOCX, typeHTML, typeMarkdown, typeText, "*/*;q=0.1"}, ", "))
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	if at, err := url.Parse(address); err == nil {
		u.FileName = fileName(path.Base(at.Path))
	}
	u.MediaType = mediaType(u.FileName, resp.Header.Get("Content-Type"))
	if !readableType(u.MediaType) {
		return fault.New(fault.Unsupported, "document.unsupported",
			"What lies at this address is not read. PDF, DOCX, HTML, Markdown and plain text are.")
	}
	return s.keep(ctx, resp.Body, u)
}

// keep stores a file that arrives from somewhere.
func (s *Server) keep(ctx context.Context, from io.Reader, u *uploaded) error {
	hash := sha256.New()
	limited := &io.LimitedReader{R: from, N: s.cfg.MaxUpload + 1}
	n, err := s.Blobs.Put(ctx, u.key, io.TeeReader(limited, hash))
	switch {
	case err != nil:
		return err
	case limited.N == 0:
		return s.tooLarge()
	case n == 0:
		return fault.New(fault.Invalid, "document.empty", "The file is empty. Check it and upload it again.")
	}
	u.Size, u.Hash = n, hex.EncodeToString(hash.Sum(nil))
	return nil
}
