package httpapi

import (
	"context"
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"net/textproto"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humagin"
	"github.com/google/uuid"

	"github.com/tarento/copilot/gateway/internal/rbac"
	"github.com/tarento/copilot/pkg/access"
	"github.com/tarento/copilot/pkg/fault"
	"github.com/tarento/copilot/pkg/store"
)

const (
	// uploadIdle is how long an upload may stand still.
	uploadIdle = 30 * time.Second
	// formRoom is what a form may hold beside the file.
	formRoom = 1 << 20
	// maxField bounds one field of the form, maxParts how many there may be.
	maxField = 64 << 10
	maxParts = 32
)

// uploadInput takes the request itself, because the file must not pass through memory.
type uploadInput struct {
	Submitting

	request *http.Request
}

// Resolve implements huma.Resolver.
func (in *uploadInput) Resolve(ctx huma.Context) []error {
	in.request = humagin.Unwrap(ctx).Request
	return nil
}

func (s *Server) uploadOperations() {
	secured(s, access.DocumentsUpload, operation{
		id: "upload-document", method: http.MethodPost, path: "/documents/upload", tag: tagDocuments, accepts: true, long: true,
		summary: "Upload a document",
		about: "PDF, DOCX, HTML, Markdown or plain text, at most " + size(s.cfg.MaxUpload) + ". The job reads it, cuts it into " +
			"passages and indexes them; then search and agents find it.",
		errors: []int{
			http.StatusBadRequest, http.StatusNotFound, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType,
		},
	}, s.upload)
	text := func(about string) *huma.Schema { return &huma.Schema{Type: huma.TypeString, Description: about} }
	s.api.OpenAPI().Paths[base+"/documents/upload"].Post.RequestBody = &huma.RequestBody{
		Required: true,
		Content: map[string]*huma.MediaType{"multipart/form-data": {Schema: &huma.Schema{
			Type: huma.TypeObject, Required: []string{"file"},
			Properties: map[string]*huma.Schema{
				"file":          {Type: huma.TypeString, Format: "binary", Description: "The file"},
				"title":         text("The file's name when it is left out"),
				"description":   text("What it is about"),
				"document_type": text("A kind of your own, to filter by"),
				"tags": {
					Type: huma.TypeString, Description: "Separated by commas, or several fields", Examples: []any{"travel,policy"},
				},
				"is_public":  {Type: huma.TypeBoolean, Description: "Visible to the whole organization, not only to the project"},
				"project_id": {Type: huma.TypeString, Format: "uuid", Description: "The project it belongs to"},
			},
		}}},
	}
}

// uploaded is what came with the form. It is also what tells two uploads apart.
type uploaded struct {
	Title, Description, DocumentType string
	Tags                             []string
	IsPublic                         bool
	ProjectID                        *uuid.UUID
	FileName, MediaType, Hash        string
	Size                             int64

	id  uuid.UUID
	key string
}

func (s *Server) upload(ctx context.Context, p *rbac.Principal, in *uploadInput) (*acceptedOutput, error) {
	return s.take(ctx, p, in.Submitting, "POST /documents/upload", nil, func(u *uploaded) error { return s.receive(ctx, in.request, u) })
}

// take makes a document of a file, which fill puts into the blob store, and submits the job that ingests it. The input tells two
// requests apart; nil leaves that to what was stored.
func (s *Server) take(
	ctx context.Context, p *rbac.Principal, h Submitting, operation string, input any, fill func(*uploaded) error,
) (_ *acceptedOutput, err error) {
	id, err := uuid.NewV7()
	if err != nil {
		return nil, err
	}
	u := &uploaded{id: id, key: p.Tenant.String() + "/documents/" + id.String()}
	taken := false
	defer func() {
		if !taken {
			s.discard(ctx, u.key)
		}
	}()
	if err := fill(u); err != nil {
		return nil, err
	}
	if err := u.check(); err != nil {
		return nil, err
	}
	if input == nil {
		input = u
	}
	once, err := h.once(operation, input)
	if err != nil {
		return nil, err
	}
	sub, err := s.Jobs.SubmitWith(ctx, p, once, u.submitter(p))
	if err != nil {
		taken = s.documentMayExist(ctx, p, u.id)
		return nil, err
	}
	taken = !sub.Replayed
	return s.accept(ctx, p, sub, h.Prefer)
}

// documentMayExist finds out what became of a transaction that failed: when the connection breaks off during the commit, or the
// client leaves then, it may have gone through. A file too many is better than a document without one.
func (s *Server) documentMayExist(ctx context.Context, p *rbac.Principal, id uuid.UUID) bool {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	err := s.Store.InTenant(ctx, p.Tenant, func(tx *store.Tx) error {
		_, err := tx.Documents().Get(id)
		return err
	})
	return !fault.Is(err, fault.NotFound)
}

// discard removes a file that no document came of. The request may be over already.
func (s *Server) discard(ctx context.Context, key string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if err := s.Blobs.Delete(ctx, key); err != nil {
		requestOf(ctx).log.WarnContext(ctx, "file without a document left behind", "key", key, "error", err)
	}
}

// submitter writes the document and builds the job that ingests it.
func (u *uploaded) submitter(p *rbac.Principal) func(*store.Tx) (store.NewJob, error) {
	return func(tx *store.Tx) (store.NewJob, error) {
		if err := usesProject(tx, p, u.ProjectID); err != nil {
			return store.NewJob{}, err
		}
		d := &store.Document{
			ID: u.id, ProjectID: u.ProjectID, CreatedBy: &p.UserID, Title: u.Title, Description: u.Description,
			DocumentType: u.DocumentType, FileName: u.FileName, FilePath: u.key, FileSize: u.Size, MIMEType: u.MediaType,
			ContentHash: u.Hash, IsPublic: u.IsPublic, Tags: u.Tags,
		}
		if err := tx.Documents().Create(d); err != nil {
			return store.NewJob{}, err
		}
		return ingest(d), nil
	}
}

// receive reads the form. The file goes to the blob store as it arrives.
func (s *Server) receive(ctx context.Context, r *http.Request, u *uploaded) error {
	if r.ContentLength > s.cfg.MaxUpload+formRoom {
		return s.tooLarge()
	}
	if body, ok := r.Body.(*pacedBody); ok {
		body.idle = uploadIdle
	}
	r.Body = http.MaxBytesReader(nil, r.Body, s.cfg.MaxUpload+formRoom)
	form, err := r.MultipartReader()
	if err != nil {
		return fault.Wrap(err, fault.Unsupported, "request.unsupported_media_type",
			"This operation takes multipart/form-data with the file in the field \"file\".")
	}
	for range maxParts {
		part, err := form.NextPart()
		// A form that breaks off between two parts gives a wrapped io.EOF.
		if err == io.EOF { //nolint:errorlint // only the closing boundary gives io.EOF itself
			// What may follow the boundary is read, so that the server can notice when the client leaves.
			_, _ = io.Copy(io.Discard, io.LimitReader(r.Body, maxField))
			return nil
		}
		if err == nil {
			err = s.receivePart(ctx, part, u)
		}
		if err != nil {
			return s.readFailure(err)
		}
	}
	return fault.New(fault.Malformed, "upload.too_many_fields", "The form has more than %d fields.", maxParts)
}

// readFailure tells what was wrong with reading the form.
func (s *Server) readFailure(err error) error {
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return s.tooLarge()
	}
	if _, ok := errors.AsType[*fault.Error](err); ok {
		return err
	}
	if _, ok := errors.AsType[*Problem](err); ok {
		return err
	}
	_, badHeader := errors.AsType[textproto.ProtocolError](err)
	if badHeader || errors.Is(err, io.ErrUnexpectedEOF) || strings.Contains(err.Error(), "multipart: ") {
		return fault.Wrap(err, fault.Malformed, "upload.malformed", "The form breaks off or cannot be read. Send it again, whole.")
	}
	return err
}

func (s *Server) tooLarge() error {
	return fault.New(fault.TooLarge, "document.too_large",
		"The file is larger than the %s that are allowed. Split it.", size(s.cfg.MaxUpload))
}

func (s *Server) receivePart(ctx context.Context, part *multipart.Part, u *uploaded) error {
	if part.FormName() == "file" {
		return s.receiveFile(ctx, part, u)
	}
	text, err := io.ReadAll(io.LimitReader(part, maxField+1))
	if err != nil {
		return err
	}
	if len(text) > maxField || !utf8.Valid(text) {
		return invalid("body."+clip(part.FormName(), 50), "expected text of at most "+size(maxField))
	}
	return u.set(part.FormName(), string(text))
}

func (s *Server) receiveFile(ctx context.Context, part *multipart.Part, u *uploaded) error {
	if u.FileName != "" {
		return invalid("body.file", "expected one file")
	}
	u.FileName = fileName(part.FileName())
	u.MediaType = mediaType(u.FileName, part.Header.Get("Content-Type"))
	if !readableType(u.MediaType) {
		return fault.New(fault.Unsupported, "document.unsupported",
			"Files of this type are not read. Upload PDF, DOCX, HTML, Markdown or plain text.")
	}
	return s.keep(ctx, part, u)
}

// fileName is the last element of what the client calls the file.
func fileName(sent string) string {
	name := path.Base(strings.ReplaceAll(strings.ToValidUTF8(sent, "_"), `\`, "/"))
	name = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return -1
		}
		return r
	}, name)
	if name == "." || name == "/" || name == "" {
		return "unnamed"
	}
	for len(name) > 255 {
		_, last := utf8.DecodeLastRuneInString(name)
		name = name[:len(name)-last]
	}
	return name
}

// The media types of files that are read.
const (
	typePDF      = "application/pdf"
	typeDOCX     = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
	typeHTML     = "text/html"
	typeXHTML    = "application/xhtml+xml"
	typeMarkdown = "text/markdown"
	typeText     = "text/plain"
)

// mediaType is what a file is called: what was declared, unless that says nothing and the name says more. Many clients know
// no type for Markdown and send application/octet-stream, or text/plain. A declared charset is kept with the type.
func mediaType(name, declared string) string {
	kind, params, _ := mime.ParseMediaType(declared)
	if !readableType(kind) || kind == typeText {
		if named := typeOfName(name); named != "" {
			kind = named
		}
	}
	charset := params["charset"]
	if charset == "" || len(charset) > 40 {
		return kind
	}
	return mime.FormatMediaType(kind, map[string]string{"charset": charset})
}

// typeOfName is the media type of files with such a name, empty when they are not read or it does not tell.
func typeOfName(name string) string {
	switch strings.ToLower(path.Ext(name)) {
	case ".pdf":
		return typePDF
	case ".docx":
		return typeDOCX
	case ".html", ".htm":
		return typeHTML
	case ".xhtml":
		return typeXHTML
	case ".md", ".markdown", ".mdown", ".mkd":
		return typeMarkdown
	case ".txt", ".text", ".log", ".rst":
		return typeText
	default:
		return ""
	}
}

// readableType is a cheap check that saves clients from waiting for a refusal; the parser looks at the bytes.
func readableType(mediaType string) bool {
	kind, _, _ := strings.Cut(mediaType, ";")
	switch kind {
	case typePDF, "application/x-pdf", typeDOCX, typeHTML, typeXHTML, typeMarkdown, "text/x-markdown", typeText:
		return true
	default:
		return false
	}
}

// set takes one field of the form. Fields that are not known are an error, because they are typing mistakes.
func (u *uploaded) set(name, value string) error {
	switch name {
	case "title":
		u.Title = strings.TrimSpace(value)
	case "description":
		u.Description = value
	case "document_type":
		u.DocumentType = strings.TrimSpace(value)
	case "tags":
		for tag := range strings.SplitSeq(value, ",") {
			if tag = strings.TrimSpace(tag); tag != "" && !slices.Contains(u.Tags, tag) {
				u.Tags = append(u.Tags, tag)
			}
		}
	case "is_public":
		on, err := strconv.ParseBool(value)
		if err != nil {
			return invalid("body.is_public", "expected true or false")
		}
		u.IsPublic = on
	case "project_id":
		if value == "" {
			return nil
		}
		id, err := uuid.Parse(value)
		if err != nil {
			return invalid("body.project_id", "expected the id of a project")
		}
		u.ProjectID = &id
	default:
		return invalid("body."+clip(name, 50), "unexpected field")
	}
	return nil
}

// check completes the form and refuses what does not fit.
func (u *uploaded) check() error {
	if u.FileName == "" {
		return fault.New(fault.Malformed, "upload.no_file", "The form has no file. Send it in the field \"file\".")
	}
	if u.Title == "" {
		u.Title = u.FileName
	}
	switch {
	case utf8.RuneCountInString(u.Title) > 500:
		return invalid("body.title", "expected at most 500 characters")
	case utf8.RuneCountInString(u.Description) > 5000:
		return invalid("body.description", "expected at most 5000 characters")
	case len(u.DocumentType) > 100:
		return invalid("body.document_type", "expected at most 100 characters")
	}
	return checkTags(u.Tags)
}
