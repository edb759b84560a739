package main

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// generator turns a document into Go source.
type generator struct {
	doc        *document
	byHand     handwritten
	uses       map[string]*use
	enums      []*enum
	enumFields map[*enum]map[string]bool
}

// The media types that mean something here.
const (
	mediaJSON   = "application/json"
	mediaForm   = "multipart/form-data"
	mediaStream = "text/event-stream"
)

// sharedFile holds what operations of several tags use.
const sharedFile = "schemas"

// byOption are the headers that the options of a call set.
var byOption = []string{"Idempotency-Key", "Prefer", "If-Match", "If-None-Match", "Last-Event-ID", "Range", "If-Range"}

// aliases are query parameters for clients that cannot set the header of the same meaning. This one can.
var aliases = map[string]string{"wait": "Prefer", "last_event_id": "Last-Event-ID"}

func generate(doc *document, byHand handwritten) (map[string][]byte, error) {
	g := &generator{doc: doc, byHand: byHand, uses: map[string]*use{}, enumFields: map[*enum]map[string]bool{}}
	operations := doc.operations()
	for _, op := range operations {
		tag := op.Tags[0]
		if op.RequestBody != nil {
			changes := op.method == "PUT" || op.method == "PATCH"
			g.mark(op.RequestBody.Content[mediaJSON].Schema, true, changes, g.method(op), tag)
		}
		for _, a := range op.answers() {
			g.mark(a.schema, false, false, g.method(op), tag)
		}
	}
	g.collectEnums()
	files := map[string]*text{}
	file := func(name string) *text {
		if files[name] == nil {
			files[name] = &text{}
		}
		return files[name]
	}
	for _, op := range operations {
		if err := g.writeOperation(file(op.Tags[0]), op); err != nil {
			return nil, fmt.Errorf("operation %s: %w", op.ID, err)
		}
	}
	for _, e := range g.enums {
		writeEnum(file(home(e.tags)), e)
	}
	if err := g.writeSchemas(file); err != nil {
		return nil, err
	}
	sources := map[string][]byte{}
	for name, t := range files {
		base := strings.Join(words(name), "_") + suffix
		source, err := t.source(base, []string{"context", "encoding/json", "io", "iter", "net/url", "time"})
		if err != nil {
			return nil, err
		}
		sources[base] = source
	}
	return sources, nil
}

// writeSchemas writes all schemas that are used, and one page for all pages.
func (g *generator) writeSchemas(file func(string) *text) error {
	paged := false
	for _, name := range slices.Sorted(maps.Keys(g.uses)) {
		switch {
		case g.byHand.types[name]:
		case g.item(name) == "":
			if err := g.writeSchema(file(home(g.uses[name].tags)), name); err != nil {
				return err
			}
		case !paged:
			paged = true
			if err := g.writePage(file(sharedFile), name); err != nil {
				return err
			}
		}
	}
	return nil
}

// writePage writes the generic page from the schema of one.
func (g *generator) writePage(w *text, name string) error {
	s := g.doc.Components.Schemas[name]
	w.comment("Page is a part of a collection. The All methods read one after the other.")
	w.line("type Page[T any] struct {")
	for _, field := range fieldOrder(s) {
		if field == "data" {
			w.comment(sentence(s.Properties[field].Description))
			w.line("Data []T `json:\"data\"`")
			continue
		}
		goType, tag, err := g.fieldType(s, field, g.uses[name])
		if err != nil {
			return err
		}
		if field == "skip" || field == "total" {
			goType = "*" + goType // 0 and unknown are two things
		}
		w.comment(sentence(s.Properties[field].Description))
		w.line("%s %s `json:\"%s%s\"`", exported(field), goType, field, tag)
	}
	w.line("}")
	w.line("")
	return nil
}

// home is the file of what these tags use.
func home(tags map[string]bool) string {
	if len(tags) == 1 {
		for tag := range tags {
			return tag
		}
	}
	return sharedFile
}

// method is the Go name of an operation; unexported where a method by hand stands in front of it.
func (g *generator) method(op *operation) string {
	name := exported(op.ID)
	if g.byHand.methods[name] {
		return strings.ToLower(name[:1]) + name[1:]
	}
	return name
}

// answer is one kind of success.
type answer struct {
	status int
	media  string
	schema *schema // nil when there is no body
}

// answers are the successes of an operation, in the order of their statuses.
func (op *operation) answers() []answer {
	var all []answer
	for _, code := range slices.Sorted(maps.Keys(op.Responses)) {
		status, err := strconv.Atoi(code)
		if err != nil || status/100 != 2 {
			continue
		}
		content := op.Responses[code].Content
		if len(content) == 0 {
			all = append(all, answer{status: status})
		}
		for _, media := range slices.Sorted(maps.Keys(content)) {
			all = append(all, answer{status, media, content[media].Schema})
		}
	}
	return all
}

// call is a method under construction.
type call struct {
	op      *operation
	name    string
	params  []string // of the method, between ctx and the options
	args    []string // the same as arguments
	request []string // the fields of the request
	query   []*parameter
	paged   string // the type of the items, if the answer is a page
}

func (g *generator) writeOperation(w *text, op *operation) error {
	c := &call{op: op, name: g.method(op)}
	c.request = append(c.request, fmt.Sprintf("method: %q", op.method), "path: "+c.path())
	for _, p := range op.Parameters {
		switch {
		case p.In == "path", p.In == "header" && slices.Contains(byOption, p.Name):
			if p.Name == "Idempotency-Key" {
				c.request = append(c.request, "keyed: true")
			}
		case p.In == "query" && aliases[p.Name] != "" && op.takes(aliases[p.Name]):
		case p.In == "query":
			c.query = append(c.query, p)
		default:
			return fmt.Errorf("a parameter %s in %s is not known", p.Name, p.In)
		}
	}
	if len(c.query) > 0 {
		if err := g.writeParams(w, c); err != nil {
			return err
		}
	}
	if op.Security != nil && len(op.Security) == 0 {
		c.request = append(c.request, "public: true")
	}
	if err := g.takeBody(w, c); err != nil {
		return err
	}
	return g.writeMethod(w, c)
}

func (op *operation) takes(header string) bool {
	return slices.ContainsFunc(op.Parameters, func(p *parameter) bool { return p.In == "header" && p.Name == header })
}

// path is the expression for the path, and adds its parameters to the method's.
func (c *call) path() string {
	var parts []string
	rest := c.op.path
	for {
		before, after, found := strings.Cut(rest, "{")
		parts = append(parts, strconv.Quote(before))
		if !found {
			break
		}
		name, more, _ := strings.Cut(after, "}")
		c.params, c.args = append(c.params, local(name)+" string"), append(c.args, local(name))
		parts, rest = append(parts, local(name)), more
	}
	if len(parts) == 1 {
		return parts[0]
	}
	if parts[len(parts)-1] == `""` {
		parts = parts[:len(parts)-1]
	}
	return "at(" + strings.Join(parts, ", ") + ")"
}

// writeParams writes the struct of the query parameters.
func (g *generator) writeParams(w *text, c *call) error {
	typeName := exported(c.op.ID) + "Params"
	c.params, c.args = append(c.params, "params "+typeName), append(c.args, "params")
	c.request = append(c.request, "query: params.query()")
	w.comment(typeName + " are the parameters of [Client." + c.name + "]. Those with their zero value are not sent.")
	w.line("type %s struct {", typeName)
	for _, p := range c.query {
		goType, err := g.paramType(p)
		if err != nil {
			return err
		}
		about := sentence(p.Description)
		if values := p.Schema.values(); goType == "string" && len(values) > 1 {
			about += " One of " + strings.Join(values, ", ") + "."
		}
		w.comment(about)
		w.line("%s %s", exported(p.Name), goType)
	}
	w.line("}")
	w.line("")
	w.line("func (p *%s) query() url.Values {", typeName)
	w.line("q := query{}")
	for _, p := range c.query {
		w.line("q.set(%q, p.%s)", p.Name, exported(p.Name))
	}
	w.line("return url.Values(q)")
	w.line("}")
	w.line("")
	return nil
}

func (g *generator) paramType(p *parameter) (string, error) {
	if p.Name == "skip" {
		return "*int", nil // sent, it asks for the total
	}
	if slices.Equal(p.Schema.values(), []string{"true", "false"}) {
		return "*bool", nil
	}
	goType, err := g.goType(p.Schema, p.Name)
	return pointer(goType, !p.Required && zeroMeansSomething(p.Schema)), err
}

// takeBody adds the body to the method.
func (g *generator) takeBody(w *text, c *call) error {
	if c.op.RequestBody == nil {
		return nil
	}
	content := c.op.RequestBody.Content
	switch {
	case content[mediaJSON].Schema != nil:
		goType, err := g.goType(content[mediaJSON].Schema, c.op.ID)
		if err != nil {
			return err
		}
		c.params, c.args = append(c.params, "in "+goType), append(c.args, "in")
		c.request = append(c.request, "body: in")
		return nil
	case content[mediaForm].Schema != nil:
		return g.takeForm(w, c, content[mediaForm].Schema)
	default:
		return errors.New("a body is neither JSON nor a form")
	}
}

func (g *generator) takeForm(w *text, c *call, s *schema) error {
	typeName := exported(c.op.ID) + "Form"
	c.params, c.args = append(c.params, "in "+typeName), append(c.args, "in")
	c.request = append(c.request, "form: in.form()")
	names := fieldOrder(s)
	w.comment(typeName + " is what [Client." + c.name + "] sends. Fields with their zero value are not sent.")
	w.line("type %s struct {", typeName)
	var adds []string
	for _, name := range names {
		goType, err := g.goType(s.Properties[name], name)
		if err != nil {
			return err
		}
		add := "set"
		if goType == "File" {
			add = "file"
		}
		adds = append(adds, fmt.Sprintf("f.%s(%q, in.%s)", add, name, exported(name)))
		w.comment(sentence(s.Properties[name].Description))
		w.line("%s %s", exported(name), goType)
	}
	w.line("}")
	w.line("")
	w.line("func (in *%s) form() *form {", typeName)
	w.line("f := &form{}")
	w.line("%s", strings.Join(adds, "\n"))
	w.line("return f")
	w.line("}")
	w.line("")
	return nil
}

// results are the Go types of an operation's answers, with the statuses of each. The empty type is an answer without a body.
type results struct {
	types    []string
	statuses map[string][]int
}

// download is the type of what is neither JSON nor a stream of events.
const download = "io.ReadCloser"

func (g *generator) results(op *operation) (results, error) {
	r := results{statuses: map[string][]int{}}
	answers := op.answers()
	// One that can be had in a form that is no JSON is for the caller to read.
	if slices.ContainsFunc(answers, func(a answer) bool { return a.media != "" && a.media != mediaJSON && a.media != mediaStream }) {
		r.types, r.statuses[download] = []string{download}, []int{http.StatusOK}
		return r, nil
	}
	for _, a := range answers {
		goType := a.media
		if a.media == mediaJSON {
			var err error
			if goType, err = g.goType(a.schema, op.ID); err != nil {
				return r, err
			}
		}
		if r.statuses[goType] == nil {
			r.types = append(r.types, goType)
		}
		if !slices.Contains(r.statuses[goType], a.status) {
			r.statuses[goType] = append(r.statuses[goType], a.status)
		}
	}
	return r, nil
}

// writeMethod writes the method itself, by what it answers.
func (g *generator) writeMethod(w *text, c *call) error {
	results, err := g.results(c.op)
	if err != nil {
		return err
	}
	request := "request{" + strings.Join(c.request, ", ") + "}"
	begin := func(result string) {
		params := append(append([]string{"ctx context.Context"}, c.params...), "options ...CallOption")
		w.comment(c.about())
		w.line("func (c *Client) %s(%s) %s {", c.name, strings.Join(params, ", "), result)
	}
	switch {
	case results.statuses[mediaStream] != nil:
		begin("iter.Seq2[Event, error]")
		last := "nil"
		if strings.Contains(c.op.path, "{") || c.op.method != "GET" {
			last = "Event.ended" // it is the stream of one job, not of all
		}
		w.line("return c.follow(ctx, %s, options, %s)", request, last)
		w.line("}")
	case results.statuses[download] != nil:
		begin("(" + download + ", error)")
		w.line("return c.stream(ctx, %s, options)", request)
		w.line("}")
	case len(results.types) == 0 || len(results.types) == 1 && results.types[0] == "":
		begin("error")
		w.line("return c.do(ctx, %s, options, func(int) any { return nil })", request)
		w.line("}")
	case len(results.types) == 1:
		begin("(*" + results.types[0] + ", error)")
		w.line("return call[%s](ctx, c, %s, options)", results.types[0], request)
		w.line("}")
		if item, ok := strings.CutPrefix(results.types[0], pagePrefix+"["); ok {
			c.paged = strings.TrimSuffix(item, "]")
		}
	default:
		begin("(*" + exported(c.op.ID) + "Result, error)")
		c.writeChoice(w, request, results)
	}
	w.line("")
	g.writeAll(w, c)
	return nil
}

// writeChoice writes the body of a method that answers one of several types, and the struct that holds them.
func (c *call) writeChoice(w *text, request string, results results) {
	name := exported(c.op.ID) + "Result"
	w.line("out := new(%s)", name)
	w.line("err := c.do(ctx, %s, options, func(status int) any {", request)
	w.line("switch status {")
	var fields []string
	for _, goType := range results.types {
		if goType == "" {
			continue
		}
		statuses := results.statuses[goType]
		fields = append(fields, fmt.Sprintf("%s *%s // status %s", goType, goType, joined(statuses, " or ")))
		w.line("case %s:", joined(statuses, ", "))
		w.line("out.%s = new(%s)", goType, goType)
		w.line("return out.%s", goType)
	}
	w.line("default:")
	w.line("return nil")
	w.line("}")
	w.line("})")
	w.line("if err != nil { return nil, err }")
	w.line("return out, nil")
	w.line("}")
	w.line("")
	w.comment(name + " is what [Client." + c.name + "] answers: one of the fields, the others are nil.")
	w.line("type %s struct {", name)
	w.line("%s", strings.Join(fields, "\n"))
	w.line("}")
}

func joined(statuses []int, by string) string {
	texts := make([]string, len(statuses))
	for i, s := range statuses {
		texts[i] = strconv.Itoa(s)
	}
	return strings.Join(texts, by)
}

// writeAll writes the iterator beside an operation that answers pages.
func (g *generator) writeAll(w *text, c *call) {
	has := func(name string) bool {
		return slices.ContainsFunc(c.query, func(p *parameter) bool { return p.Name == name })
	}
	if c.paged == "" || c.op.method != "GET" || !has("cursor") && !has("skip") {
		return
	}
	name := "All" + strings.TrimPrefix(c.name, "List")
	params := append(append([]string{"ctx context.Context"}, c.params...), "options ...CallOption")
	args := strings.Join(append(append([]string{"ctx"}, c.args...), "options..."), ", ")
	w.comment(name + " yields what [Client." + c.name + "] lists, page after page; params.Limit is the size of a page. An error ends it.")
	w.line("func (c *Client) %s(%s) iter.Seq2[%s, error] {", name, strings.Join(params, ", "), c.paged)
	var from []string
	if has("cursor") {
		from = append(from, "cursor: params.Cursor")
	}
	if has("skip") {
		from = append(from, "skip: params.Skip")
	}
	w.line("return every(position{%s}, func(from position) (*Page[%s], error) {", strings.Join(from, ", "), c.paged)
	if has("cursor") {
		w.line("params.Cursor = from.cursor")
	}
	if has("skip") {
		w.line("params.Skip = from.skip")
	}
	w.line("return c.%s(%s)", c.name, args)
	w.line("})")
	w.line("}")
	w.line("")
}

// about is the method's comment.
func (c *call) about() string {
	paragraphs := []string{c.name + ": " + lower(sentence(c.op.Summary))}
	if c.op.Description != "" {
		paragraphs = append(paragraphs, c.op.Description)
	}
	if c.op.Deprecated {
		paragraphs = append(paragraphs, "Deprecated: it will go away with a later release.")
	}
	return strings.Join(paragraphs, "\n\n") + "\n\n\t" + c.op.method + " " + c.op.path
}
