package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// music is an API with everything that the generator knows.
const music = `{
  "paths": {
    "/songs": {
      "get": {"operationId": "list-songs", "tags": ["songs"], "summary": "List songs", "security": [{"bearer": []}],
        "parameters": [
          {"name": "cursor", "in": "query", "schema": {"type": "string"}},
          {"name": "skip", "in": "query", "schema": {"type": "integer", "minimum": 0}},
          {"name": "limit", "in": "query", "schema": {"type": "integer", "minimum": 1, "default": 20}},
          {"name": "loud", "in": "query", "description": "Only loud ones", "schema": {"type": "string", "enum": ["true", "false"]}},
          {"name": "sort", "in": "query", "description": "The order", "schema": {"type": "string", "enum": ["title", "-title"]}},
          {"name": "mood", "in": "query", "schema": {"type": "string", "enum": ["sad", "happy"]}}],
        "responses": {"200": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/PageSong"}}}}, "401": {}}},
      "post": {"operationId": "create-song", "tags": ["songs"], "summary": "Write a song", "security": [],
        "parameters": [{"name": "Idempotency-Key", "in": "header", "schema": {"type": "string"}}],
        "requestBody": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/NewSong"}}}},
        "responses": {"201": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Song"}}}},
          "202": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Rehearsal"}}}}}}
    },
    "/songs/{id}": {
      "patch": {"operationId": "update-song", "tags": ["songs"], "summary": "Change a song",
        "parameters": [{"name": "id", "in": "path", "required": true, "schema": {"type": "string"}}],
        "requestBody": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/SongChange"}}}},
        "responses": {"200": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Song"}}}}}},
      "delete": {"operationId": "delete-song", "tags": ["songs"], "summary": "Forget a song",
        "parameters": [{"name": "id", "in": "path", "required": true, "schema": {"type": "string"}}], "responses": {"204": {}}}
    },
    "/songs/{id}/events": {"get": {"operationId": "follow-song", "tags": ["songs"], "summary": "Listen",
        "parameters": [{"name": "id", "in": "path", "required": true, "schema": {"type": "string"}},
          {"name": "Last-Event-ID", "in": "header", "schema": {"type": "string"}}, {"name": "last_event_id", "in": "query", "schema": {"type": "string"}}],
        "responses": {"200": {"content": {"text/event-stream": {"schema": {"type": "string"}}}}}}},
    "/songs/live": {"get": {"operationId": "open-stage", "tags": ["songs"], "summary": "Sing along", "responses": {"101": {}}}},
    "/songs/{id}/score": {
      "get": {"operationId": "download-score", "tags": ["scores"], "summary": "Download", "responses": {"200": {"content": {"application/pdf": {}, "application/json": {"schema": {"type": "object", "properties": {"a": {}}}}}}},
        "parameters": [{"name": "id", "in": "path", "required": true, "schema": {"type": "string"}}]},
      "put": {"operationId": "upload-score", "tags": ["scores"], "summary": "Upload",
        "parameters": [{"name": "id", "in": "path", "required": true, "schema": {"type": "string"}}],
        "requestBody": {"content": {"multipart/form-data": {"schema": {"type": "object", "properties": {
          "file": {"type": "string", "format": "binary"}, "title": {"type": "string"}}}}}},
        "responses": {"200": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Song"}}}}}}}
  },
  "components": {"schemas": {
    "PageSong": {"type": "object", "required": ["data", "has_more"], "properties": {
      "data": {"type": "array", "items": {"$ref": "#/components/schemas/Song"}}, "has_more": {"type": "boolean"}, "total": {"type": "integer"}}},
    "Song": {"type": "object", "required": ["id", "mood", "ended_at", "composer"], "properties": {
      "id": {"type": "string", "description": "Its id"}, "mood": {"type": "string", "enum": ["happy", "sad"], "description": "How it feels"},
      "ended_at": {"type": ["string", "null"], "format": "date-time"}, "any": {},
      "composer": {"oneOf": [{"$ref": "#/components/schemas/Composer"}, {"type": "null"}]},
      "either": {"oneOf": [{"type": "string"}, {"type": "integer"}]},
      "notes": {"type": "object", "additionalProperties": {"type": "integer"}}}},
    "Composer": {"type": "object", "additionalProperties": true, "properties": {"name": {"type": "string"}}},
    "Rehearsal": {"type": "object", "properties": {"id": {"type": "string"}}},
    "NewSong": {"type": "object", "required": ["title"], "properties": {
      "title": {"type": "string"}, "mood": {"type": "string", "enum": ["happy"]}, "public": {"type": "boolean", "default": true},
      "tempo": {"type": "integer", "minimum": 1}, "volume": {"type": "number", "minimum": 0}, "tags": {"type": "array", "items": {"type": "string"}}}},
    "SongChange": {"type": "object", "properties": {
      "title": {"type": "string"}, "subtitle": {"type": ["string", "null"]}, "tags": {"type": "array", "items": {"type": "string"}}}},
    "Unused": {"type": "object", "properties": {"x": {"type": "string"}}}
  }}
}`

// makeClient generates into a folder that holds one hand-written file.
func makeClient(t *testing.T, document string) (map[string]string, error) {
	t.Helper()
	folder := t.TempDir()
	byHand := "package client\n\ntype Rehearsal struct{}\n\nfunc (c *Client) DeleteSong() {}\n"
	for name, text := range map[string]string{"client.go": byHand, "gone_gen.go": "package client\n"} {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	err := run([]string{"-package", folder, "-out", folder}, strings.NewReader(document))
	files := map[string]string{}
	names, _ := filepath.Glob(filepath.Join(folder, "*"+suffix))
	for _, name := range names {
		text, readErr := os.ReadFile(name)
		if readErr != nil {
			t.Fatal(readErr)
		}
		files[filepath.Base(name)] = string(text)
	}
	return files, err
}

// narrow takes out what gofmt aligns by.
func narrow(source string) string {
	for strings.Contains(source, "  ") {
		source = strings.ReplaceAll(source, "  ", " ")
	}
	return source
}

func TestGeneratedClient(t *testing.T) {
	t.Parallel()
	files, err := makeClient(t, music)
	if err != nil {
		t.Fatal(err)
	}
	if len(files) != 3 {
		t.Fatalf("%d files, want songs, scores and what they share, and nothing old", len(files))
	}
	for name, want := range map[string]struct{ file, text string }{
		"says that it is generated":          {"songs_gen.go", "// Code generated by internal/generate from the OpenAPI document. DO NOT EDIT.\n\npackage client\n"},
		"a page is generic":                  {"schemas_gen.go", "type Page[T any] struct {\n\tData    []T  `json:\"data\"`\n\tHasMore bool `json:\"has_more\"`\n\tTotal   *int `json:\"total,omitzero\"`\n}"},
		"a list answers a page":              {"songs_gen.go", "func (c *Client) ListSongs(ctx context.Context, params ListSongsParams, options ...CallOption) (*Page[Song], error) {"},
		"a list has an iterator":             {"songs_gen.go", "func (c *Client) AllSongs(ctx context.Context, params ListSongsParams, options ...CallOption) iter.Seq2[Song, error] {"},
		"true and false are a bool":          {"songs_gen.go", "\t// Only loud ones.\n\tLoud *bool\n"},
		"what is no word stays a string":     {"songs_gen.go", "\t// The order. One of title, -title.\n\tSort string\n"},
		"a parameter shares an enumeration":  {"songs_gen.go", "\tMood SongMood\n"},
		"a skip of 0 is sent":                {"songs_gen.go", "\tSkip   *int\n"},
		"an enumeration is a type":           {"schemas_gen.go", "const (\n\tSongMoodHappy SongMood = \"happy\"\n\tSongMoodSad   SongMood = \"sad\"\n)"},
		"null is a pointer":                  {"schemas_gen.go", "EndedAt *time.Time `json:\"ended_at\"`"},
		"a reference or null is a pointer":   {"schemas_gen.go", "*Composer "},
		"one of several is raw":              {"schemas_gen.go", "json.RawMessage `json:\"either,omitzero\"`"},
		"anything is raw":                    {"schemas_gen.go", "json.RawMessage `json:\"any,omitzero\"`"},
		"a map has its values' type":         {"schemas_gen.go", "map[string]int"},
		"an open object keeps the rest":      {"schemas_gen.go", "v.Rest, err = decodeOpen(data, (*plainComposer)(v), \"name\")"},
		"a default of true needs a pointer":  {"songs_gen.go", "*bool     `json:\"public,omitzero\"`"},
		"a number that is never 0 does not":  {"songs_gen.go", "int       `json:\"tempo,omitzero\"`"},
		"a number that may be 0 does":        {"songs_gen.go", "*float64  `json:\"volume,omitzero\"`"},
		"a change may leave out":             {"songs_gen.go", "Title    *string          `json:\"title,omitzero\"`"},
		"a change may empty":                 {"songs_gen.go", "Subtitle Nullable[string] `json:\"subtitle,omitzero\"`"},
		"a change may set no tags":           {"songs_gen.go", "Tags     []string         `json:\"tags,omitzero\"`"},
		"answers of two kinds are a choice":  {"songs_gen.go", "type CreateSongResult struct {\n\tSong      *Song      // status 201\n\tRehearsal *Rehearsal // status 202\n}"},
		"a POST with a key, for anybody":     {"songs_gen.go", "request{method: \"POST\", path: \"/songs\", keyed: true, public: true, body: in}"},
		"no answer is an error":              {"songs_gen.go", "func (c *Client) deleteSong(ctx context.Context, id string, options ...CallOption) error {"},
		"a stream is followed to its end":    {"songs_gen.go", "return c.follow(ctx, request{method: \"GET\", path: at(\"/songs/\", id, \"/events\")}, options, Event.ended)"},
		"a download is read as it arrives":   {"scores_gen.go", "func (c *Client) DownloadScore(ctx context.Context, id string, options ...CallOption) (io.ReadCloser, error) {"},
		"a form has a file":                  {"scores_gen.go", "\tf.file(\"file\", in.File)\n\tf.set(\"title\", in.Title)\n"},
		"a method says what and where it is": {"songs_gen.go", "// UpdateSong: change a song.\n//\n//\tPATCH /songs/{id}\nfunc"},
	} {
		if !strings.Contains(narrow(files[want.file]), narrow(want.text)) {
			t.Errorf("%s: %q is missing in %s:\n%s", name, want.text, want.file, files[want.file])
		}
	}
	for _, absent := range []string{"Unused", "OpenStage", "type Rehearsal", "LastEventID", "PageSong"} {
		for name, text := range files {
			if strings.Contains(text, absent) {
				t.Errorf("%s stands in %s", absent, name)
			}
		}
	}
}

func TestGeneratorIsDeterministic(t *testing.T) {
	t.Parallel()
	first, err := makeClient(t, music)
	if err != nil {
		t.Fatal(err)
	}
	for range 20 {
		again, err := makeClient(t, music)
		if err != nil {
			t.Fatal(err)
		}
		for name, text := range first {
			if !bytes.Equal([]byte(again[name]), []byte(text)) {
				t.Fatalf("%s is another one:\n%s\n%s", name, text, again[name])
			}
		}
	}
}

func TestGeneratorRefusesWhatItDoesNotKnow(t *testing.T) {
	t.Parallel()
	operation := func(rest string) string {
		return `{"paths": {"/x": {"get": {"operationId": "get-x", "tags": ["x"], "summary": "X", ` + rest + `}}}}`
	}
	for name, test := range map[string]struct{ document, want string }{
		"no JSON":              {"openapi: 3.1.0", "read the OpenAPI document"},
		"no operations":        {`{"paths": {}}`, "no operations"},
		"a method":             {`{"paths": {"/x": {"trace": {"operationId": "trace-x", "tags": ["x"]}}}}`, "trace /x"},
		"an operation unnamed": {`{"paths": {"/x": {"get": {"tags": ["x"]}}}}`, "operationId"},
		"a cookie":             {operation(`"parameters": [{"name": "c", "in": "cookie", "schema": {"type": "string"}}], "responses": {"204": {}}`), "a parameter c in cookie"},
		"a header of its own":  {operation(`"parameters": [{"name": "X-Y", "in": "header", "schema": {"type": "string"}}], "responses": {"204": {}}`), "a parameter X-Y in header"},
		"a body in XML":        {operation(`"requestBody": {"content": {"application/xml": {"schema": {}}}}, "responses": {"204": {}}`), "neither JSON nor a form"},
		"an object without a name": {
			operation(`"responses": {"200": {"content": {"application/json": {"schema": {"type": "object", "properties": {"a": {"type": "string"}}}}}}}`),
			"needs a name of its own",
		},
	} {
		if _, err := makeClient(t, test.document); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q", name, err, test.want)
		}
	}
}
