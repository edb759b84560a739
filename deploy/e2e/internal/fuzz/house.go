package fuzz

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/tarento/copilot/deploy/e2e/internal/arbitrary"
	"github.com/tarento/copilot/deploy/e2e/internal/openapi"
)

// The operations that are known by name: one must get in somehow.
const (
	pathRegister = "/api/v1/auth/register"
	pathLogin    = "/api/v1/auth/login"
	pathMe       = "/api/v1/auth/me"
	pathHealth   = "/health"
)

// The seeded accounts.
const (
	seedPassword = "SecurePassword123!"
	seedAdmin    = "admin@acme.com"
	seedMember   = "member@acme.com"
)

// account is somebody who can log in.
type account struct {
	// who it is, in words.
	who                   string
	name, email, password string
	access, refresh       string
	user, organization    string
	// role is the id of the role that it began with.
	role  string
	since time.Time
}

// renewal is how old an access token gets here; the system lets it get older.
const renewal = 15 * time.Minute

func (a *account) login(ctx context.Context, c *client) error {
	got, err := c.json(ctx, http.MethodPost, pathLogin, "", map[string]string{"username": a.email, "password": a.password})
	if err != nil {
		return fmt.Errorf("log in as %s: %w", a.who, err)
	}
	a.take(got)
	return nil
}

// take keeps what registering and logging in answer.
func (a *account) take(got answer) {
	a.access, a.refresh = got.field("tokens", "access_token"), got.field("tokens", "refresh_token")
	a.user, a.organization = got.field("user", "id"), got.field("user", "organization_id")
	a.role = cmp.Or(a.role, got.field("user", "role_id"))
	a.since = time.Now()
}

// known tells whether the system still takes the account's token, and for one of its role.
func (a *account) known(ctx context.Context, c *client) bool {
	if time.Since(a.since) > renewal {
		return false
	}
	me, err := c.json(ctx, http.MethodGet, pathMe, a.access, nil)
	return err == nil && me.field("role_id") == a.role
}

// restored logs in again, and tells whether the account is what it was.
func (a *account) restored(ctx context.Context, c *client) bool {
	return a.login(ctx, c) == nil && a.known(ctx, c)
}

// house is an organization, what is known to exist in it, and what has existed. It is used by one goroutine at a time.
type house struct {
	doc   *openapi.Document
	admin account
	// items are the paths of things, and gone of those that were deleted, by the collection that they are in.
	items, gone map[string][]string
	// mentioned are ids that answers speak of, by what they are said to be: a project's by "project".
	mentioned map[string][]string
	// cursors are the next_cursor of answers, by the operation's id.
	cursors map[string]string
	// seen are all ids that answers had.
	seen map[string]bool
}

func newHouse(doc *openapi.Document, admin account) *house {
	h := &house{
		doc: doc, admin: admin, items: map[string][]string{}, gone: map[string][]string{}, mentioned: map[string][]string{},
		cursors: map[string]string{}, seen: map[string]bool{},
	}
	h.mention("user", admin.user)
	h.mention("organization", admin.organization)
	return h
}

// found registers somebody who founds an organization.
func found(ctx context.Context, c *client, doc *openapi.Document, name, mark string) (*house, error) {
	who := account{
		who: "the Admin of " + name, name: strings.ReplaceAll(name, "-", "_"), email: name + "@example.com",
		password: "Pw1!" + strings.ToUpper(name),
	}
	got, err := c.json(ctx, http.MethodPost, pathRegister, "", map[string]string{
		"email": who.email, "username": who.name, "password": who.password, "full_name": "Founder " + mark,
		"organization_name": name + " " + mark,
	})
	if err != nil {
		return nil, fmt.Errorf("found an organization: %w", err)
	}
	who.take(got)
	return newHouse(doc, who), nil
}

// mostItems bounds what is remembered of a kind; the newest are kept.
const mostItems = 40

func remember(in map[string][]string, key, value string) {
	if value == "" || slices.Contains(in[key], value) {
		return
	}
	in[key] = append(in[key], value)
	if n := len(in[key]); n > mostItems {
		in[key] = in[key][n-mostItems:]
	}
}

func (h *house) mention(kind, id string) {
	remember(h.mentioned, kind, id)
	for _, op := range h.doc.Operations {
		// /api/v1/projects/{id} is where a project_id leads.
		collection, last := cut(op.Path)
		if strings.HasPrefix(last, "{") && !strings.Contains(collection, "{") && isKind(kind, segment(collection)) {
			remember(h.items, segment(collection), collection+"/"+id)
			return
		}
	}
}

// isKind tells whether a collection holds what a name calls a thing: projects a project, agent-configs an agent, too.
func isKind(kind, collection string) bool {
	kind = strings.ReplaceAll(kind, "_", "-")
	return collection == kind+"s" || strings.HasPrefix(collection, kind+"-")
}

// cut parts a path at its last slash.
func cut(path string) (head, last string) {
	i := strings.LastIndexByte(path, '/')
	return path[:i], path[i+1:]
}

// segment is the last part of a path.
func segment(path string) string {
	_, last := cut(path)
	return last
}

// isID recognizes the ids that the system gives.
func isID(text string) bool {
	const shape = "00000000-0000-0000-0000-000000000000"
	if len(text) != len(shape) {
		return false
	}
	for i := range len(shape) {
		allowed := "0123456789abcdef"
		if shape[i] == '-' {
			allowed = "-"
		}
		if strings.IndexByte(allowed, text[i]) < 0 {
			return false
		}
	}
	return true
}

// learn takes from an answer what exists now.
func (h *house) learn(op *openapi.Operation, r request, got answer) {
	if !got.success() {
		return
	}
	path, _, _ := strings.Cut(r.target, "?")
	if op.Method == http.MethodDelete {
		h.forget(path)
		return
	}
	if to, err := url.Parse(got.header.Get("Location")); err == nil && isID(segment("/"+to.Path)) {
		h.learnItem(to.Path)
	}
	var body any
	if json.Unmarshal(got.body, &body) != nil {
		return
	}
	fields, _ := body.(map[string]any)
	things, _ := fields["data"].([]any)
	if cursor, ok := fields["next_cursor"].(string); ok && cursor != "" {
		h.cursors[op.ID] = cursor
	}
	for _, thing := range append(things, body) {
		object, _ := thing.(map[string]any)
		if id, ok := object["id"].(string); ok && isID(id) {
			h.seen[id] = true
			h.learnItem(path + "/" + id)
		}
	}
	h.learnNames(body, 0)
}

// learnNames remembers the ids in fields such as project_id.
func (h *house) learnNames(value any, depth int) {
	const deep = 4
	switch v := value.(type) {
	case map[string]any:
		for _, name := range slices.Sorted(maps.Keys(v)) {
			kind, named := strings.CutSuffix(name, "_id")
			if id, ok := v[name].(string); ok && named && isID(id) {
				h.mention(kind, id)
			} else if depth < deep {
				h.learnNames(v[name], depth+1)
			}
		}
	case []any:
		for _, item := range v {
			h.learnNames(item, depth+1)
		}
	}
}

// learnItem remembers a path if it leads to something.
func (h *house) learnItem(path string) {
	for _, op := range h.doc.Operations {
		if strings.HasSuffix(op.Path, "}") && fitsTemplate(op.Path, path) {
			collection, _ := cut(path)
			if !slices.Contains(h.gone[segment(collection)], path) {
				remember(h.items, segment(collection), path)
			}
			return
		}
	}
}

// forget is called when something was deleted.
func (h *house) forget(path string) {
	collection, id := cut(path)
	kind := segment(collection)
	if i := slices.Index(h.items[kind], path); i >= 0 {
		h.items[kind] = slices.Delete(h.items[kind], i, i+1)
		remember(h.gone, kind, path)
	}
	for name, ids := range h.mentioned {
		h.mentioned[name] = slices.DeleteFunc(ids, func(known string) bool { return known == id })
	}
}

// fitsTemplate tells whether a path is one of a template's.
func fitsTemplate(template, path string) bool {
	want, have := strings.Split(template, "/"), strings.Split(path, "/")
	if len(want) != len(have) {
		return false
	}
	for i := range want {
		if want[i] != have[i] && (!strings.HasPrefix(want[i], "{") || have[i] == "") {
			return false
		}
	}
	return true
}

// ids are all ids that are known of.
func (h *house) ids() []string {
	var all []string
	for _, paths := range h.items {
		for _, path := range paths {
			all = append(all, segment(path))
		}
	}
	for _, ids := range h.mentioned {
		all = append(all, ids...)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// path fills a template with the way to something that exists, if it can. The values are not escaped; made-up ids need not be.
func (h *house) path(r *rand.Rand, op *openapi.Operation) (path string, complete bool) {
	return fill(r, op, h.items, func(kind, name string) (string, bool) {
		if id, ok := h.find(r, name); ok {
			return id, true
		}
		if paths := h.items[kind]; len(paths) > 0 {
			return segment(paths[r.IntN(len(paths))]), true
		}
		// The agents of /agents/{id}/runs are the agent-configs.
		return h.find(r, strings.TrimSuffix(kind, "s")+"_id")
	})
}

// fill fills a template with the longest way known, and what remains with ids of their own.
func fill(
	r *rand.Rand, op *openapi.Operation, items map[string][]string, id func(kind, name string) (string, bool),
) (path string, complete bool) {
	parts := strings.Split(op.Path, "/")
	complete = true
	start := 1
	for end := len(parts); end > 1; end-- {
		if !strings.HasPrefix(parts[end-1], "{") {
			continue
		}
		template := strings.Join(parts[:end], "/")
		var ways []string
		for _, way := range items[strings.Trim(parts[end-2], "{}")] {
			if fitsTemplate(template, way) {
				ways = append(ways, way)
			}
		}
		if len(ways) > 0 {
			copy(parts, strings.Split(ways[r.IntN(len(ways))], "/"))
			start = end
			break
		}
	}
	for i := start; i < len(parts); i++ {
		name, isParameter := strings.CutPrefix(parts[i], "{")
		if !isParameter {
			continue
		}
		name = strings.TrimSuffix(name, "}")
		value, ok := id(parts[i-1], name)
		if !ok {
			value, ok = invent(r, op, name)
			complete = complete && ok
		}
		parts[i] = url.PathEscape(value)
	}
	return strings.Join(parts, "/"), complete
}

// invent makes up a value for a path parameter. It stands for something that exists unless it is an id.
func invent(r *rand.Rand, op *openapi.Operation, name string) (value string, exists bool) {
	p, ok := op.Parameter(openapi.InPath, name)
	if !ok || p.Schema.Text("format") == "uuid" {
		return arbitrary.UUID(r), false
	}
	g := arbitrary.Generator{Rand: r, Plain: true}
	text, ok := g.Value(p.Schema, name).(string)
	return cmp.Or(text, "x"), ok
}

// find finds an id for a field or parameter of a name such as project_id.
func (h *house) find(r *rand.Rand, name string) (string, bool) {
	kind, named := strings.CutSuffix(name, "_id")
	if !named {
		return "", false
	}
	var ids []string
	for _, collection := range slices.Sorted(maps.Keys(h.items)) {
		if isKind(kind, collection) {
			for _, path := range h.items[collection] {
				ids = append(ids, segment(path))
			}
		}
	}
	if len(ids) == 0 {
		ids = h.mentioned[kind]
	}
	if len(ids) == 0 {
		return "", false
	}
	return ids[r.IntN(len(ids))], true
}

// ID implements arbitrary.World.
func (h *house) ID(r *rand.Rand, name string) string {
	if id, ok := h.find(r, name); ok {
		return id
	}
	return arbitrary.UUID(r)
}

// Known implements arbitrary.World.
func (h *house) Known(r *rand.Rand, name string) (string, bool) {
	switch name {
	case "current_password":
		return h.admin.password, r.IntN(4) > 0
	case "password", "refresh_token":
		known := map[string]string{"password": h.admin.password, "refresh_token": h.admin.refresh}
		return known[name], r.IntN(4) > 0
	case "username":
		return h.admin.name, r.IntN(3) == 0
	case "email":
		return h.admin.email, r.IntN(3) == 0
	default:
		return "", false
	}
}

// stranger is a house whose ids are another's.
type stranger struct {
	*house

	other *house
	// used are the other's ids that were chosen.
	used []string
}

// ID implements arbitrary.World.
func (s *stranger) ID(r *rand.Rand, name string) string {
	id, ok := s.other.find(r, name)
	if !ok {
		return s.house.ID(r, name)
	}
	s.used = append(s.used, id)
	return id
}

// path fills a template with the way to something of the other house.
func (s *stranger) path(r *rand.Rand, op *openapi.Operation) (string, bool) {
	path, complete := s.other.path(r, op)
	for _, id := range s.other.ids() {
		if strings.Contains(path, id) {
			s.used = append(s.used, id)
		}
	}
	return path, complete
}

// withoutIDs is the request with made-up ids for those that were used: what it would be if they did not exist.
func (r request) withoutIDs(ids []string, random *rand.Rand) request {
	for _, id := range ids {
		none := arbitrary.UUID(random)
		r.target = strings.ReplaceAll(r.target, id, none)
		r.body = bytes.ReplaceAll(r.body, []byte(id), []byte(none))
	}
	return r
}

// ruins is a house of which only the deleted things are known.
type ruins struct{ *house }

// path fills a template with the way to something that was deleted.
func (h ruins) path(r *rand.Rand, op *openapi.Operation) (string, bool) {
	return fill(r, op, h.gone, func(_, name string) (string, bool) { return h.find(r, name) })
}
