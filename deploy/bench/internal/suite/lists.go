package suite

import (
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/tarento/copilot/deploy/bench/internal/rows"
)

// listing is a list as a client asks for it.
type listing struct {
	// path is below /api/v1. Braces stand for what is known of the rows.
	path string
	// query narrows or sorts the list; in it, too, braces stand for what is known.
	query string
	// paged lists are also read on from the first page's end.
	paged bool
}

// The lists that are narrowed in many ways.
const (
	conversations = "/conversations"
	documents     = "/documents"
	auditLogs     = "/audit-logs"
	messages      = "/conversations/{conversation}/messages"
)

// listings are all lists whose length grows with the rows. A new list, filter or order of them is a new line here.
func listings() []listing {
	return []listing{
		{path: conversations, paged: true},
		{path: conversations, query: "project_id={project}", paged: true},
		{path: conversations, query: "agent_config_id={agent}"},
		{path: conversations, query: "user_id={user}"},
		{path: conversations, query: "is_archived=true"},
		{path: conversations, query: "is_archived=false"},
		{path: conversations, query: "sort=-updated_at", paged: true},
		{path: conversations, query: "sort=created_at"},
		{path: conversations, query: "search={common}"},
		{path: conversations, query: "search={rare}"},
		{path: conversations, query: "search={absent}"},
		{path: "/conversations/search", query: "q={common}", paged: true},
		{path: "/conversations/search", query: "q={rare}"},
		{path: "/conversations/search", query: "q={absent}"},
		{path: messages, paged: true},
		{path: messages, query: "sort=-created_at", paged: true},
		{path: messages, query: "role=user", paged: true},
		{path: documents, paged: true},
		{path: documents, query: "document_type={type}", paged: true},
		{path: documents, query: "processing_status=failed"},
		{path: documents, query: "processing_status=completed"},
		{path: documents, query: "tag={tag}", paged: true},
		{path: documents, query: "project_id={project}"},
		{path: documents, query: "is_public=true"},
		{path: documents, query: "sort=-updated_at", paged: true},
		{path: documents, query: "sort=title", paged: true},
		{path: documents, query: "search={common}", paged: true},
		{path: documents, query: "search={rare}"},
		{path: documents, query: "search={absent}"},
		{path: documents, query: "search={common}&sort=title"},
		{path: "/documents/by-type/{type}", paged: true},
		{path: "/documents/by-type/{type}", query: "sort=-updated_at"},
		{path: "/documents/by-type/{type}", query: "sort=title"},
		{path: auditLogs, paged: true},
		{path: auditLogs, query: "sort=created_at", paged: true},
		{path: auditLogs, query: "actor_id={user}", paged: true},
		{path: auditLogs, query: "action={action}"},
		{path: auditLogs, query: "resource_type=document"},
		{path: auditLogs, query: "resource_type=document&resource_id={document}"},
		{path: auditLogs, query: "since={since}"},
		{path: auditLogs, query: "until={until}", paged: true},
		{path: auditLogs, query: "actor_id={user}&until={until}"},
	}
}

// name is how people call the list.
func (l listing) name() string {
	if l.query == "" {
		return l.path
	}
	return l.path + "?" + l.query
}

// url fills in what is known.
func (l listing) url(k rows.Known) string {
	pairs := []string{
		"{conversation}", k.Conversation, "{project}", k.Project, "{agent}", k.Agent, "{user}", k.User,
		"{document}", k.Document,
		"{common}", rows.Common, "{rare}", rows.Rare, "{absent}", rows.Absent, "{type}", rows.Type, "{tag}", rows.Tag,
		"{action}", rows.Action, "{since}", url.QueryEscape(k.Since), "{until}", url.QueryEscape(k.Until),
	}
	address := apiBase + l.path
	if l.query != "" {
		address += "?" + l.query
	}
	return strings.NewReplacer(pairs...).Replace(address)
}

const apiBase = "/api/v1"

// contract is what the OpenAPI document says about lists.
type contract struct {
	Paths map[string]map[string]struct {
		Parameters []struct {
			Name string `json:"name"`
			In   string `json:"in"`
		} `json:"parameters"`
	} `json:"paths"`
}

// has returns an error that says what of a list the API does not have. A list that is asked for wrongly would go unmeasured, or be
// measured as another one where the API overlooks what it does not know.
func (c contract) has(l listing) error {
	braces := regexp.MustCompile(`\{[^}]*\}`)
	shape := func(path string) string { return braces.ReplaceAllString(path, "{}") }
	for path, operations := range c.Paths {
		get, found := operations["get"]
		if !found || shape(path) != shape(apiBase+l.path) {
			continue
		}
		var known []string
		for _, p := range get.Parameters {
			if p.In == "query" {
				known = append(known, p.Name)
			}
		}
		for pair := range strings.SplitSeq(l.query, "&") {
			if name, _, given := strings.Cut(pair, "="); given && !slices.Contains(known, name) {
				return fmt.Errorf("list %s: the API has no parameter %s there", l.name(), name)
			}
		}
		return nil
	}
	return fmt.Errorf("list %s: the API has no such list", l.name())
}
