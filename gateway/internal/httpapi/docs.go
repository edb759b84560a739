package httpapi

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"mime"
	"net/http"
	"path"
	"sync"

	"github.com/gin-gonic/gin"
)

// explorer is the API explorer with everything it needs, so that it works without the internet.
//
//go:embed explorer
var explorer embed.FS

// explorerPolicy lets the explorer run its own scripts and call this gateway, and nothing else. Swagger UI sets style
// attributes.
const explorerPolicy = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; " +
	"connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// asset is a file that is served as it is.
type asset struct {
	media string
	body  []byte
	etag  string
}

func newAsset(media string, body []byte) asset {
	sum := sha256.Sum256(body)
	return asset{media: media, body: body, etag: `"` + hex.EncodeToString(sum[:12]) + `"`}
}

func (a asset) serve(c *gin.Context) {
	c.Header("ETag", a.etag)
	c.Header("Cache-Control", "no-cache")
	if c.GetHeader("If-None-Match") == a.etag {
		c.Status(http.StatusNotModified)
		return
	}
	c.Data(http.StatusOK, a.media, a.body)
}

// serveRendered serves what is rendered for the first who asks: a gateway that starts has better things to do.
func (s *Server) serveRendered(media string, render func() ([]byte, error)) gin.HandlerFunc {
	rendered := sync.OnceValues(func() (asset, error) {
		body, err := render()
		return newAsset(media, body), err
	})
	return func(c *gin.Context) {
		a, err := rendered()
		if err != nil {
			abort(c, s.failed(c.Request.Context(), fmt.Errorf("httpapi: render the OpenAPI document: %w", err)))
			return
		}
		a.serve(c)
	}
}

// docs serves the OpenAPI document and the explorer.
func (s *Server) docs() error {
	doc := s.document()
	s.serveGet("/openapi.json", s.serveRendered(mediaJSON, func() ([]byte, error) { return json.Marshal(doc) }))
	s.serveGet("/openapi.yaml", s.serveRendered("application/yaml", doc.YAML))

	files, err := explorer.ReadDir("explorer")
	if err != nil {
		return fmt.Errorf("httpapi: read the explorer: %w", err)
	}
	for _, f := range files {
		body, err := explorer.ReadFile("explorer/" + f.Name())
		if err != nil {
			return fmt.Errorf("httpapi: read the explorer: %w", err)
		}
		media := mime.TypeByExtension(path.Ext(f.Name()))
		if media == "" {
			media = "text/plain; charset=utf-8"
		}
		file := newAsset(media, body)
		serve := func(c *gin.Context) {
			c.Header("Content-Security-Policy", explorerPolicy)
			file.serve(c)
		}
		if f.Name() == "index.html" {
			s.serveGet("/docs", serve)
			continue
		}
		s.serveGet("/docs/"+f.Name(), serve)
	}
	return nil
}
