// Package openapi reads the API's own description and holds answers against it: which operations there are, what they take, and
// whether an answer is one that was promised.
//
//	doc, err := openapi.Parse(data)
//	for _, op := range doc.Operations {
//		problems := op.Check(resp.StatusCode, resp.Header, body)
//	}
package openapi
