package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strings"
	"unicode"
)

// initialisms are the words that Go writes in capitals.
var initialisms = map[string]string{
	"api": "API", "csv": "CSV", "hr": "HR", "html": "HTML", "http": "HTTP", "id": "ID", "ids": "IDs", "ip": "IP", "json": "JSON",
	"jwks": "JWKS", "llm": "LLM", "mime": "MIME", "ms": "MS", "pdf": "PDF", "rfp": "RFP", "sse": "SSE", "ttl": "TTL", "ui": "UI",
	"uri": "URI", "url": "URL", "uuid": "UUID",
}

// words cuts a name at whatever is no letter or digit.
func words(name string) []string {
	return strings.FieldsFunc(name, func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) })
}

// exported is the Go name for a name on the wire.
func exported(name string) string {
	var b strings.Builder
	for _, w := range words(name) {
		if s, ok := initialisms[strings.ToLower(w)]; ok {
			b.WriteString(s)
			continue
		}
		b.WriteString(strings.ToUpper(w[:1]) + w[1:])
	}
	return b.String()
}

// local is the Go name of a parameter for a name on the wire.
func local(name string) string {
	first, rest, _ := strings.Cut(strings.Join(words(name), "_"), "_")
	name = strings.ToLower(first) + exported(rest)
	if token.IsKeyword(name) || name == "in" || name == "params" || name == "options" || name == "ctx" {
		name += "Value"
	}
	return name
}

// under is the name of something that belongs to an owner, without saying a word twice: the agent_type of an AgentConfig is an
// AgentType.
func under(owner, field string) string {
	name := exported(field)
	if first := exported(words(field)[0]); len(name) > len(first) && strings.HasPrefix(owner, first) {
		return name
	}
	return owner + name
}

// lower makes the first letter small, unless the word is all capitals.
func lower(s string) string {
	r := []rune(s)
	if len(r) > 1 && unicode.IsUpper(r[1]) {
		return s
	}
	if len(r) > 0 {
		r[0] = unicode.ToLower(r[0])
	}
	return string(r)
}

// handwritten is what the package declares beside the generated files.
type handwritten struct {
	types   map[string]bool
	methods map[string]bool // those of Client
}

func readHandwritten(folder string) (handwritten, error) {
	h := handwritten{types: map[string]bool{}, methods: map[string]bool{}}
	names, err := filepath.Glob(filepath.Join(folder, "*.go"))
	if err != nil {
		return h, err
	}
	for _, name := range names {
		if strings.HasSuffix(name, suffix) || strings.HasSuffix(name, "_test.go") {
			continue
		}
		text, err := os.ReadFile(name)
		if err != nil {
			return h, err
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, text, parser.SkipObjectResolution)
		if err != nil {
			return h, fmt.Errorf("read what is written by hand: %w", err)
		}
		for _, decl := range file.Decls {
			h.add(decl)
		}
	}
	return h, nil
}

func (h handwritten) add(decl ast.Decl) {
	switch d := decl.(type) {
	case *ast.GenDecl:
		for _, spec := range d.Specs {
			if t, ok := spec.(*ast.TypeSpec); ok {
				h.types[t.Name.Name] = true
			}
		}
	case *ast.FuncDecl:
		if d.Recv == nil || len(d.Recv.List) != 1 {
			return
		}
		if star, ok := d.Recv.List[0].Type.(*ast.StarExpr); ok {
			if id, ok := star.X.(*ast.Ident); ok && id.Name == "Client" {
				h.methods[d.Name.Name] = true
			}
		}
	}
}
