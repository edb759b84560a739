package arbitrary

import (
	"bytes"
	"fmt"
	"mime/multipart"
	"net/textproto"
	"slices"
	"strings"

	"github.com/tarento/copilot/deploy/e2e/internal/openapi"
)

// Form makes up an upload: a form with the fields of the schema, of which those of format binary are files. With odd, something about
// it is unusual or wrong, and what says what.
func (g *Generator) Form(s openapi.Schema, odd bool) (body []byte, contentType, what string) {
	parts := g.parts(s)
	if odd {
		what = g.spoilParts(&parts)
	}
	var out bytes.Buffer
	form := multipart.NewWriter(&out)
	for _, p := range parts {
		header := textproto.MIMEHeader{}
		if p.disposition != "" {
			header.Set("Content-Disposition", p.disposition)
		}
		if p.media != "" {
			header.Set("Content-Type", p.media)
		}
		part, err := form.CreatePart(header)
		if err == nil {
			_, err = part.Write(p.data)
		}
		if err != nil {
			panic(fmt.Sprintf("arbitrary: write a form: %v", err)) // memory does not refuse
		}
	}
	_ = form.Close()
	contentType = form.FormDataContentType()
	if odd && g.Rand.IntN(4) == 0 {
		return g.breakForm(out.Bytes(), contentType)
	}
	return out.Bytes(), contentType, what
}

// part is one field of a form.
type part struct {
	name, disposition, media string
	data                     []byte
}

func newPart(name, file, media string, data []byte) part {
	// Quoted by hand, because a good writer would not let anything odd through.
	disposition := `form-data; name="` + name + `"`
	if file != "" {
		disposition += `; filename="` + file + `"`
	}
	return part{name, disposition, media, data}
}

func (g *Generator) parts(s openapi.Schema) []part {
	var parts []part
	required := s.Required()
	for _, name := range s.Properties() {
		field := s.Property(name)
		switch {
		case field.Text("format") == "binary" || field.Items().Text("format") == "binary":
			parts = append(parts, g.file(name))
		case slices.Contains(required, name) || g.Rand.IntN(2) == 0:
			value := g.Value(field, name)
			data, ok := value.(string)
			if !ok {
				data = string(Encode(value))
			}
			parts = append(parts, newPart(name, "", "", []byte(data)))
		}
	}
	return parts
}

// file is a small file of a kind that is read.
func (g *Generator) file(name string) part {
	n := g.Rand.Uint32()
	switch g.Rand.IntN(3) {
	case 0:
		text := fmt.Appendf(nil, "# Notes %x%s\n\nThe lamp is lit at night.\n", n, g.Mark)
		return newPart(name, fmt.Sprintf("notes-%x.md", n), "text/markdown", text)
	case 1:
		return newPart(name, fmt.Sprintf("table-%x.csv", n), "text/csv", fmt.Appendf(nil, "name,number\nlamp,%d\n", n))
	default:
		return newPart(name, fmt.Sprintf("text-%x.txt", n), "text/plain", fmt.Appendf(nil, "Plain words %x%s.\n", n, g.Mark))
	}
}

// spoilParts changes something about the fields.
func (g *Generator) spoilParts(parts *[]part) (what string) {
	at := slices.IndexFunc(*parts, func(p part) bool { return p.media != "" })
	if at < 0 {
		return ""
	}
	file := &(*parts)[at]
	name := file.name
	switch g.Rand.IntN(10) {
	case 0:
		*parts = slices.Delete(*parts, at, at+1)
		return "no file"
	case 1:
		*parts = append(*parts, g.file(name))
		return "two files"
	case 2:
		file.data = nil
		return "an empty file"
	case 3:
		file.disposition = ""
		return "a part without a name"
	case 4:
		*parts = append(*parts, newPart("unknown_field", "", "", []byte("x")))
		return "a field that is unknown"
	case 5:
		odd := Nasty(g.Rand)
		field := pick(g.Rand, []string{"title", "description", "tags", "project_id", "is_public"})
		*parts = append(*parts, newPart(field, "", "", []byte(odd.Text)))
		return odd.What + " in a field"
	case 6:
		file.data = []byte{0x7f, 'E', 'L', 'F', 2, 1, 1, 0, 0xff, 0xfe, 0}
		return "a program"
	case 7:
		*file = newPart(name, "fake.pdf", "application/pdf", append([]byte("%PDF-1.7\n"), file.data...))
		return "a PDF that is none"
	case 8:
		file.disposition = `form-data; name="` + name + `"`
		return "a file without a filename"
	default:
		odd := Nasty(g.Rand)
		*file = newPart(name, strings.NewReplacer("\r", "%0D", "\n", "%0A").Replace(odd.Text)+".txt", "text/plain", file.data)
		return odd.What + " as a filename"
	}
}

// breakForm damages an encoded form.
func (g *Generator) breakForm(body []byte, contentType string) (broken []byte, media, what string) {
	switch g.Rand.IntN(6) {
	case 0:
		return body[:g.Rand.IntN(len(body))], contentType, "a form that breaks off"
	case 1:
		return body, "multipart/form-data", "a form without a boundary"
	case 2:
		return body, "multipart/form-data; boundary=other", "a form with another boundary"
	case 3:
		return nil, contentType, "a form of nothing"
	case 4:
		return body, "multipart/mixed; boundary=" + strings.Repeat("b", 200), "a form of another kind"
	default:
		return flip(g.Rand, body), contentType, "a form with a bit that has tipped over"
	}
}
