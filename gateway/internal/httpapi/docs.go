package httpapi

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"mime"
	"net/http"
	"path"

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

// docs serves the OpenAPI document and the explorer.
func (s *Server) docs() error {
	described, err := s.openAPI()
	if err != nil {
		return err
	}
	s.serveGet("/openapi.json", newAsset(mediaJSON, described.JSON).serve)
	s.serveGet("/openapi.yaml", newAsset("application/yaml", described.YAML).serve)

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
