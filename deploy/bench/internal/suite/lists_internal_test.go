package suite

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestAListThatTheAPIDoesNotHaveIsAnError(t *testing.T) {
	t.Parallel()
	var api contract
	err := json.Unmarshal([]byte(`{"paths":{"/api/v1/things/{id}/parts":{"get":{"parameters":[
		{"name":"id","in":"path"},{"name":"q","in":"query"},{"name":"sort","in":"query"}]},"post":{}},"/api/v1/made":{"post":{}}}}`), &api)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		list listing
		want string // empty is no error
	}{
		"a list":                        {listing{path: "/things/{thing}/parts"}, ""},
		"parameters":                    {listing{path: "/things/{thing}/parts", query: "q=a&sort=-b"}, ""},
		"a parameter of another name":   {listing{path: "/things/{thing}/parts", query: "q=a&query=b"}, "no parameter query"},
		"a parameter of the path":       {listing{path: "/things/{thing}/parts", query: "id=a"}, "no parameter id"},
		"a path that is not there":      {listing{path: "/things"}, "no such list"},
		"a path that cannot be read so": {listing{path: "/made"}, "no such list"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := api.has(c.list)
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("got %v, want %q in it", err, c.want)
			}
		})
	}
}
