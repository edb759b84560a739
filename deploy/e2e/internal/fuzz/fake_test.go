package fuzz_test

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"unicode/utf8"
)

// document describes the fake: lamps, which can be made, listed, read, changed and removed.
const document = `{
  "openapi": "3.1.0",
  "paths": {
    "/api/v1/lamps": {
      "get": {
        "operationId": "list-lamps", "security": [{"bearer": []}],
        "parameters": [{"name": "limit", "in": "query", "schema": {"type": "integer", "minimum": 1, "maximum": 100}}],
        "responses": {
          "200": {"content": {"application/json": {"schema": {
            "type": "object", "additionalProperties": false, "required": ["data"],
            "properties": {"data": {"type": "array", "items": {"$ref": "#/components/schemas/Lamp"}}}}}}},
          "422": {"$ref": "#/components/responses/Problem"}
        }
      },
      "post": {
        "operationId": "create-lamp", "security": [{"bearer": []}],
        "parameters": [{"name": "Idempotency-Key", "in": "header", "schema": {"type": "string", "maxLength": 255}}],
        "requestBody": {"required": true, "content": {"application/json": {"schema": {"$ref": "#/components/schemas/NewLamp"}}}},
        "responses": {
          "201": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Lamp"}}}},
          "413": {"$ref": "#/components/responses/Problem"}, "415": {"$ref": "#/components/responses/Problem"},
          "422": {"$ref": "#/components/responses/Problem"}
        }
      }
    },
    "/api/v1/lamps/{id}": {
      "get": {
        "operationId": "get-lamp", "security": [{"bearer": []}],
        "parameters": [{"name": "id", "in": "path", "required": true, "schema": {"type": "string", "format": "uuid"}}],
        "responses": {
          "200": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Lamp"}}}},
          "404": {"$ref": "#/components/responses/Problem"}, "422": {"$ref": "#/components/responses/Problem"}
        }
      },
      "put": {
        "operationId": "update-lamp", "security": [{"bearer": []}],
        "parameters": [
          {"name": "id", "in": "path", "required": true, "schema": {"type": "string", "format": "uuid"}},
          {"name": "If-Match", "in": "header", "schema": {"type": "string"}}
        ],
        "requestBody": {"required": true, "content": {"application/json": {"schema": {"$ref": "#/components/schemas/NewLamp"}}}},
        "responses": {
          "200": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Lamp"}}}},
          "404": {"$ref": "#/components/responses/Problem"}, "412": {"$ref": "#/components/responses/Problem"},
          "413": {"$ref": "#/components/responses/Problem"}, "415": {"$ref": "#/components/responses/Problem"},
          "422": {"$ref": "#/components/responses/Problem"}
        }
      },
      "delete": {
        "operationId": "delete-lamp", "security": [{"bearer": []}],
        "parameters": [{"name": "id", "in": "path", "required": true, "schema": {"type": "string", "format": "uuid"}}],
        "responses": {
          "204": {"description": "Gone"},
          "404": {"$ref": "#/components/responses/Problem"}, "422": {"$ref": "#/components/responses/Problem"}
        }
      }
    }
  },
  "components": {
    "responses": {"Problem": {"content": {"application/problem+json": {"schema": {"type": "object"}}}}},
    "schemas": {
      "NewLamp": {
        "type": "object", "additionalProperties": false, "required": ["name"],
        "properties": {"name": {"type": "string", "minLength": 1, "maxLength": 50}, "parent_id": {"type": "string", "format": "uuid"}}
      },
      "Lamp": {
        "type": "object", "additionalProperties": false, "required": ["id", "name", "version"],
        "properties": {
          "id": {"type": "string", "format": "uuid"}, "name": {"type": "string"}, "version": {"type": "integer"}
        }
      }
    }
  }
}`

// lamp is what the fake keeps.
type lamp struct {
	ID      string `json:"id"`
	Name    string `json:"name"`
	Version int    `json:"version"`
	owner   string
}

// fake is a small API that does everything right but for one flaw.
type fake struct {
	flaw string

	mu     sync.Mutex
	serial int
	owners map[string]string // by token
	lamps  map[string]*lamp
	keys   map[string]string
	taken  map[string]bool
}

// newFake starts a fake; no flaw makes a perfect one.
func newFake(t *testing.T, flaw string) string {
	t.Helper()
	f := &fake{flaw: flaw, owners: map[string]string{}, lamps: map[string]*lamp{}, keys: map[string]string{}, taken: map[string]bool{}}
	server := httptest.NewServer(f)
	t.Cleanup(server.Close)
	return server.URL
}

func (f *fake) id() string {
	f.serial++
	return fmt.Sprintf("01900000-0000-7000-8000-%012x", f.serial)
}

func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("X-Request-ID", "the-request")
	if f.flaw == "forgets the request id" && r.Method == http.MethodPut {
		w.Header().Del("X-Request-ID")
	}
	body, _ := io.ReadAll(r.Body)
	f.mu.Lock()
	defer f.mu.Unlock()
	switch r.URL.Path {
	case "/openapi.json":
		_, _ = io.WriteString(w, document)
		return
	case "/health", "/api/v1/auth/me":
		answer(w, http.StatusOK, map[string]string{})
		return
	case "/api/v1/auth/register", "/api/v1/auth/login":
		token := strings.Repeat("t", 40) + fmt.Sprintf(".%d.", f.serial) + strings.Repeat("s", 60)
		f.owners["Bearer "+token] = f.id()
		answer(w, http.StatusOK, map[string]any{
			"tokens": map[string]string{"access_token": token, "refresh_token": "r"}, "user": map[string]string{"id": f.id()},
		})
		return
	}
	owner, known := f.owners[r.Header.Get("Authorization")]
	if !known && f.flaw != "lets everybody in" {
		w.Header().Set("WWW-Authenticate", "Bearer")
		problem(w, http.StatusUnauthorized, "login")
		return
	}
	f.lampsOf(owner, w, r, body)
}

// lampsOf answers the four operations.
func (f *fake) lampsOf(owner string, w http.ResponseWriter, r *http.Request, body []byte) {
	id, single := strings.CutPrefix(r.URL.Path, "/api/v1/lamps/")
	allowed := map[bool][]string{true: {"GET", "PUT", "DELETE"}, false: {"GET", "POST"}}[single]
	switch {
	case !single && r.URL.Path != "/api/v1/lamps" || single && (id == "" || strings.Contains(id, "/")):
		problem(w, http.StatusNotFound, "route")
		return
	case !slices.Contains(allowed, r.Method):
		w.Header().Set("Allow", strings.Join(allowed, ", "))
		problem(w, http.StatusMethodNotAllowed, "method")
		return
	}
	var in struct {
		Name string `json:"name"`
	}
	if r.Method == http.MethodPost || r.Method == http.MethodPut {
		if status := f.read(r, body, &in.Name); status != 0 {
			problem(w, status, "body")
			return
		}
	}
	switch limit := r.URL.Query().Get("limit"); {
	case !single && r.Method == http.MethodGet && limit != "" && !slices.Contains(upTo(100), limit):
		problem(w, http.StatusUnprocessableEntity, "limit")
	case !single && r.Method == http.MethodGet:
		all := []*lamp{}
		for _, l := range f.lamps {
			if l.owner == owner || f.flaw == "lists everybody's" {
				all = append(all, l)
			}
		}
		answer(w, http.StatusOK, map[string]any{"data": all})
	case !single:
		key := r.Header.Get("Idempotency-Key")
		id, known := f.keys[owner+key]
		if key == "" || !known || f.lamps[id] == nil || f.flaw == "makes it twice" {
			id = f.id()
			f.lamps[id] = &lamp{ID: id, Name: in.Name, Version: 1, owner: owner}
			f.keys[owner+key] = id
		}
		w.Header().Set("Location", "/api/v1/lamps/"+id)
		if f.flaw == "forgets the location" {
			w.Header().Del("Location")
		}
		answer(w, http.StatusCreated, f.lamps[id])
	default:
		f.one(owner, id, w, r, in.Name)
	}
}

func upTo(n int) []string {
	all := make([]string, n)
	for i := range all {
		all[i] = strconv.Itoa(i + 1)
	}
	return all
}

// read checks a body as strictly as the document.
func (f *fake) read(r *http.Request, body []byte, name *string) (refused int) {
	if len(body) > 1<<20 {
		return http.StatusRequestEntityTooLarge
	}
	if r.Header.Get("Content-Type") != "application/json" && f.flaw != "takes any media type" {
		return http.StatusUnsupportedMediaType
	}
	var fields map[string]any
	if json.Unmarshal(body, &fields) != nil || fields == nil {
		return http.StatusUnprocessableEntity
	}
	if f.flaw == "falls over NUL" && strings.Contains(fmt.Sprint(fields["name"]), "\x00") {
		return http.StatusInternalServerError
	}
	for field, value := range fields {
		if field != "name" && (field != "parent_id" || !text(value)) && f.flaw != "takes unknown fields" {
			return http.StatusUnprocessableEntity
		}
	}
	given, ok := fields["name"].(string)
	if n := utf8.RuneCountInString(given); (!ok || n < 1 || n > 50) && f.flaw != "takes any name" {
		return http.StatusUnprocessableEntity
	}
	*name = given
	return 0
}

func text(value any) bool {
	_, ok := value.(string)
	return ok || value == nil
}

// one answers about one lamp.
func (f *fake) one(owner, id string, w http.ResponseWriter, r *http.Request, name string) {
	if len(id) != 36 || strings.Trim(id, "0123456789abcdef-") != "" {
		problem(w, http.StatusUnprocessableEntity, "id")
		return
	}
	l, ok := f.lamps[id]
	switch {
	case ok && l.owner != owner && f.flaw == "tells that it is another's":
		problem(w, http.StatusNotFound, "another")
	case !ok || l.owner != owner && f.flaw != "shows everybody's":
		problem(w, http.StatusNotFound, "missing")
	case r.Method == http.MethodDelete:
		delete(f.lamps, id)
		w.WriteHeader(http.StatusNoContent)
	case r.Method == http.MethodPut:
		tag := r.Header.Get("If-Match")
		if tag != "" && tag != "*" && tag != etag(l) && f.flaw != "loses updates" {
			problem(w, http.StatusPreconditionFailed, "version")
			return
		}
		l.Name, l.Version = name, l.Version+1
		fallthrough
	default:
		w.Header().Set("ETag", etag(l))
		f.show(w, r, l)
	}
}

// show answers with a lamp, in the way of the flaw.
func (f *fake) show(w http.ResponseWriter, r *http.Request, l *lamp) {
	switch f.flaw {
	case "shows too much":
		answer(w, http.StatusOK, map[string]any{"id": l.ID, "name": l.Name, "version": l.Version, "owner": l.owner})
	case "shows a stack":
		answer(w, http.StatusOK, lamp{ID: l.ID, Name: "panic: goroutine 12 [running]: main.go:7", Version: 1})
	case "shows SQL":
		problem(w, http.StatusNotFound, `ERROR: invalid input syntax (SQLSTATE 22P02)`)
	case "shows a password":
		answer(w, http.StatusOK, lamp{ID: l.ID, Name: "SecurePassword123!", Version: 1})
	case "answers with HTML":
		w.Header().Set("Content-Type", "text/html")
		_, _ = io.WriteString(w, "<p>"+l.ID)
	case "answers as a teapot":
		problem(w, http.StatusTeapot, "teapot")
	case "hangs up":
		if r.Method == http.MethodPut {
			panic(http.ErrAbortHandler)
		}
		answer(w, http.StatusOK, l)
	default:
		answer(w, http.StatusOK, l)
	}
}

func etag(l *lamp) string { return strconv.Quote(strconv.Itoa(l.Version)) }

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", cmp.Or(w.Header().Get("Content-Type"), "application/json"))
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}

func problem(w http.ResponseWriter, status int, code string) {
	w.Header().Set("Content-Type", "application/problem+json")
	answer(w, status, map[string]any{
		"type": "about:blank", "title": "No", "status": status, "code": code, "request_id": "the-request",
	})
}
