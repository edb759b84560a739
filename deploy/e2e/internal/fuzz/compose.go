package fuzz

import (
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/tarento/copilot/deploy/e2e/internal/arbitrary"
	"github.com/tarento/copilot/deploy/e2e/internal/openapi"
)

// trial is one request, what is odd about it, and what follows for the answer.
type trial struct {
	op     *openapi.Operation
	number int
	// who sends it, in words.
	who string
	request

	odd []string
	// refuse says why a success would be wrong, by the part of the request that is; empty when it would not.
	refuse map[string]string
	// unknown means that nobody is logged in: only a 401 is right.
	unknown bool
	// astray means that it need not reach the operation: the router may refuse it or lead it elsewhere.
	astray bool
	// bulky means that its headers are more than a server need read.
	bulky bool
	// strange are the ids of another tenant that it names. They must be nothing that exists.
	strange []string
}

// world is what a request is about.
type world interface {
	arbitrary.World
	path(r *rand.Rand, op *openapi.Operation) (path string, complete bool)
}

// source is the randomness of one case: the same for the same seed, operation and number.
func source(seed uint64, operation string, number int) *rand.Rand {
	hash := fnv.New64a()
	_, _ = fmt.Fprintf(hash, "%s:%d", operation, number)
	return rand.New(rand.NewPCG(seed, hash.Sum64()))
}

// composer makes trials.
type composer struct {
	random *rand.Rand
	gen    *arbitrary.Generator
	world  world
	query  url.Values
	// raw is a query that is not encoded properly.
	raw  string
	path string

	trial
}

// compose makes a request that fits the document as far as one can tell from it. With plain, it has nothing unusual.
func compose(r *rand.Rand, op *openapi.Operation, who account, w world, plain bool, mark string) *composer {
	c := &composer{
		random: r, gen: &arbitrary.Generator{Rand: r, World: w, Plain: plain, Mark: mark}, world: w, query: url.Values{},
		trial: trial{op: op, who: who.who, refuse: map[string]string{}, request: request{method: op.Method, header: http.Header{}}},
	}
	c.path, _ = w.path(arbitrary.Branch(r), op)
	if who.access != "" {
		c.header.Set("Authorization", "Bearer "+who.access)
	}
	for _, p := range op.Parameters {
		if p.In == openapi.InPath || !p.Required && (plain || r.IntN(4) > 0) {
			continue
		}
		value := c.parameter(p)
		switch p.In {
		case openapi.InQuery:
			c.query.Set(p.Name, value)
		case openapi.InHeader:
			c.setHeader(p.Name, value)
		}
	}
	switch {
	case c.schema(openapi.MediaJSON) != nil:
		c.header.Set("Content-Type", openapi.MediaJSON)
		c.body = arbitrary.Encode(c.gen.Value(*c.schema(openapi.MediaJSON), ""))
	case c.schema(openapi.MediaForm) != nil:
		var media string
		c.body, media, _ = c.gen.Form(*c.schema(openapi.MediaForm), false)
		c.header.Set("Content-Type", media)
	}
	return c
}

// schema is what the operation takes as a body of that media type.
func (c *composer) schema(media string) *openapi.Schema {
	if s, ok := c.op.Body[media]; ok {
		return &s
	}
	return nil
}

// parameter makes up a value for a parameter, as text.
func (c *composer) parameter(p openapi.Parameter) string {
	// Waiting is what it says; nobody wants to wait long here.
	switch strings.ToLower(p.Name) {
	case "wait":
		return strconv.Itoa(c.random.IntN(2))
	case "prefer":
		return []string{"wait=1", "wait=0", "respond-async", "return=minimal, wait=1"}[c.random.IntN(4)]
	}
	value := c.gen.Value(p.Schema, p.Name)
	if items, ok := value.([]any); ok && len(items) > 0 {
		value = items[0]
	}
	if text, ok := value.(string); ok {
		return text
	}
	return string(arbitrary.Encode(value))
}

// setHeader sets a header unless HTTP itself has no way to carry the value.
func (c *composer) setHeader(name, value string) {
	if strings.ContainsFunc(value, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }) {
		return
	}
	c.header.Set(name, value)
}

// done is the trial that was composed.
func (c *composer) done() trial {
	c.target = c.path
	if query := c.query.Encode() + c.raw; query != "" {
		c.target += "?" + strings.TrimPrefix(query, "&")
	}
	return c.trial
}
