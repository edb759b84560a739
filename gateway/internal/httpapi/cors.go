package httpapi

import (
	"net/http"
	"slices"

	"github.com/gin-gonic/gin"
)

// CORS is which web pages of other origins may call the API. The zero CORS allows none. Credentials are never allowed: callers
// send a bearer token, not cookies.
type CORS struct {
	// Origins are allowed as they are, "https://app.example.com"; "*" allows all.
	Origins []string
}

func (c CORS) allows(origin string) bool {
	return slices.Contains(c.Origins, "*") || slices.Contains(c.Origins, origin)
}

// exposed are the headers of answers that pages may read.
const exposed = "Location, Retry-After, ETag, X-Request-ID, Idempotency-Replayed, Preference-Applied, " +
	"RateLimit, RateLimit-Policy"

// share answers preflight requests and marks answers for the origins that are allowed.
func (s *Server) share(c *gin.Context) {
	origin := c.GetHeader("Origin")
	if origin == "" || len(s.cfg.CORS.Origins) == 0 {
		c.Next()
		return
	}
	h := c.Writer.Header()
	h.Add("Vary", "Origin")
	if !s.cfg.CORS.allows(origin) {
		c.Next()
		return
	}
	h.Set("Access-Control-Allow-Origin", origin)
	h.Set("Access-Control-Expose-Headers", exposed)
	h.Set("Cross-Origin-Resource-Policy", "cross-origin")
	if c.Request.Method != http.MethodOptions || c.GetHeader("Access-Control-Request-Method") == "" {
		c.Next()
		return
	}
	h.Set("Access-Control-Allow-Methods", "GET, POST, PUT, PATCH, DELETE")
	h.Set("Access-Control-Allow-Headers",
		"Authorization, Content-Type, Idempotency-Key, If-Match, Last-Event-ID, Prefer, X-API-Key, X-Request-ID")
	h.Set("Access-Control-Max-Age", "600")
	c.AbortWithStatus(http.StatusNoContent)
}
