package httpapi_test

import (
	"slices"
	"testing"
	"time"

	"github.com/tarento/copilot/pkg/access"
)

type sessionPage struct {
	Data []struct {
		ID        string
		IP        string    `json:"ip"`
		Agent     string    `json:"user_agent"`
		CreatedAt time.Time `json:"created_at"`
		LastUsed  time.Time `json:"last_used"`
		ExpiresAt time.Time `json:"expires_at"`
		Current   bool
	}
	Total      int
	HasMore    bool   `json:"has_more"`
	NextCursor string `json:"next_cursor"`
}

func TestPeopleSeeAndEndTheirSessions(t *testing.T) {
	t.Parallel()
	g := start(t)
	login := func() person {
		var s session
		g.call("", "POST", "/v1/auth/login", map[string]string{"username": member, "password": password}, "User-Agent", "phone").wants(200).into(&s)
		return person{id: s.User.ID, session: s}
	}
	call := func(p person, method, path string) answer { return g.call("", method, path, nil, p.header()...) }
	first, second, third := login(), login(), login()

	var listed sessionPage
	call(second, "GET", "/v1/auth/sessions?skip=0").wants(200).lacks("hash", "rt_").into(&listed)
	if len(listed.Data) != 3 || listed.Total != 3 || listed.Data[0].Current || !listed.Data[1].Current {
		t.Fatalf("sessions %+v, want the second of three to be the caller's", listed)
	}
	if s := listed.Data[1]; s.Agent != "phone" || s.IP != "127.0.0.1" || s.ExpiresAt.Before(time.Now().Add(6*24*time.Hour)) || s.LastUsed.Before(s.CreatedAt) {
		t.Errorf("the session is %+v", s)
	}
	ids := []string{listed.Data[2].ID, listed.Data[1].ID, listed.Data[0].ID} // of first, second, third
	var paged sessionPage
	call(second, "GET", "/v1/auth/sessions?limit=2").wants(200).into(&paged)
	call(second, "GET", "/v1/auth/sessions?limit=2&cursor="+paged.NextCursor).wants(200).into(&paged)
	if len(paged.Data) != 1 || paged.Data[0].ID != ids[0] || paged.HasMore {
		t.Errorf("the second page is %+v", paged)
	}

	// Refreshing keeps the session.
	var again tokens
	g.call("", "POST", "/v1/auth/refresh", map[string]string{"refresh_token": first.session.Tokens.Refresh}).wants(200).into(&again)
	call(second, "GET", "/v1/auth/sessions").wants(200).into(&listed)
	if len(listed.Data) != 3 || !listed.Data[2].LastUsed.After(listed.Data[2].CreatedAt) {
		t.Errorf("after a refresh: %+v", listed.Data)
	}

	g.call(admin, "DELETE", "/v1/auth/sessions/"+ids[0], nil).wants(404).has("session.not_found")
	call(first, "GET", "/v1/auth/me").wants(200)
	call(second, "DELETE", "/v1/auth/sessions/"+ids[0]).wants(204)
	call(second, "DELETE", "/v1/auth/sessions/"+ids[0]).wants(404)
	call(second, "DELETE", "/v1/auth/sessions/not-an-id").wants(422)
	call(first, "GET", "/v1/auth/me").wants(401).has("token.refused")
	g.call("", "POST", "/v1/auth/refresh", map[string]string{"refresh_token": again.Refresh}).wants(401)

	call(second, "DELETE", "/v1/auth/sessions").wants(204)
	call(third, "GET", "/v1/auth/me").wants(401)
	call(second, "GET", "/v1/auth/sessions").wants(200).into(&listed)
	if len(listed.Data) != 1 || listed.Data[0].ID != ids[1] {
		t.Errorf("left are %+v", listed.Data)
	}
	call(second, "POST", "/v1/auth/logout").wants(200)
	call(second, "GET", "/v1/auth/me").wants(401)
}

func TestWhatHappensToSessionsIsAudited(t *testing.T) {
	t.Parallel()
	g := start(t)
	ada := g.newcomer("ada", access.Member)
	call := func(p person, method, path string, body any) answer {
		return g.call("", method, path, body, p.header()...)
	}
	next := "another password"
	call(ada, "POST", "/v1/auth/change-password", map[string]string{"current_password": password, "new_password": next, "confirm_password": next}).wants(200)
	ended := person{session: g.login(ada.name, next)}
	var mine sessionPage
	call(ended, "GET", "/v1/auth/sessions", nil).wants(200).into(&mine)
	call(ada, "DELETE", "/v1/auth/sessions/"+mine.Data[0].ID, nil).wants(204)
	call(ada, "DELETE", "/v1/auth/sessions", nil).wants(204)
	refresh := map[string]string{"refresh_token": ada.session.Tokens.Refresh}
	g.call("", "POST", "/v1/auth/refresh", refresh).wants(200)
	call(ada, "POST", "/v1/auth/logout", nil).wants(200)
	stolen := g.login(ada.name, next).Tokens.Refresh
	refresh = map[string]string{"refresh_token": stolen}
	g.call("", "POST", "/v1/auth/refresh", refresh).wants(200)
	g.sql("UPDATE refresh_tokens SET used_at = used_at - interval '1 hour' WHERE used_at IS NOT NULL")
	g.call("", "POST", "/v1/auth/refresh", refresh).wants(401)

	var actions []string
	rows, err := g.db.Conn(t, g.db.OwnerURL).Query(t.Context(), `SELECT action || CASE WHEN actor_id::text = $1 THEN '' ELSE ' by nobody' END
		|| CASE WHEN ip = '127.0.0.1' AND request_id <> '' THEN '' ELSE ' from nowhere' END
		|| CASE WHEN concat(before, after) LIKE '%$2a%' OR concat(before, after) LIKE '%rt_%' THEN ' with a secret' ELSE '' END
		FROM audit_logs ORDER BY seq`, ada.id)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var action string
		if err := rows.Scan(&action); err != nil {
			t.Fatal(err)
		}
		actions = append(actions, action)
	}
	want := []string{
		"session.create", "user.change_password", "session.create", "session.delete", "session.delete_others", "session.delete",
		"session.create", "session.revoke_reused by nobody",
	}
	if !slices.Equal(actions, want) {
		t.Errorf("audited %q, want %q", actions, want)
	}
}

func TestALoginBringsTheHashUpToDate(t *testing.T) {
	t.Parallel()
	g := start(t, "BCRYPT_COST", "5")
	g.login(member, password)
	var hash string
	var logged *time.Time
	row := g.db.Conn(t, g.db.OwnerURL).QueryRow(t.Context(), "SELECT password_hash, last_login FROM users WHERE email = $1", member)
	if err := row.Scan(&hash, &logged); err != nil || hash[:7] != "$2a$05$" || logged == nil {
		t.Errorf("hash %.7s, last login %v, %v", hash, logged, err)
	}
	g.login(member, password)
}
