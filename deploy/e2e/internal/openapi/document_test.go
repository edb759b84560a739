package openapi_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/tarento/copilot/deploy/e2e/internal/openapi"
)

const document = `{
  "openapi": "3.1.0",
  "security": [{"bearer": []}],
  "paths": {
    "/lamps/{id}": {
      "get": {
        "operationId": "get-lamp",
        "parameters": [
          {"name": "id", "in": "path", "required": true, "schema": {"type": "string", "format": "uuid"}},
          {"$ref": "#/components/parameters/Limit"}
        ],
        "responses": {
          "200": {
            "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Lamp"}}},
            "headers": {"ETag": {"required": true, "schema": {"type": "string"}}, "Age": {"schema": {"type": "string"}}}
          },
          "101": {"description": "Something else from here on"},
          "204": {"description": "Nothing"},
          "4XX": {"content": {"application/problem+json": {"schema": {"type": "object"}}}}
        }
      },
      "put": {
        "operationId": "put-lamp",
        "security": [],
        "requestBody": {"required": true, "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Lamp"}}}},
        "responses": {"200": {"content": {"image/*": {}, "text/event-stream": {}}}}
      }
    }
  },
  "components": {
    "parameters": {"Limit": {"name": "limit", "in": "query", "schema": {"type": "integer", "minimum": 1, "maximum": 100}}},
    "schemas": {"Lamp": {
      "type": "object", "additionalProperties": false, "required": ["id"],
      "properties": {
        "id": {"type": "string", "format": "uuid"},
        "watts": {"type": "integer", "minimum": 0},
        "email": {"type": "string", "format": "email"},
        "parent": {"$ref": "#/components/schemas/Lamp"},
        "shades": {"type": "array", "items": {"$ref": "#/components/schemas/Lamp"}}
      }
    }}
  }
}`

func parse(t *testing.T) (get, put *openapi.Operation) {
	t.Helper()
	doc, err := openapi.Parse([]byte(document))
	if err != nil {
		t.Fatal(err)
	}
	if len(doc.Operations) != 2 {
		t.Fatalf("there are %d operations, want 2", len(doc.Operations))
	}
	return doc.Operations[0], doc.Operations[1]
}

func TestADocumentIsRead(t *testing.T) {
	t.Parallel()
	get, put := parse(t)
	if get.ID != "get-lamp" || get.Method != http.MethodGet || get.Path != "/lamps/{id}" || !get.Secured || put.Secured {
		t.Errorf("read %+v and %+v", get, put)
	}
	if !slices.Equal(get.Statuses(), []string{"101", "200", "204", "4XX"}) {
		t.Errorf("the statuses are %v", get.Statuses())
	}
	limit, ok := get.Parameter(openapi.InQuery, "LIMIT")
	if most, _ := limit.Schema.Number("maximum"); !ok || most != 100 || limit.Required {
		t.Errorf("the parameter behind the reference is %+v", limit)
	}
	if id, ok := get.Parameter(openapi.InPath, "id"); !ok || !id.Required || id.Schema.Text("format") != "uuid" {
		t.Errorf("the id is %+v", id)
	}
	if get.Streams() || !put.Streams() {
		t.Error("which operation streams was not understood")
	}
	if !get.Switches() || put.Switches() {
		t.Error("which operation switches protocols was not understood")
	}
	if !put.BodyRequired || !slices.Equal(put.Body[openapi.MediaJSON].Required(), []string{"id"}) {
		t.Errorf("the body is %+v", put.Body)
	}
}

func TestWhatIsNoDocumentIsRefused(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"no JSON":               `{`,
		"no object":             `[]`,
		"no operations":         `{"paths": {}}`,
		"a schema that is none": `{"paths": {"/a": {"get": {"responses": {"200": {"content": {"application/json": {"schema": {"type": 7}}}}}}}}}`,
		"a reference to nothing": `{"paths": {"/a": {"get": {"responses": {"200": {"content": {"application/json":
			{"schema": {"$ref": "#/components/schemas/None"}}}}}}}}}`,
	} {
		if _, err := openapi.Parse([]byte(text)); err == nil {
			t.Errorf("%s was read", name)
		}
	}
}

func TestAnAnswerIsHeldAgainstTheDocument(t *testing.T) {
	t.Parallel()
	get, put := parse(t)
	const id = `"id": "01900000-0000-7000-8000-000000000001"`
	for name, c := range map[string]struct {
		op          *openapi.Operation
		status      int
		media, body string
		etag        string
		want        string // of the first deviation; empty for none
	}{
		"as promised":                {get, 200, "application/json; charset=utf-8", `{` + id + `, "watts": 5}`, `"1"`, ""},
		"within a range of statuses": {get, 404, "application/problem+json", `{}`, "", ""},
		"nothing, as promised":       {get, 204, "", "", "", ""},
		"a range of media types":     {put, 200, "image/png", "\x89PNG", "", ""},
		"an unknown status":          {get, 500, "application/problem+json", `{}`, "", "status 500 is not documented (101, 200, 204, 4XX are)"},
		"another media type":         {get, 200, "text/html", `<p>`, `"1"`, "text/html is not documented"},
		"no media type":              {get, 200, "", `{}`, `"1"`, "cannot be read"},
		"a missing header":           {get, 200, "application/json", `{` + id + `}`, "", "the header ETag is missing"},
		"a body where none is":       {get, 204, "application/json", `{}`, "", "a body of 2 bytes"},
		"an unknown field":           {get, 200, "application/json", `{` + id + `, "secret": 1}`, `"1"`, "secret"},
		"a missing field":            {get, 200, "application/json", `{}`, `"1"`, "id"},
		"a wrong type deep inside":   {get, 200, "application/json", `{` + id + `, "shades": [{` + id + `, "watts": "5"}]}`, `"1"`, "/shades/0/watts"},
		"a null that is not allowed": {get, 200, "application/json", `{` + id + `, "watts": null}`, `"1"`, "null"},
		"a format that is not kept":  {get, 200, "application/json", `{"id": "7"}`, `"1"`, "uuid"},
		"a number below its minimum": {get, 200, "application/json", `{` + id + `, "watts": -1}`, `"1"`, "minimum"},
		"a body that breaks off":     {get, 200, "application/json", `{` + id, `"1"`, "no JSON"},
		"a body that is no UTF-8":    {get, 200, "application/json", "{" + id + ", \"email\": \"a@b.c\xff\"}", `"1"`, "no UTF-8"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			header := http.Header{}
			header.Set("Content-Type", c.media)
			header.Set("ETag", c.etag)
			wrong := c.op.Check(c.status, header, []byte(c.body))
			switch {
			case c.want == "" && len(wrong) > 0:
				t.Errorf("found %q, want nothing", wrong)
			case c.want != "" && (len(wrong) == 0 || !strings.Contains(strings.Join(wrong, " "), c.want)):
				t.Errorf("found %q, want %q", wrong, c.want)
			}
		})
	}
}

func TestAValueFitsOrDoesNot(t *testing.T) {
	t.Parallel()
	_, put := parse(t)
	lamp := put.Body[openapi.MediaJSON]
	for text, want := range map[string]bool{
		`{"id": "any text, because formats are not looked at"}`: true,
		`{"id": "a", "watts": null}`:                            true, // stands for a field that is not there
		`{"id": "a", "parent": {"id": "b", "watts": null}}`:     true,
		`{"id": null}`:              false,
		`{"id": "a", "watts": 1.5}`: false,
		`{"id": "a", "more": 1}`:    false,
		`{"ID": "a"}`:               false,
		`{"id": "a"} {}`:            false,
		`null`:                      false,
		``:                          false,
	} {
		if got := lamp.Fits([]byte(text)); got != want {
			t.Errorf("whether %s fits: %v, want %v", text, got, want)
		}
	}
	get, _ := parse(t)
	limit, _ := get.Parameter(openapi.InQuery, "limit")
	for text, want := range map[string]bool{"1": true, "100": true, "101": false, "1.5": false, "ten": false, "": false, "null": false} {
		if got := limit.Schema.FitsString(text); got != want {
			t.Errorf("whether %q fits as a parameter: %v, want %v", text, got, want)
		}
	}
	if !(openapi.Schema{}).Fits([]byte(`[1]`)) {
		t.Error("no schema does not allow everything")
	}
}

func TestAStreamOfEventsIsRecognized(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]bool{
		"": true,
		": hello\n\nid: 1\nevent: a\r\ndata: {}\n\n": true,
		"data: {}\n\ndat": true, // cut
		"data: {}\n\n{\"type\": \"about:blank\"}\n": false,
		"<html>\n": false,
	} {
		if got := openapi.IsEvents([]byte(text)); got != want {
			t.Errorf("whether %q is a stream: %v, want %v", text, got, want)
		}
	}
}
