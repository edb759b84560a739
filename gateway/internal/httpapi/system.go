package httpapi

import (
	"maps"
	"net/http"
	"time"

	"github.com/gin-gonic/gin"
)

// system serves what stands outside of the API proper: who answers, and how it is.
func (s *Server) system() {
	s.serveGet("/", func(c *gin.Context) {
		c.JSON(http.StatusOK, gin.H{
			"name": "Co-Pilot API", "version": s.cfg.Version,
			"links": gin.H{
				"api": base, "docs": "/docs", "openapi": "/openapi.json", "health": "/health", "ready": "/readyz",
				"jwks": jwksPath,
			},
		})
	})
	s.serveGet("/health", func(c *gin.Context) {
		c.JSON(http.StatusOK, gin.H{
			"status": "healthy", "version": s.cfg.Version, "timestamp": time.Now().UTC().Format(time.RFC3339),
		})
	})
	s.serveGet("/livez", func(c *gin.Context) { c.JSON(http.StatusOK, gin.H{"status": "alive"}) })
	s.serveGet("/readyz", func(c *gin.Context) {
		parts, ready := s.Ready.State(c.Request.Context(), s.log)
		wanted, _ := s.Wanted.State(c.Request.Context(), s.log)
		maps.Copy(parts, wanted)
		status, code := "ready", http.StatusOK
		if !ready {
			status, code = "unavailable", http.StatusServiceUnavailable
		}
		c.JSON(code, gin.H{"status": status, "parts": parts})
	})
	s.jwks()
}

// serveGet has a path answer GET, and HEAD as probes and proxies send it: with the same headers and no body.
func (s *Server) serveGet(path string, handle gin.HandlerFunc) {
	s.router.Match([]string{http.MethodGet, http.MethodHead}, path, handle)
}
