package storetest_test

import (
	"testing"

	"github.com/tarento/copilot/pkg/storetest"
)

func TestEveryDatabaseIsItsOwn(t *testing.T) {
	t.Parallel()
	a, b := storetest.New(t), storetest.New(t)
	_, err := a.Conn(t, a.OwnerURL).Exec(t.Context(),
		"INSERT INTO organizations (id, name) VALUES (gen_random_uuid(), 'Only in a')")
	if err != nil {
		t.Fatal(err)
	}
	var n int
	if err := b.Conn(t, b.OwnerURL).QueryRow(t.Context(), "SELECT count(*) FROM organizations").Scan(&n); err != nil {
		t.Fatal(err)
	}
	if n != 0 {
		t.Errorf("the other database holds %d organizations, want 0", n)
	}
}

func TestURLsEnterTheirRoles(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	for role, url := range map[string]string{"copilot_app": db.AppURL, "copilot_engine": db.EngineURL} {
		var user string
		if err := db.Conn(t, url).QueryRow(t.Context(), "SELECT current_user").Scan(&user); err != nil {
			t.Fatal(err)
		}
		if user != role {
			t.Errorf("connected as %s, want %s", user, role)
		}
	}
}

func TestSeededDatabaseHoldsTheDemonstrationUsers(t *testing.T) {
	t.Parallel()
	db := storetest.NewSeeded(t)
	var n int
	if err := db.Conn(t, db.OwnerURL).QueryRow(t.Context(), "SELECT count(*) FROM users").Scan(&n); err != nil {
		t.Fatal(err)
	}
	if n != 3 {
		t.Errorf("%d users, want 3", n)
	}
}
