package httpapi

import (
	"net/http"
	"slices"
	"strconv"

	"github.com/danielgtaylor/huma/v2"
)

// meaning is what a field is and what it looks like.
type meaning struct {
	about   string
	example any
}

// glossary says once what fields are that many resources have. What a field says of itself wins.
var glossary = map[string]meaning{
	"id":              {"The id; it never changes", nil},
	"organization_id": {"The organization that it belongs to", nil},
	"project_id":      {"The project that it belongs to; null for the whole organization", nil},
	"role_id":         {"The role, which holds the permissions", nil},
	"created_by":      {"The user who made it; null when nobody did or the user is gone", nil},
	"created_at":      {"When it was made", nil},
	"updated_at":      {"When it last changed", nil},
	"is_active":       {"Whether it is in use; deleting clears it", nil},
	"is_default":      {"Whether it is the one to use where none is named", nil},
	"is_archived":     {"Whether it was put away", nil},
	"is_system":       {"Whether it is shipped with every organization and cannot be changed", nil},
	"is_verified":     {"Whether an Admin has confirmed the account", nil},
	"is_superuser":    {"Whether the user runs the platform", nil},

	"name":        {"What it is called", "Document Analyzer"},
	"title":       {"What it is called", "Travel policy"},
	"description": {"What it is for, in words", "Answers from the documents of the legal team"},
	"content":     {"The text", "What does the travel policy say about taxis?"},
	"text":        {"The text", "Taxis are paid for after 22:00."},
	"query":       {"What to look for", "taxi after a late flight"},
	"tag":         {"A word to find it by", "travel"},
	"tags":        {"Words to find it by", []any{"travel", "policy"}},
	"version":     {"How often it has changed, counted from 1", 3},
	"model":       {"The name of the model", "gemini-2.5-flash"},
	"score":       {"How well it fits; larger is better", 0.87},
	"min_score":   {"Leave out what fits less well", 0.3},

	"email":              {"The email address, which is also good for logging in", "ada@example.com"},
	"username":           {"The name to log in with", "ada"},
	"full_name":          {"The name as people say it", "Ada Lovelace"},
	"avatar_url":         {"Where a picture of the user is", "https://example.com/ada.png"},
	"bio":                {"What the user says about himself", "Writes notes on engines."},
	"email_verified":     {"Whether the email address was confirmed", nil},
	"two_factor_enabled": {"Whether logging in takes a second factor", nil},
	"last_login":         {"When the user last logged in; null before the first time", nil},
	"last_activity":      {"When the user was last seen; null before the first time", nil},
	"permissions":        {"What is allowed, as resource:action", []any{"documents:read", "agents:execute"}},
	"project_ids":        {"The ids of the projects", []any{"0190f4a0-0000-7000-8000-000000000001"}},
	"password":           {"The password", "SecurePassword123!"},
	"current_password":   {"The password as it is", "SecurePassword123!"},
	"new_password":       {"The password as it shall be", "EvenMoreSecure456!"},
	"confirm_password":   {"The new password again", "EvenMoreSecure456!"},
	"access_token":       {"The access token", "eyJhbGciOiJIUzI1NiJ9.e30.c2lnbmF0dXJl"},
	"refresh_token":      {"The refresh token", "rt_0190f4a0.q2u7Wv5hYk"},
	"token_type":         {"How to send the token", "bearer"},
	"message":            {"What happened, for people", "Done"},
	"request_id":         {"Finds the request in the logs; also in X-Request-ID", "trace-7"},
	"document_id":        {"The document", nil},
	"document_ids":       {"Only these documents", []any{"0190f4a0-0000-7000-8000-000000000002"}},
	"document_type":      {"A kind of the organization's own, to filter by", "policy"},
	"document_types":     {"Only documents of these types", []any{"policy"}},
	"chunk_id":           {"The passage", nil},
	"conversation_id":    {"The conversation", nil},
	"message_id":         {"The message", nil},
	"agent_id":           {"The agent", nil},
	"agent_config_id":    {"The agent", nil},
	"agent_type":         {"What kind of agent it is", nil},
	"llm_config":         {"Which model the agent uses, and how", nil},
	"llm_model":          {"The same as llm_config.model", "gemini-2.5-flash"},
	"temperature":        {"The same as llm_config.temperature", 0.7},
	"max_tokens":         {"The same as llm_config.max_tokens", 2048},
	"tools_config":       {"Which tools the agent may use, and how", nil},
	"tools":              {"The names of the tools that the agent may use", []any{"search_documents"}},
	"system_prompt":      {"What the agent is told before anything else", "You answer from the documents and cite them."},
	"knowledge_bases":    {"What else the agent relies on; kept for the client", []any{"legal"}},
	"parameters":         {"Settings of the agent's own; kept for the client", nil},
	"agent_metadata":     {"Anything the client wants to keep with the agent", nil},
	"conv_metadata":      {"Anything the client wants to keep with the conversation", nil},
	"msg_metadata":       {"Anything the client wants to keep with the message", nil},
	"doc_metadata":       {"Anything the client wants to keep with the document", nil},
	"org_metadata":       {"Anything the client wants to keep with the organization", nil},
	"proj_metadata":      {"Anything the client wants to keep with the project", nil},
	"role_metadata":      {"Anything the client wants to keep with the role", nil},
	"perm_metadata":      {"Anything the client wants to keep with the permission", nil},
	"before":             {"How what changed was, without secrets; null for something new", map[string]any{"name": "Document Analyzer"}},
	"after":              {"How they became; null for something removed", map[string]any{"name": "Contract Analyzer"}},
	"hash":               {"SHA-256 over the entry before and this one, in base64", "n4bQgYhMfWWaL+qgxVrQFaO/TxsrC4Is0V1sFbDwCgg="},
	"ip_address":         {"From where it was done", "203.0.113.7"},
	"user_agent":         {"With which program it was done", "Mozilla/5.0"},
	"result": {"What it came to, by its kind", map[string]any{
		"content": "Taxis are paid for after 22:00. [1]", "model": "gemini-2.5-flash", "finish_reason": "stop",
		"citations": []any{map[string]any{"mark": "[1]", "title": "Travel policy", "page": 4}},
	}},
	"output":             {"What it came to", map[string]any{"hits": 5}},
	"usage":              {"What it cost, in tokens", map[string]any{"input_tokens": 1874, "output_tokens": 62}},
	"step":               {"Its number, from 0", 2},
	"waiting_on":         {"Why it does not run right now", "fairness"},
	"settings":           {"Settings by name; kept for the client", nil},
	"context":            {"What the agent should know about the conversation; kept for the client", nil},
	"message_count":      {"How many messages there are", 12},
	"tokens_used":        {"How many tokens the answer took", 412},
	"processing_time_ms": {"How long the answer took, in milliseconds", 2300},
	"role":               {"Who says it", nil},
	"file_name":          {"What the file was called", "travel-policy.pdf"},
	"file_size":          {"How large the file is, in bytes", 48213},
	"mime_type":          {"The media type of the file", "application/pdf"},
	"summary":            {"What it says, in short", "Who pays for which way of traveling."},
	"chunk_count":        {"How many passages can be searched", 42},
	"page_count":         {"How many pages there are; 0 where the format has none", 12},
	"embedding_model":    {"The model that made the vectors", "gemini-embedding-001"},
	"processing_status":  {"How far the document has come", nil},
	"processing_error":   {"Why processing failed, for people; empty otherwise", "The file is encrypted."},
	"vector_ids":         {"The points in the vector store", []any{"0190f4a0-0000-7000-8000-000000000003"}},
	"content_hash":       {"SHA-256 of the file", "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"},
	"started_at":         {"When it began", nil},
	"finished_at":        {"When it ended", nil},
	"attempt":            {"Which attempt it is, counted from 1", 1},
	"limit":              {"How many items to answer at most", 20},
	"cursor":             {"The next_cursor of the page before", "q1n0zQJ0Wm4BkPSg"},
	"search":             {"Only those with this in their texts", "travel"},
	"wait":               {"How many seconds to hold the answer", 10},
	"Last-Event-ID":      {"The id of the last event that was seen", "8.54"},
	"last_event_id":      {"The id of the last event that was seen", "8.54"},
	"If-Match":           {"The ETag of what the change is for", `"mk4q9ax0"`},
	"If-None-Match":      {"The ETag of what one has", `"mk4q9ax0"`},
	"Idempotency-Key":    {"Makes the request safe to repeat", "import-2026-07-01"},
	"X-Request-ID":       {"Names the request in the logs", "trace-7"},
	"Preference-Applied": {"The preference that was honored", "wait=10"},
}

// explain fills in from the glossary what fields and parameters leave out.
func explain(doc *huma.OpenAPI) {
	for _, schema := range doc.Components.Schemas.Map() {
		explainFields(schema)
	}
	for _, op := range operationsOf(doc) {
		for _, p := range op.Parameters {
			known := glossary[p.Name]
			if p.Description == "" {
				p.Description = known.about
			}
			if p.Example == nil && fits(p.Schema, known.example) {
				p.Example = known.example
			}
		}
		if op.RequestBody != nil {
			for _, content := range op.RequestBody.Content {
				explainFields(content.Schema)
			}
		}
	}
}

func explainFields(schema *huma.Schema) {
	for name, property := range schema.Properties {
		known := glossary[name]
		if property.Description == "" {
			property.Description = known.about
		}
		if fits(property, known.example) {
			property.Examples = []any{known.example}
		}
	}
}

// fits reports whether an example is missing and this one is of the right type.
func fits(s *huma.Schema, example any) bool {
	if s.Ref != "" || len(s.Examples) > 0 || len(s.Enum) > 0 || s.Default != nil || len(s.OneOf) > 0 {
		return false
	}
	switch value := example.(type) {
	case string:
		return s.Type == huma.TypeString && (s.Format == "" || s.Format == "email" || s.Format == "uri")
	case int:
		return s.Type == huma.TypeInteger
	case float64:
		return s.Type == huma.TypeNumber
	case map[string]any:
		return s.Type == "" && value != nil // anything at all
	case []any:
		return s.Type == huma.TypeArray && len(value) > 0 && s.Items != nil && s.Items.Ref == "" && len(s.Items.Enum) == 0 &&
			(s.Items.Type == huma.TypeString || s.Items.Type == "")
	default:
		return false
	}
}

// answerConditions adds the answers that conditions make possible: 304 to those of reading, 412 and 428 to those of changing.
func answerConditions(doc *huma.OpenAPI) {
	problem := map[string]*huma.MediaType{problemMedia: {Schema: &huma.Schema{Ref: "#/components/schemas/Problem"}}}
	for _, op := range operationsOf(doc) {
		for _, p := range op.Parameters {
			switch p.Name {
			case "If-None-Match":
				op.Responses[strconv.Itoa(http.StatusNotModified)] = &huma.Response{Description: "What one has is still good"}
			case "If-Match":
				for _, status := range []int{http.StatusPreconditionFailed, http.StatusPreconditionRequired} {
					op.Responses[strconv.Itoa(status)] = &huma.Response{Description: http.StatusText(status), Content: problem}
				}
			}
		}
	}
}

// operationsOf lists the operations of a document.
func operationsOf(doc *huma.OpenAPI) []*huma.Operation {
	all := make([]*huma.Operation, 0, 5*len(doc.Paths))
	for _, item := range doc.Paths {
		all = append(all, item.Get, item.Put, item.Post, item.Patch, item.Delete)
	}
	return slices.DeleteFunc(all, func(op *huma.Operation) bool { return op == nil })
}
