package tenant_test

import (
	"encoding/json"
	"errors"
	"testing"

	"github.com/google/uuid"

	"github.com/tarento/copilot/pkg/tenant"
)

func TestATenantSurvivesItsTextForm(t *testing.T) {
	t.Parallel()
	id := tenant.FromUUID(uuid.New())
	parsed, err := tenant.Parse(id.String())
	if err != nil || parsed != id || parsed.IsZero() {
		t.Errorf("got %v, %v", parsed, err)
	}
	data, err := json.Marshal(map[string]tenant.ID{"tenant": id})
	if err != nil {
		t.Fatal(err)
	}
	var back map[string]tenant.ID
	if err := json.Unmarshal(data, &back); err != nil || back["tenant"] != id {
		t.Errorf("%s became %v, %v", data, back, err)
	}
}

func TestNoTenantCannotBeNamed(t *testing.T) {
	t.Parallel()
	var none tenant.ID
	if !none.IsZero() || none != tenant.FromUUID(uuid.Nil) {
		t.Error("the zero value is some tenant")
	}
	if _, err := tenant.Parse(uuid.Nil.String()); !errors.Is(err, tenant.ErrNone) {
		t.Errorf("the nil UUID: %v", err)
	}
	if _, err := tenant.Parse("acme"); err == nil {
		t.Error("a name was read as an id")
	}
}
