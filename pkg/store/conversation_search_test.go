package store_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/tarento/copilot/pkg/store"
)

// talk writes a conversation with messages.
func (w *world) talk(c store.Conversation, messages ...string) uuid.UUID {
	w.t.Helper()
	w.in(w.acme, func(tx *store.Tx) error {
		if err := tx.Conversations().Create(&c); err != nil {
			return err
		}
		for _, text := range messages {
			if err := tx.Messages().Create(&store.Message{ConversationID: c.ID, Role: store.RoleUser, Content: text}); err != nil {
				return err
			}
		}
		return nil
	})
	return c.ID
}

// finds searches and returns what was found, title and snippet, newest first.
func (w *world) finds(f store.ConversationSearch) (found []string) {
	w.t.Helper()
	err := w.View(w.t.Context(), w.acme, func(tx *store.Tx) error {
		for {
			page, err := tx.Conversations().Search(f)
			if err != nil {
				return err
			}
			for _, row := range page.Rows {
				found = append(found, row.Conversation.Title+": "+row.Snippet)
				about := row.Snippet == row.Conversation.Title || row.Snippet == row.Conversation.Description
				if (row.MessageID == nil) != about {
					w.t.Errorf("message %v with the snippet %q", row.MessageID, row.Snippet)
				}
			}
			if f.After = page.Next; f.After == nil {
				return nil
			}
		}
	})
	if err != nil {
		w.t.Error(err)
	}
	return found
}

func TestConversationsAreFoundByWhatWasSaid(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 4)
	w.talk(store.Conversation{UserID: memberAcme, Title: "Taxis", ProjectID: &acmeProject}, "May I take a taxi?", "Yes, a taxi or a bus.", "Thanks")
	w.talk(store.Conversation{UserID: memberAcme, Title: "The bus", Description: "Timetables"})
	w.talk(store.Conversation{UserID: adminAcme, Title: "Trains"}, strings.Repeat("filler ", 100)+"the bus leaves"+strings.Repeat(" filler", 100))
	gone := w.talk(store.Conversation{UserID: adminAcme, Title: "Deleted bus"}, "bus")
	w.asOwner("UPDATE conversations SET is_active = false WHERE id = $1", gone)
	all := store.ConversationSearch{All: true}
	own := store.ConversationSearch{UserID: memberAcme}
	project := store.ConversationSearch{UserID: uuid.New(), Projects: []uuid.UUID{acmeProject}}
	for name, tc := range map[string]struct {
		search store.ConversationSearch
		text   string
		want   []string
	}{
		"the newest first, and each once": {all, "bus", []string{
			"Trains: …" + strings.Repeat(" filler", 7) + " the bus leaves" + strings.Repeat(" filler", 18) + " …",
			"The bus: The bus", "Taxis: Yes, a taxi or a bus.",
		}},
		"the newest of several messages":         {own, "taxi", []string{"Taxis: Yes, a taxi or a bus."}},
		"all words in one message":               {own, "taxi bus", []string{"Taxis: Yes, a taxi or a bus."}},
		"and not in several":                     {own, "thanks taxi", nil},
		"a beginning":                            {own, "timet", []string{"The bus: Timetables"}},
		"what belongs to the project":            {project, "bus", []string{"Taxis: Yes, a taxi or a bus."}},
		"nothing of others":                      {store.ConversationSearch{UserID: uuid.New()}, "bus", nil},
		"nothing that does not occur":            {all, "ship", nil},
		"nothing without words":                  {all, "?!", nil},
		"no pattern, no operator and no mistake": {all, "bus%' | \\ (", []string{}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, limit := range []int{0, 1} {
				tc.search.Text, tc.search.Limit = tc.text, limit
				got := w.with(t).finds(tc.search)
				if tc.want == nil && len(got) > 0 || len(tc.want) > 0 && strings.Join(got, "\n") != strings.Join(tc.want, "\n") {
					t.Errorf("in pages of %d: found\n%q, want\n%q", limit, got, tc.want)
				}
			}
		})
	}
	w.in(w.startup, func(tx *store.Tx) error {
		all.Text = "bus"
		got, err := tx.Conversations().Search(all)
		if err == nil && len(got.Rows) > 0 {
			t.Errorf("another organization finds %+v", got.Rows)
		}
		return err
	})
}

// However often a word occurs, and wherever, each way of looking hands over to the next without a loss.
func TestSearchesFindTheSameWhateverIsFrequent(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 4)
	// Of 12 000 conversations, one in n has the word everyn, and only old ones have the word old.
	w.asOwner(`INSERT INTO conversations (id, organization_id, user_id, title)
		SELECT (lpad(to_hex(n), 12, '0') || '-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid, $1, $2,
			'n' || n || CASE WHEN n % 3 = 0 THEN ' every3' ELSE '' END || CASE WHEN n % 700 = 0 THEN ' every700' ELSE '' END
			|| CASE WHEN n % 3001 = 0 THEN ' every3001' ELSE '' END || CASE WHEN n < 3500 THEN ' old' ELSE '' END
		FROM generate_series(1, 12000) n`, acmeID, memberAcme)
	w.asOwner(`INSERT INTO messages (id, organization_id, conversation_id, role, content)
		SELECT gen_random_uuid(), organization_id, id, 'user', replace(title, 'every', 'said') FROM conversations
		WHERE organization_id = $1 AND title LIKE '%every%'`, acmeID)
	w.asOwner("ANALYZE conversations, messages")
	for word, want := range map[string][]int{
		"every3": {12000, 11997, 11994}, "every700": {11900, 11200, 10500}, "every3001": {9003, 6002, 3001}, "old": {3499, 3498, 3497},
		"n4711": {4711}, "n12001": nil, "said700": {11900, 11200, 10500}, "said3": {12000, 11997, 11994}, "said3001": {9003, 6002, 3001},
	} {
		t.Run(word, func(t *testing.T) {
			t.Parallel()
			var expected []string
			for _, n := range want {
				expected = append(expected, fmt.Sprintf("n%d", n))
			}
			err := w.View(t.Context(), w.acme, func(tx *store.Tx) error {
				found, err := tx.Conversations().Search(store.ConversationSearch{Text: word, All: true, Limit: 3})
				if err != nil {
					return err
				}
				listed, err := tx.Conversations().List(store.ConversationFilter{Search: word, Page: store.Page{Limit: 3}})
				if err != nil {
					return err
				}
				own, err := tx.Conversations().List(store.ConversationFilter{UserID: &memberAcme, Search: word, Page: store.Page{Limit: 3}})
				if err != nil {
					return err
				}
				if !slices.EqualFunc(own.Rows, listed.Rows, func(a, b store.Conversation) bool { return a.ID == b.ID }) {
					t.Errorf("%d of one's own are found, of everybody's %d, which are the same", len(own.Rows), len(listed.Rows))
				}
				others, err := tx.Conversations().List(store.ConversationFilter{UserID: &adminAcme, Search: word})
				if err != nil {
					return err
				}
				if len(others.Rows) > 0 {
					t.Errorf("%d of somebody else's are found", len(others.Rows))
				}
				var got, inList []string
				for _, row := range found.Rows {
					title, _, _ := strings.Cut(row.Conversation.Title, " ")
					got = append(got, title)
				}
				for _, c := range listed.Rows {
					title, _, _ := strings.Cut(c.Title, " ")
					inList = append(inList, title)
				}
				if strings.Join(got, " ") != strings.Join(expected, " ") {
					t.Errorf("the search finds %q, want %q", got, expected)
				}
				if !strings.HasPrefix(word, "said") && strings.Join(inList, " ") != strings.Join(expected, " ") {
					t.Errorf("the list finds %q, want %q", inList, expected)
				}
				return nil
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
}
