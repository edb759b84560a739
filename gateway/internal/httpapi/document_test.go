package httpapi_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/tarento/copilot/gateway/internal/httpapi"
)

// apiDocument is the OpenAPI document, as far as these tests read it.
type apiDocument struct {
	Info struct{ Title, Version, Description string }
	Tags []struct{ Name, Description string }

	Paths      map[string]map[string]describedOperation
	Components struct {
		Schemas         map[string]*describedSchema
		SecuritySchemes map[string]any `json:"securitySchemes"`
	}
}

type describedOperation struct {
	OperationID string `json:"operationId"`
	Summary     string
	Tags        []string
	Security    *[]map[string][]string
	Permission  string `json:"x-permission"`
	Parameters  []struct {
		Name, In, Description string
		Example               any
		Schema                *describedSchema
	}
	RequestBody *struct {
		Content map[string]struct{ Schema *describedSchema }
	} `json:"requestBody"`
	Responses map[string]struct {
		Description string
		Content     map[string]struct{ Schema *describedSchema }
	}
}

type describedSchema struct {
	Ref         string `json:"$ref"`
	Type        any
	Format      string
	Description string
	Enum        []any
	Default     any
	Examples    []any
	Properties  map[string]*describedSchema
	Items       *describedSchema
	OneOf       []*describedSchema `json:"oneOf"`
	Additional  json.RawMessage    `json:"additionalProperties"`
}

// is reports whether the schema is, beside null, of this type.
func (s *describedSchema) is(t string) bool {
	list, _ := s.Type.([]any)
	return s.Type == t || slices.Contains(list, any(t))
}

// shows reports whether a reader knows what a value looks like: by an example, or by what makes one.
func (s *describedSchema) shows() bool {
	switch {
	case s == nil:
		return false
	case len(s.Examples) > 0, len(s.Enum) > 0, s.Default != nil, s.Format == "uuid", s.Format == "date-time", s.Format == "binary":
		return true
	case s.Ref != "", len(s.OneOf) > 0, len(s.Properties) > 0, s.is("boolean"), s.is("object"):
		return true
	case s.is("array"):
		return s.Items.shows()
	default:
		return false
	}
}

func describe(t *testing.T) *apiDocument {
	t.Helper()
	document, err := httpapi.Describe(httpapi.Config{Version: httpapi.APIVersion, MaxUpload: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	var d apiDocument
	if err := json.Unmarshal(document.JSON, &d); err != nil {
		t.Fatal(err)
	}
	return &d
}

// each calls do for every operation, in the order of their paths.
func (d *apiDocument) each(do func(path, method string, op describedOperation)) {
	for _, path := range slices.Sorted(maps.Keys(d.Paths)) {
		for _, method := range slices.Sorted(maps.Keys(d.Paths[path])) {
			do(path, method, d.Paths[path][method])
		}
	}
}

// verbs are the first words of operation ids. A new one is a decision: generated clients name their methods by them.
var verbs = []string{
	"activate", "add", "archive", "assign", "batch", "cancel", "change", "check", "create", "delete", "discard", "download", "execute", "export", "find",
	"follow", "get", "index", "list", "open", "put", "redeliver", "redrive", "remove", "restore", "retry", "revoke", "rotate", "run", "search", "set",
	"stream", "submit", "test", "unarchive", "update", "upload", "verify",
}

// sentences are the operation ids that are a verb and nothing else.
var sentences = []string{"login", "logout", "register", "refresh"}

func TestEveryOperationIsDocumented(t *testing.T) {
	t.Parallel()
	d := describe(t)
	tags, ids := map[string]bool{}, map[string]bool{}
	for _, tag := range d.Tags {
		tags[tag.Name] = false
		if tag.Description == "" {
			t.Errorf("tag %s has no description", tag.Name)
		}
	}
	kebab := regexp.MustCompile(`^[a-z]+(-[a-z0-9]+)+$`)
	d.each(func(path, method string, op describedOperation) {
		name := strings.ToUpper(method) + " " + path
		verb, _, _ := strings.Cut(op.OperationID, "-")
		if !slices.Contains(sentences, op.OperationID) && (!kebab.MatchString(op.OperationID) || !slices.Contains(verbs, verb)) {
			t.Errorf("%s: the operation id %q is not a verb and a noun", name, op.OperationID)
		}
		if ids[op.OperationID] {
			t.Errorf("%s: another operation is called %q, too", name, op.OperationID)
		}
		ids[op.OperationID] = true
		if len(op.Summary) < 5 || strings.HasSuffix(op.Summary, ".") {
			t.Errorf("%s: the summary %q says nothing, or is a sentence", name, op.Summary)
		}
		if len(op.Tags) != 1 {
			t.Errorf("%s: has the tags %q, want one", name, op.Tags)
		}
		for _, tag := range op.Tags {
			if _, known := tags[tag]; !known {
				t.Errorf("%s: the tag %q is not described", name, tag)
			}
			tags[tag] = true
		}
		if op.Security == nil {
			t.Errorf("%s: does not say who may call it", name)
		} else {
			for _, scheme := range *op.Security {
				for name := range scheme {
					if d.Components.SecuritySchemes[name] == nil {
						t.Errorf("%s: the security scheme %q is not described", path, name)
					}
				}
			}
		}
	})
	for tag, used := range tags {
		if !used {
			t.Errorf("no operation has the tag %s", tag)
		}
	}
}

func TestEveryOperationDocumentsItsAnswers(t *testing.T) {
	t.Parallel()
	describe(t).each(func(path, method string, op describedOperation) {
		name := strings.ToUpper(method) + " " + path
		wanted := []string{"500", "503"}
		if op.Security != nil && len(*op.Security) > 0 {
			wanted = append(wanted, "401")
		}
		if op.Permission != "" {
			wanted = append(wanted, "403")
		}
		if strings.Contains(path, "id}") {
			wanted = append(wanted, "404")
		}
		if op.RequestBody != nil {
			wanted = append(wanted, "400", "413", "415", "422")
		}
		for _, parameter := range op.Parameters {
			switch parameter.Name {
			case "If-Match":
				wanted = append(wanted, "412", "428")
			case "If-None-Match":
				wanted = append(wanted, "304")
			case "Idempotency-Key":
				wanted = append(wanted, "409")
			}
		}
		for _, status := range wanted {
			if _, ok := op.Responses[status]; !ok {
				t.Errorf("%s: the answer %s is not documented", name, status)
			}
		}
		succeeds := false
		for status, response := range op.Responses {
			for media, content := range response.Content {
				if content.Schema != nil && len(content.Schema.Properties) > 0 {
					t.Errorf("%s: the answer %s as %s has a schema without a name; refer to one", name, status, media)
				}
			}
			succeeds = succeeds || strings.HasPrefix(status, "2") || status == "101"
			if response.Description == "" {
				t.Errorf("%s: the answer %s has no description", name, status)
			}
			if status < "400" {
				continue
			}
			problem := response.Content["application/problem+json"].Schema
			if len(response.Content) != 1 || problem == nil || problem.Ref != "#/components/schemas/Problem" {
				t.Errorf("%s: the answer %s is no problem document", name, status)
			}
		}
		if !succeeds {
			t.Errorf("%s: no success is documented", name)
		}
	})
}

func TestEveryFieldIsDescribedWithAnExample(t *testing.T) {
	t.Parallel()
	d := describe(t)
	var missing []string
	check := func(where, description string, shows bool) {
		switch {
		case description == "" && !shows:
			missing = append(missing, where+": description and example")
		case description == "":
			missing = append(missing, where+": description")
		case !shows:
			missing = append(missing, where+": example")
		}
	}
	properties := func(where string, s *describedSchema) {
		for _, name := range slices.Sorted(maps.Keys(s.Properties)) {
			check(where+"."+name, s.Properties[name].Description, s.Properties[name].shows())
		}
	}
	for _, name := range slices.Sorted(maps.Keys(d.Components.Schemas)) {
		properties(name, d.Components.Schemas[name])
	}
	d.each(func(_, _ string, op describedOperation) {
		for _, p := range op.Parameters {
			check(fmt.Sprintf("%s, %s %s", op.OperationID, p.In, p.Name), p.Description, p.Example != nil || p.Schema.shows())
		}
		if op.RequestBody != nil {
			for media, content := range op.RequestBody.Content {
				properties(op.OperationID+", "+media, content.Schema)
			}
		}
	})
	if len(missing) > 0 {
		t.Errorf("%d fields and parameters lack something; a doc or example tag or the glossary helps:\n%s",
			len(missing), strings.Join(missing, "\n"))
	}
}
