package httpapi

import (
	"fmt"
	"net/http"
	"time"

	"github.com/gin-gonic/gin"
)

// jwksPath is where verifiers of tokens look for keys.
const jwksPath = "/.well-known/jwks.json"

// keysFor is how long verifiers and proxies may keep the keys.
const keysFor = 5 * time.Minute

// jwks serves the public keys that access tokens are verified with; an empty set where a shared secret signs them.
func (s *Server) jwks() {
	set := s.Accounts.Tokens.KeySet()
	keep := fmt.Sprintf("public, max-age=%d", int(keysFor.Seconds()))
	s.serveGet(jwksPath, func(c *gin.Context) {
		c.Header("Content-Type", "application/jwk-set+json")
		c.Header("Cache-Control", keep)
		c.JSON(http.StatusOK, set)
	})
}
