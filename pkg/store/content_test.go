package store_test

import (
	"fmt"
	"slices"
	"strconv"
	"testing"

	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"

	"github.com/tarento/copilot/pkg/fault"
	"github.com/tarento/copilot/pkg/store"
)

func TestAgentConfigsKeepEveryField(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2)
	made := store.AgentConfig{
		ProjectID: &acmeProject, Name: "Analyst", Description: "Reads", AgentType: store.AgentFinance,
		LLMConfig:    store.JSON(`{"model": "m", "temperature": 0.25}`),
		ToolsConfig:  store.JSON(`[{"name": "search_documents", "enabled": true}]`),
		SystemPrompt: "Be brief.", KnowledgeBases: store.JSON(`["kb"]`), Parameters: store.JSON(`{"p": "\"quoted\""}`), IsDefault: true,
	}
	w.in(w.acme, func(tx *store.Tx) error { return tx.AgentConfigs().Create(&made) })
	w.in(w.acme, func(tx *store.Tx) error {
		got, err := tx.AgentConfigs().Get(made.ID)
		if err != nil {
			return err
		}
		if string(got.LLMConfig) != `{"model": "m", "temperature": 0.25}` || string(got.ToolsConfig) != `[{"name": "search_documents", "enabled": true}]` ||
			string(got.KnowledgeBases) != `["kb"]` || string(got.Parameters) != `{"p": "\"quoted\""}` || string(got.AgentMetadata) != "{}" || got.Version != 1 || !got.IsActive || !got.IsDefault ||
			*got.ProjectID != acmeProject || !got.CreatedAt.Equal(made.CreatedAt) {
			t.Errorf("read back %+v", got)
		}
		return nil
	})
	w.refused(w.startup, fault.NotFound, "agent_config.not_found", func(tx *store.Tx) error {
		_, err := tx.AgentConfigs().Get(made.ID)
		return err
	})
}

func TestAgentConfigListNarrows(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2)
	w.in(w.acme, func(tx *store.Tx) error {
		for i := range 25 {
			agent := store.AgentConfig{Name: fmt.Sprintf("Agent %02d", i), Description: "100% sure_", AgentType: store.AgentHR}
			if err := tx.AgentConfigs().Create(&agent); err != nil {
				return err
			}
		}
		return nil
	})
	no := false
	for _, tc := range []struct {
		name   string
		filter store.AgentConfigFilter
		rows   int
		total  int64
	}{
		{"no filter gives the first twenty", store.AgentConfigFilter{}, 20, 26},
		{"a page", store.AgentConfigFilter{Page: store.Page{Skip: 20, Limit: 10}}, 6, 26},
		{"a page past the end", store.AgentConfigFilter{Page: store.Page{Skip: 100}}, 0, 26},
		{"by type", store.AgentConfigFilter{Type: store.AgentDocumentAnalyzer}, 1, 1},
		{"by project", store.AgentConfigFilter{ProjectID: &acmeProject}, 1, 1},
		{"by name in another case", store.AgentConfigFilter{Search: "AGENT 1"}, 10, 10},
		{"by a percent sign as it is", store.AgentConfigFilter{Search: "100% sure_", Page: store.Page{Limit: 5}}, 5, 25},
		{"by a pattern, which is no pattern", store.AgentConfigFilter{Search: "a%t"}, 0, 0},
		{"only inactive ones", store.AgentConfigFilter{Active: &no}, 0, 0},
		{"search and type together", store.AgentConfigFilter{Search: "Agent 0", Type: store.AgentChat}, 0, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			tc.filter.Page.Count = true
			w.with(t).in(w.acme, func(tx *store.Tx) error {
				got, err := tx.AgentConfigs().List(tc.filter)
				if err != nil {
					return err
				}
				if len(got.Rows) != tc.rows || *got.Total != tc.total {
					t.Errorf("%d of %d, want %d of %d", len(got.Rows), *got.Total, tc.rows, tc.total)
				}
				return nil
			})
		})
	}
}

func TestProjectMembership(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2)
	w.in(w.acme, func(tx *store.Tx) error {
		secret := store.Project{Name: "Secret", CreatedBy: &adminAcme}
		if err := tx.Projects().Create(&secret); err != nil {
			return err
		}
		if err := tx.Projects().AddMember(secret.ID, adminAcme); err != nil {
			return err
		}
		for user, want := range map[uuid.UUID]bool{adminAcme: true, memberAcme: false} {
			if is, err := tx.Projects().IsMember(secret.ID, user); is != want || err != nil {
				t.Errorf("user %s is a member: %t, want %t (%v)", user, is, want, err)
			}
		}
		mine, err := tx.Projects().ListForUser(memberAcme)
		if err != nil || len(mine) != 1 || mine[0].ID != acmeProject {
			t.Errorf("the member's projects are %v: %v", mine, err)
		}
		ids, err := tx.Projects().IDsForUser(adminAcme)
		if err != nil || !slices.Contains(ids, secret.ID) || !slices.Contains(ids, acmeProject) || len(ids) != 2 {
			t.Errorf("the admin's projects are %v: %v", ids, err)
		}
		_, err = tx.Projects().Get(secret.ID)
		return err
	})
	w.refused(w.startup, fault.NotFound, "project.not_found", func(tx *store.Tx) error {
		_, err := tx.Projects().Get(acmeProject)
		return err
	})
}

func TestParallelMessagesAreCountedAndOrdered(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 8)
	talk := store.Conversation{UserID: memberAcme, AgentConfigID: &analyzer, Title: "Talk"}
	w.in(w.acme, func(tx *store.Tx) error { return tx.Conversations().Create(&talk) })

	const n = 30
	group, ctx := errgroup.WithContext(t.Context())
	for i := range n {
		group.Go(func() error {
			return w.InTenant(ctx, w.acme, func(tx *store.Tx) error {
				return tx.Messages().Create(&store.Message{
					ConversationID: talk.ID, Role: store.RoleUser, Content: strconv.Itoa(i), MsgMetadata: store.Object{"n": i},
				})
			})
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	w.in(w.acme, func(tx *store.Tx) error {
		got, err := tx.Conversations().Get(talk.ID)
		if err != nil {
			return err
		}
		if got.MessageCount != n || got.UpdatedAt.Before(got.CreatedAt) {
			t.Errorf("%d messages counted, want %d", got.MessageCount, n)
		}
		var all []store.Message
		next := store.MessageFilter{Page: store.Page{Limit: 7, Sort: store.Sort{Ascending: true}}}
		for more := true; more; more = next.Page.After != nil {
			page, err := tx.Messages().List(talk.ID, next)
			if err != nil {
				return err
			}
			all = append(all, page.Rows...)
			next.Page.After = page.Next
		}
		if len(all) != n || !slices.IsSortedFunc(all, func(a, b store.Message) int { return a.CreatedAt.Compare(b.CreatedAt) }) {
			t.Errorf("%d messages in pages, want %d in order of time", len(all), n)
		}
		last, err := tx.Messages().History(talk.ID, 10)
		if err != nil {
			return err
		}
		if len(last) != 10 || last[0].ID != all[n-10].ID || last[9].ID != all[n-1].ID {
			t.Error("history is not the last ten messages, oldest first")
		}
		until, err := tx.Messages().HistoryUntil(talk.ID, all[4].ID, 3)
		if err != nil || len(until) != 3 || until[0].ID != all[2].ID || until[2].ID != all[4].ID {
			t.Errorf("history until the fifth message: %d messages, %v", len(until), err)
		}
		one, err := tx.Messages().Get(talk.ID, all[3].ID)
		if err == nil && one.Content != all[3].Content {
			t.Errorf("read %q, want %q", one.Content, all[3].Content)
		}
		return err
	})
	w.refused(w.startup, fault.NotFound, "conversation.not_found", func(tx *store.Tx) error {
		return tx.Messages().Create(&store.Message{ConversationID: talk.ID, Role: store.RoleUser})
	})
}

func TestAMessageFollowsTheLastOneWhateverTheClockSays(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2)
	ahead := uuid.MustParse("ffffffff-ffff-7fff-bfff-ffffffffffff")
	talk := store.Conversation{UserID: memberAcme}
	w.in(w.acme, func(tx *store.Tx) error {
		if err := tx.Conversations().Create(&talk); err != nil {
			return err
		}
		ahead[0], ahead[15] = 0xfe, 0xfe
		for _, id := range []uuid.UUID{ahead, uuid.Nil, uuid.Nil} {
			if err := tx.Messages().Create(&store.Message{ID: id, ConversationID: talk.ID, Role: store.RoleUser}); err != nil {
				return err
			}
		}
		oldest := store.MessageFilter{Page: store.Page{Sort: store.Sort{Ascending: true}}}
		got, err := tx.Messages().List(talk.ID, oldest)
		if err == nil && (len(got.Rows) != 3 || got.Rows[0].ID != ahead || got.Rows[2].ID.Version() != 7) {
			t.Errorf("%d messages in the order of %v, want the clock's that was ahead first", len(got.Rows), got.Rows)
		}
		return err
	})
	next, err := store.NewIDAfter(ahead)
	if err != nil || next.String() <= ahead.String() || next.Version() != 7 || next.Variant() != uuid.RFC4122 {
		t.Errorf("%s follows %s (%v)", next, ahead, err)
	}
}

func TestConversationListNarrows(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2)
	yes := true
	w.in(w.acme, func(tx *store.Tx) error {
		for _, c := range []store.Conversation{
			{UserID: memberAcme, Title: "Budget", ProjectID: &acmeProject},
			{UserID: memberAcme, Title: "Old", IsArchived: true},
			{UserID: adminAcme, Title: "Budget too", AgentConfigID: &analyzer},
		} {
			if err := tx.Conversations().Create(&c); err != nil {
				return err
			}
		}
		for name, tc := range map[string]struct {
			filter store.ConversationFilter
			want   int64
		}{
			"all":      {store.ConversationFilter{}, 3},
			"mine":     {store.ConversationFilter{UserID: &memberAcme}, 2},
			"project":  {store.ConversationFilter{ProjectID: &acmeProject}, 1},
			"agent":    {store.ConversationFilter{AgentConfigID: &analyzer}, 1},
			"archived": {store.ConversationFilter{Archived: &yes}, 1},
			"search":   {store.ConversationFilter{UserID: &memberAcme, Search: "budget"}, 1},
		} {
			if got, err := tx.Conversations().List(tc.filter); err != nil || *got.Total != tc.want {
				t.Errorf("%s: %d, want %d (%v)", name, len(got.Rows), tc.want, err)
			}
		}
		return nil
	})
}

func TestDocumentVisibility(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2)
	secret := store.Project{Name: "Secret"}
	documents := map[string]*store.Document{
		"of the organization":        {Title: "organization"},
		"of the member's project":    {Title: "project", ProjectID: &acmeProject},
		"of a project of others":     {Title: "secret", ProjectID: &secret.ID},
		"public, of others' project": {Title: "public", ProjectID: &secret.ID, IsPublic: true},
	}
	w.in(w.acme, func(tx *store.Tx) error {
		if err := tx.Projects().Create(&secret); err != nil {
			return err
		}
		for _, d := range documents {
			if err := tx.Documents().Create(d); err != nil {
				return err
			}
		}
		return nil
	})
	for name, tc := range map[string]struct {
		visible store.Visibility
		hidden  []string
	}{
		"an admin sees all":            {store.Visibility{All: true}, nil},
		"a member sees their projects": {store.Visibility{UserID: memberAcme}, []string{"of a project of others"}},
		"nobody in particular sees what is everybody's": {
			store.Visibility{}, []string{"of a project of others", "of the member's project"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w.with(t).in(w.acme, func(tx *store.Tx) error {
				listed, err := tx.Documents().List(store.DocumentFilter{Visible: tc.visible})
				if err != nil || len(listed.Rows) != len(documents)-len(tc.hidden) {
					t.Errorf("lists %d, want %d: %v", len(listed.Rows), len(documents)-len(tc.hidden), err)
				}
				for what, d := range documents {
					_, err := tx.Documents().GetVisible(d.ID, tc.visible)
					if hidden := slices.Contains(tc.hidden, what); hidden != fault.Is(err, fault.NotFound) || (!hidden && err != nil) {
						t.Errorf("a document %s: hidden %t, got %v", what, hidden, err)
					}
				}
				return nil
			})
		})
	}
}

func TestDeletedDocumentIsVisibleToNobody(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2)
	d := store.Document{Title: "Gone"}
	w.in(w.acme, func(tx *store.Tx) error { return tx.Documents().Create(&d) })
	w.asOwner("UPDATE documents SET is_active = false WHERE id = $1", d.ID)
	w.refused(w.acme, fault.NotFound, "document.not_found", func(tx *store.Tx) error {
		_, err := tx.Documents().GetVisible(d.ID, store.Visibility{All: true})
		return err
	})
}

func TestDocumentListNarrowsAndLeavesOutTheBulk(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2)
	w.in(w.acme, func(tx *store.Tx) error {
		for _, d := range []store.Document{
			{Title: "Report", DocumentType: "pdf", Tags: store.StringArray{"finance", `odd "tag", {x}\`}, Content: "long text"},
			{Title: "Notes", DocumentType: "md", FileName: "report-notes.md", ProjectID: &acmeProject},
		} {
			if err := tx.Documents().Create(&d); err != nil {
				return err
			}
		}
		for name, tc := range map[string]struct {
			filter store.DocumentFilter
			want   int
		}{
			"type":        {store.DocumentFilter{Type: "pdf"}, 1},
			"status":      {store.DocumentFilter{Status: store.ProcessingPending}, 2},
			"done":        {store.DocumentFilter{Status: store.ProcessingCompleted}, 0},
			"tag":         {store.DocumentFilter{Tag: "finance"}, 1},
			"odd tag":     {store.DocumentFilter{Tag: `odd "tag", {x}\`}, 1},
			"part of tag": {store.DocumentFilter{Tag: "fin"}, 0},
			"project":     {store.DocumentFilter{ProjectID: &acmeProject}, 1},
			"file name":   {store.DocumentFilter{Search: "REPORT"}, 2},
		} {
			tc.filter.Visible.All = true
			got, err := tx.Documents().List(tc.filter)
			if len(got.Rows) != tc.want || err != nil {
				t.Errorf("%s: %d, want %d (%v)", name, len(got.Rows), tc.want, err)
			}
			for _, d := range got.Rows {
				if d.Content != "" {
					t.Errorf("%s: the list carries content", name)
				}
			}
		}
		return nil
	})
}

func TestChunks(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2)
	d := store.Document{Title: "Report"}
	const n = 500
	chunks := make([]store.Chunk, n)
	w.in(w.acme, func(tx *store.Tx) error {
		if err := tx.Documents().Create(&d); err != nil {
			return err
		}
		for i := range chunks {
			chunks[i] = store.Chunk{
				DocumentID: d.ID, ChunkIndex: i, Text: fmt.Sprintf("passage %d, with \"quotes\" and {braces}", i),
				Page: i/10 + 1, EndPage: i/10 + 1, StartOffset: i * 100, EndOffset: i*100 + 99, Tokens: 20,
				Headings: slices.Repeat([]string{`A "b", \c {d}`, "", "NULL"}, i%3),
			}
		}
		return tx.Chunks().InsertBatch(chunks)
	})
	w.in(w.acme, func(tx *store.Tx) error {
		got, err := tx.Chunks().ListOfIndexing(d.ID, uuid.Nil, 100, 50)
		if err != nil {
			return err
		}
		if len(got) != 50 || got[0].ChunkIndex != 100 || got[49].ChunkIndex != 149 {
			t.Errorf("%d passages in the range", len(got))
		}
		for i, c := range got {
			want := chunks[100+i]
			if c.ID != want.ID || c.Text != want.Text || c.Page != want.Page || c.EndOffset != want.EndOffset ||
				!slices.Equal(c.Headings, want.Headings) || c.PointID != nil || c.EmbeddedAt != nil {
				t.Errorf("read %+v, want %+v", c, want)
			}
		}
		ordered, err := tx.Chunks().ByIDs([]uuid.UUID{chunks[7].ID, uuid.Must(uuid.NewV7()), chunks[3].ID})
		if err != nil || len(ordered) != 2 || ordered[0].ID != chunks[7].ID || ordered[1].ID != chunks[3].ID {
			t.Errorf("by id: %d passages, %v", len(ordered), err)
		}
		point := uuid.Must(uuid.NewV7())
		if err := tx.Chunks().MarkEmbedded("model", []store.Embedded{{ChunkID: chunks[7].ID, PointID: point}}); err != nil {
			return err
		}
		marked, err := tx.Chunks().ByIDs([]uuid.UUID{chunks[7].ID, chunks[8].ID})
		if err != nil {
			return err
		}
		if *marked[0].PointID != point || *marked[0].EmbeddingModel != "model" || marked[0].EmbeddedAt == nil || marked[1].PointID != nil {
			t.Errorf("marked %+v", marked)
		}
		return nil
	})
	w.refused(w.acme, fault.Conflict, "conflict", func(tx *store.Tx) error {
		return tx.Chunks().InsertBatch([]store.Chunk{{DocumentID: d.ID, ChunkIndex: 0, Text: "twice"}})
	})
	w.refused(w.startup, fault.Invalid, "reference.unknown", func(tx *store.Tx) error {
		return tx.Chunks().InsertBatch([]store.Chunk{{DocumentID: d.ID, ChunkIndex: n, Text: "foreign"}})
	})
	w.in(w.startup, func(tx *store.Tx) error {
		if seen, err := tx.Chunks().ByIDs([]uuid.UUID{chunks[0].ID}); len(seen) != 0 || err != nil {
			t.Errorf("another tenant reads %d passages: %v", len(seen), err)
		}
		if gone, err := tx.Chunks().DeleteForDocument(d.ID); gone != 0 || err != nil {
			t.Errorf("another tenant deletes %d passages: %v", gone, err)
		}
		return nil
	})
	w.in(w.acme, func(tx *store.Tx) error {
		if gone, err := tx.Chunks().DeleteForDocument(d.ID); gone != n || err != nil {
			t.Errorf("deleted %d passages, want %d: %v", gone, n, err)
		}
		return tx.Chunks().InsertBatch(nil)
	})
}

func TestABriefDocumentLeavesOutWhatIsLarge(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2)
	doc := &store.Document{Title: "T", FileName: "t.txt", DocumentType: "text", MIMEType: "text/plain", Tags: []string{"x"}}
	w.in(w.acme, func(tx *store.Tx) error {
		if err := tx.Documents().Create(doc); err != nil {
			return err
		}
		return tx.Documents().SetParsed(doc.ID, store.Parsed{Content: "long", Pages: 3})
	})
	w.in(w.acme, func(tx *store.Tx) error {
		brief, err := tx.Documents().GetBrief(doc.ID)
		if err == nil && (brief.Content != "" || brief.Draft != "" || brief.Title != "T" || brief.PageCount != 3 || len(brief.Tags) != 1) {
			t.Errorf("got %+v", brief)
		}
		return err
	})
}
