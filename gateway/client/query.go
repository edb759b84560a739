package client

import (
	"fmt"
	"net/url"
	"reflect"
	"strings"
	"time"
)

// query builds the query of a call.
type query url.Values

// set adds a parameter, unless it has its zero value. A list is joined by commas.
func (q query) set(name string, value any) {
	if text, given := plain(value); given {
		q[name] = []string{text}
	}
}

// plain writes a value as parameters and form fields have it, and reports whether it is not the zero value. What a pointer points
// to is given even when it is zero.
func plain(value any) (text string, given bool) {
	v := reflect.ValueOf(value)
	given = !v.IsZero()
	if v.Kind() == reflect.Pointer && given {
		v = v.Elem()
	}
	if at, ok := reflect.TypeAssert[time.Time](v); ok {
		return at.Format(time.RFC3339Nano), given
	}
	if v.Kind() != reflect.Slice {
		return fmt.Sprint(v.Interface()), given
	}
	parts := make([]string, v.Len())
	for i := range parts {
		parts[i], _ = plain(v.Index(i).Interface())
	}
	return strings.Join(parts, ","), len(parts) > 0
}
