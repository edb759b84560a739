package store

import (
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/google/uuid"
)

// ConversationSearch says what to look for, and among which conversations.
type ConversationSearch struct {
	// Text are the words to be found, all of them in the title and description, or all in one message.
	Text string
	// All reaches every conversation of the tenant. Otherwise only those of the user and of the projects are searched.
	All      bool
	UserID   uuid.UUID
	Projects []uuid.UUID
	// Limit is how many to return at most; zero is DefaultLimit. After is the last one of the page before.
	Limit int
	After *Position
}

// FoundConversation is a conversation that a search found.
type FoundConversation struct {
	Conversation Conversation
	// MessageID is the newest message that holds the words; nil where only title or description do.
	MessageID *uuid.UUID
	// Snippet is the part of the message, or of title or description, around the first of the words. It is plain text.
	Snippet string
}

// looks are the looks at conversations, of which a walk reads all messages, too. Who reaches few is through with a walk before
// everybody's matches are gathered.
func (f ConversationSearch) looks() []look {
	if f.All {
		return []look{{walk: true, most: 200}, {most: 3000}, {walk: true, most: 8000}, {}}
	}
	return []look{{walk: true, most: 150}, {most: 3000}, {walk: true, most: 1500}, {walk: true}}
}

// Search returns one page of the active conversations that hold all words of a text, newest first. See find for what words are.
func (r Conversations) Search(f ConversationSearch) (Listed[FoundConversation], error) {
	s := conversationSearch{f, r.tx.searching(), Page{Limit: f.Limit}.limit() + 1}
	var hits []hit
	for _, l := range f.looks() {
		var enough bool
		var err error
		if hits, enough, err = s.look(l); err != nil {
			return Listed[FoundConversation]{}, explain(err, "search conversations")
		}
		if enough {
			break
		}
	}
	return r.found(hits, f)
}

// hit is a conversation that was found, and its message. One that is no Hit only says whether there may be more than was looked at.
type hit struct {
	ID        uuid.UUID
	MessageID *uuid.UUID
	Hit, More bool
}

type conversationSearch struct {
	ConversationSearch

	tx    *Tx
	limit int
}

// look returns what one look finds, and whether another one would find no other.
func (s conversationSearch) look(l look) (hits []hit, enough bool, err error) {
	arguments := map[string]any{
		"org": s.tx.tenant.UUID(), "text": storable(s.Text), "user": s.UserID, "projects": s.Projects, "limit": s.limit, "most": l.most,
	}
	if s.After != nil {
		arguments["after"] = s.After.ID
	}
	for i, id := range s.Projects {
		arguments["project"+strconv.Itoa(i)] = id
	}
	query := s.gather(l)
	if l.walk {
		query = s.walk(l)
	}
	if err := s.tx.db.Raw(query, arguments).Find(&hits).Error; err != nil {
		return nil, false, err
	}
	all := !slices.ContainsFunc(hits, func(h hit) bool { return h.More })
	hits = slices.DeleteFunc(hits, func(h hit) bool { return !h.Hit })
	return hits, all || l.walk && len(hits) == s.limit, nil
}

// walk is the statement that tries one conversation after the other.
func (s conversationSearch) walk(l look) string {
	// Each part of the reach is walked in the order of an index of its own, and the parts are merged.
	reaches := make([]string, 0, 1+len(s.Projects))
	if s.All {
		reaches = append(reaches, "")
	} else {
		reaches = append(reaches, " AND user_id = @user")
		for i := range s.Projects {
			reaches = append(reaches, " AND project_id = @project"+strconv.Itoa(i)+" AND user_id <> @user")
		}
	}
	for i, reach := range reaches {
		reaches[i] = "(SELECT id, words FROM conversations WHERE organization_id = @org AND is_active" + reach + s.earlier("id") +
			" ORDER BY id DESC" + l.limit() + ")"
	}
	return `SELECT c.id, m.id AS message_id, c.words @@ search_query(@text) OR m.id IS NOT NULL AS hit, c.more
		FROM (SELECT walked.id, walked.words, row_number() OVER (ORDER BY id DESC) = @most AS more FROM (
				SELECT id, words FROM (` + strings.Join(reaches, " UNION ALL ") + `) AS reached
				ORDER BY id DESC` + l.limit() + `) AS walked) AS c
			LEFT JOIN LATERAL (
				SELECT id FROM messages WHERE organization_id = @org AND conversation_id = c.id AND words @@ search_query(@text)
				ORDER BY id DESC LIMIT 1) AS m ON true
		WHERE c.words @@ search_query(@text) OR m.id IS NOT NULL OR c.more
		ORDER BY c.id DESC LIMIT @limit`
}

// gather is the statement that reads what matches by way of the indexes.
func (s conversationSearch) gather(l look) string {
	const terms = `search_terms(organization_id, words) @@ search_query(CAST(@org AS uuid), @text)`
	reach := ""
	if !s.All {
		reach = " AND (user_id = @user"
		if len(s.Projects) > 0 {
			reach += " OR project_id IN @projects"
		}
		reach += ")"
	}
	// What is materialized is planned for all its rows: the planner must not hope to be done early.
	return `WITH titles AS MATERIALIZED (
			SELECT id FROM searchable_conversations WHERE organization_id = @org AND ` + terms + s.earlier("id") + `),
		contents AS MATERIALIZED (
			SELECT conversation_id, id FROM searchable_messages
			WHERE organization_id = @org AND ` + terms + s.earlier("conversation_id") + `),
		titled AS MATERIALIZED (SELECT id FROM titles` + l.limit() + `),
		said AS MATERIALIZED (SELECT conversation_id, id FROM contents` + l.limit() + `),
		newest AS (
			SELECT DISTINCT ON (id) id, message_id FROM (
				SELECT id, NULL::uuid AS message_id FROM titled UNION ALL SELECT conversation_id, id FROM said) AS matching
			ORDER BY id DESC, message_id DESC NULLS LAST),
		seen AS (SELECT greatest((SELECT count(*) FROM titled), (SELECT count(*) FROM said)) AS rows)
		SELECT hit.id, hit.message_id, hit.id IS NOT NULL AS hit, coalesce(seen.rows = NULLIF(@most, 0), false) AS more
		FROM seen LEFT JOIN (
			SELECT n.id, n.message_id FROM newest n CROSS JOIN LATERAL (
				SELECT FROM conversations WHERE organization_id = @org AND id = n.id AND is_active` + reach + ` OFFSET 0) AS reached
			ORDER BY n.id DESC LIMIT @limit) AS hit ON true
		ORDER BY hit.id DESC`
}

// earlier is the condition that a conversation comes after the page before.
func (s conversationSearch) earlier(column string) string {
	if s.After == nil {
		return ""
	}
	return " AND " + column + " < @after"
}

// found reads what was found.
func (r Conversations) found(hits []hit, f ConversationSearch) (out Listed[FoundConversation], err error) {
	if limit := (Page{Limit: f.Limit}).limit(); len(hits) > limit {
		hits = hits[:limit]
		out.Next = &Position{ID: hits[limit-1].ID}
	}
	ids, messages := make([]uuid.UUID, 0, len(hits)), make([]uuid.UUID, 0, len(hits))
	for _, h := range hits {
		ids = append(ids, h.ID)
		if h.MessageID != nil {
			messages = append(messages, *h.MessageID)
		}
	}
	conversations := make(map[uuid.UUID]Conversation, len(ids))
	if len(ids) > 0 {
		var rows []Conversation
		if err := within[Conversation](r.tx).Omit(wordsColumn).Where("id IN ?", ids).Find(&rows).Error; err != nil {
			return out, explain(err, "read what was found")
		}
		for _, c := range rows {
			conversations[c.ID] = c
		}
	}
	word := firstWord(f.Text)
	excerpts, err := r.tx.Messages().excerpts(messages, word)
	if err != nil {
		return out, err
	}
	for _, h := range hits {
		c, ok := conversations[h.ID]
		if !ok { // deleted just now
			continue
		}
		found := FoundConversation{Conversation: c, MessageID: h.MessageID}
		switch {
		case h.MessageID != nil:
			found.Snippet = excerpts[*h.MessageID]
		case strings.Contains(strings.ToLower(c.Title), word) || c.Description == "":
			found.Snippet = excerptOf(c.Title, word)
		default:
			found.Snippet = excerptOf(c.Description, word)
		}
		out.Rows = append(out.Rows, found)
	}
	return out, nil
}

// An excerpt holds so many characters, and so many of them before the word that it is about.
const (
	excerptLength = 200
	excerptBefore = 60
)

// excerpts reads the part of each message that is around a word, by id.
func (r Messages) excerpts(ids []uuid.UUID, word string) (map[uuid.UUID]string, error) {
	excerpts := make(map[uuid.UUID]string, len(ids))
	if len(ids) == 0 {
		return excerpts, nil
	}
	var rows []struct {
		ID        uuid.UUID
		Part      string
		Cut, More bool
	}
	err := r.tx.db.Raw(`SELECT id, substr(content, start, @length) AS part, start > 1 AS cut, length(content) >= start + @length AS more
		FROM (SELECT id, content, greatest(1, strpos(lower(content), @word) - @before) AS start
			FROM messages WHERE organization_id = @org AND id IN @ids) AS located`,
		map[string]any{"length": excerptLength, "before": excerptBefore, "word": word, "org": r.tx.tenant.UUID(), "ids": ids}).
		Find(&rows).Error
	for _, row := range rows {
		excerpts[row.ID] = excerpt(row.Part, row.Cut, row.More)
	}
	return excerpts, explain(err, "read what was found")
}

// excerptOf does to a short text what excerpts does to messages.
func excerptOf(text, word string) string {
	runes := []rune(text)
	start := 0
	if at := strings.Index(strings.ToLower(text), word); at > 0 && at <= len(text) {
		start = max(0, len([]rune(text[:at]))-excerptBefore)
	}
	end := min(len(runes), start+excerptLength)
	return excerpt(string(runes[start:end]), start > 0, end < len(runes))
}

// excerpt makes one line of a part of a text, with dots where words were cut off.
func excerpt(part string, cut, more bool) string {
	words := strings.Fields(part)
	if cut && len(words) > 1 {
		words[0] = "…"
	}
	if more && len(words) > 1 {
		words[len(words)-1] = "…"
	}
	return strings.Join(words, " ")
}

// firstWord is the first word of a text, in lower case.
func firstWord(text string) string {
	words := strings.FieldsFunc(strings.ToLower(text), func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) })
	if len(words) == 0 {
		return ""
	}
	return words[0]
}
