package httpapi

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humagin"
	"github.com/gin-gonic/gin"
)

// APIVersion is the version in every path of the API, and that of the OpenAPI document where no build speaks for itself.
const APIVersion = "v1"

// OpenAPI is the API's description in both its forms.
type OpenAPI struct {
	JSON []byte // on one line
	YAML []byte
}

// Describe returns the OpenAPI document of an API with this configuration. It needs nothing that the API works with: the
// operations are declared, and never called.
func Describe(cfg Config) (OpenAPI, error) {
	gin.SetMode(gin.ReleaseMode)
	s := &Server{cfg: cfg, router: gin.New()}
	s.api = humagin.New(s.router, s.describe())
	s.operations()
	doc := s.document()
	spec, err := json.Marshal(doc)
	if err != nil {
		return OpenAPI{}, fmt.Errorf("httpapi: render the OpenAPI document: %w", err)
	}
	yaml, err := doc.YAML()
	if err != nil {
		return OpenAPI{}, fmt.Errorf("httpapi: render the OpenAPI document: %w", err)
	}
	return OpenAPI{JSON: spec, YAML: yaml}, nil
}

// document completes the OpenAPI document, once all operations are known. It must not change when requests are answered.
func (s *Server) document() *huma.OpenAPI {
	doc := s.api.OpenAPI()
	keepToTheStandard(doc)
	admitNull(doc.Components.Schemas)
	answerConditions(doc)
	explain(doc)
	return doc
}

// keepToTheStandard takes out of the OpenAPI document what only huma knows: the words for a pattern, which are in the
// messages by now. Strict readers refuse a document with keywords of its own.
func keepToTheStandard(doc *huma.OpenAPI) {
	for _, op := range operationsOf(doc) {
		for _, p := range op.Parameters {
			p.Schema.PatternDescription = ""
		}
	}
	for _, schema := range doc.Components.Schemas.Map() {
		for _, property := range schema.Properties {
			property.PatternDescription = ""
		}
	}
}

// admitNull says of every field that may be null that it may. Huma says so of pointers to plain values, and not of those to ids,
// times and objects.
func admitNull(registry huma.Registry) {
	for name, schema := range registry.Map() {
		t := registry.TypeFromRef("#/components/schemas/" + name)
		if t == nil || t.Kind() != reflect.Struct {
			continue
		}
		for _, field := range reflect.VisibleFields(t) {
			name, options, _ := strings.Cut(field.Tag.Get("json"), ",")
			property := schema.Properties[name]
			_, decided := field.Tag.Lookup("nullable")
			if property == nil || decided || field.Type.Kind() != reflect.Pointer || strings.Contains(options, "omit") {
				continue
			}
			if property.Ref == "" {
				property.Nullable = true
				continue
			}
			schema.Properties[name] = &huma.Schema{
				Description: property.Description, OneOf: []*huma.Schema{{Ref: property.Ref}, {Type: "null"}},
			}
		}
	}
}
