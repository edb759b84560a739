package httpapi

import (
	"context"
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humagin"
	"github.com/gin-gonic/gin"
	"github.com/google/uuid"

	"github.com/tarento/copilot/gateway/internal/rbac"
	"github.com/tarento/copilot/pkg/access"
	"github.com/tarento/copilot/pkg/fault"
	"github.com/tarento/copilot/pkg/store"
)

// Chunk is a passage of a document, the unit of search.
type Chunk struct {
	ID         uuid.UUID `json:"id" format:"uuid" doc:"The passage's id, as hits of a search name it"`
	DocumentID uuid.UUID `json:"document_id" format:"uuid" doc:"The document it stands in"`
	ChunkIndex int       `json:"chunk_index" example:"0" doc:"Its place in the document, from 0"`
	Text       string    `json:"text" doc:"What it says"`
	Tokens     int       `json:"tokens" example:"212" doc:"How long it is, in tokens, roughly"`
	Location   Location  `json:"location" doc:"Where it stands"`
	IsEmbedded bool      `json:"is_embedded" doc:"Whether its vector is stored"`
}

func showChunk(c *store.Chunk) Chunk {
	return Chunk{
		ID: c.ID, DocumentID: c.DocumentID, ChunkIndex: c.ChunkIndex, Text: c.Text, Tokens: c.Tokens, IsEmbedded: c.EmbeddedAt != nil,
		Location: Location{
			Page: c.Page, EndPage: c.EndPage, Heading: strings.Join(c.Headings, " > "), Start: c.StartOffset, End: c.EndOffset,
		},
	}
}

type listChunksInput struct {
	Cursored
	DocumentInput
}

type downloadInput struct {
	DocumentInput

	Range string `header:"Range" maxLength:"200" example:"bytes=0-1023" doc:"Only a part of the file (RFC 9110, section 14)"`
}

func (s *Server) documentFileOperations() {
	secured(s, access.DocumentsRead,
		document("list-document-chunks", http.MethodGet, "/{id}/chunks", "Read the passages of a document", http.StatusNotFound),
		s.listChunks)
	download := document("download-document", http.MethodGet, "/{id}/download", "Download a document's file",
		http.StatusNotFound, http.StatusPreconditionFailed, http.StatusRequestedRangeNotSatisfiable)
	download.long = true
	download.about = "The file as it was uploaded. A download that breaks off goes on with Range and If-Range."
	secured(s, access.DocumentsRead, download, s.download)
	op := s.api.OpenAPI().Paths[base+"/documents/{id}/download"].Get
	file := map[string]*huma.MediaType{"*/*": {Schema: &huma.Schema{Type: huma.TypeString, Format: "binary"}}}
	op.Responses["200"] = &huma.Response{Description: "The file", Content: file}
	op.Responses["206"] = &huma.Response{Description: "A part of the file", Content: file}
	op.Responses["304"] = &huma.Response{Description: "The client has the file as it is"}
}

func (s *Server) listChunks(ctx context.Context, p *rbac.Principal, in *listChunksInput) (*pageOutput[Chunk], error) {
	c := collection{name: "chunks " + in.ID.String(), listing: in.listing()}
	return listed(ctx, s, p, c, showChunk, func(tx *store.Tx, page store.Page) (rows store.Listed[store.Chunk], err error) {
		first := 0
		if page.After != nil {
			if first, err = strconv.Atoi(page.After.Key); err != nil {
				return rows, invalid("query.cursor", "expected the next_cursor of an earlier page")
			}
		}
		if _, err := tx.Documents().GetVisibleBrief(in.ID, visible(p)); err != nil {
			return rows, err
		}
		rows.Rows, err = tx.Chunks().ListForDocument(in.ID, first, in.Limit+1)
		if len(rows.Rows) > in.Limit {
			rows.Rows = rows.Rows[:in.Limit]
			rows.Next = &store.Position{ID: in.ID, Key: strconv.Itoa(first + in.Limit)}
		}
		return rows, err
	})
}

func (s *Server) download(ctx context.Context, p *rbac.Principal, in *downloadInput) (*huma.StreamResponse, error) {
	d, err := view(ctx, s, p.Tenant, func(tx *store.Tx) (*store.Document, error) {
		return tx.Documents().GetVisibleBrief(in.ID, visible(p))
	})
	if err != nil {
		return nil, err
	}
	if d.FilePath == "" {
		return nil, fault.New(fault.NotFound, "document.no_file", "This document has no file.")
	}
	file, err := s.Blobs.Open(ctx, d.FilePath)
	if err != nil {
		return nil, err
	}
	return &huma.StreamResponse{Body: func(hc huma.Context) {
		defer func() { _ = file.Close() }()
		c, content := humagin.Unwrap(hc), io.NewSectionReader(file, 0, file.Size())
		h := c.Writer.Header()
		h.Set("Content-Type", d.MIMEType)
		// Never shown in place: a page that somebody uploaded must not run as ours.
		h.Set("Content-Disposition", mime.FormatMediaType("attachment", map[string]string{"filename": d.FileName}))
		h.Set("ETag", `"`+d.ContentHash+`"`)
		file := &fileWriter{ResponseWriter: c.Writer, request: c, control: http.NewResponseController(c.Writer)}
		http.ServeContent(file, c.Request, "", d.CreatedAt, content)
	}}, nil
}

// fileWriter writes a file to a client. It renews the write deadline with every write: a large file may take long as long as it moves.
type fileWriter struct {
	http.ResponseWriter

	request *gin.Context
	control *http.ResponseController
	refused bool
}

// WriteHeader implements http.ResponseWriter. A range that is not there becomes a problem like any other, and so does a condition
// that does not hold.
func (w *fileWriter) WriteHeader(status int) {
	var p *Problem
	switch status {
	case http.StatusRequestedRangeNotSatisfiable:
		p = rareProblem(status, "range-not-satisfiable", "Range not satisfiable", "range.not_satisfiable",
			"The file is shorter than the part that was asked for; Content-Range says how long it is.",
			FieldError{Location: "header.Range", Message: "expected a part of the file"})
	case http.StatusPreconditionFailed:
		p = newProblem(fault.Precondition, "precondition.failed", "The file is not the one that If-Match or If-Unmodified-Since names.")
	default:
		w.ResponseWriter.WriteHeader(status)
		return
	}
	w.refused = true
	w.Header().Del("Content-Disposition")
	w.Header().Del("Content-Type")
	abort(w.request, p)
}

// Write implements io.Writer.
func (w *fileWriter) Write(b []byte) (int, error) {
	if w.refused {
		return len(b), nil
	}
	_ = w.control.SetWriteDeadline(time.Now().Add(uploadIdle))
	return w.ResponseWriter.Write(b)
}
