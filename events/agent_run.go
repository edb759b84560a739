package events

// AgentRunInput is the input of an agent.run job. The agent's configuration is copied at submit, so that a change to it does not
// reach a run that is under way.
type AgentRunInput struct {
	AgentID      string `json:"agent_id"`
	UserInput    string `json:"user_input"`
	SystemPrompt string `json:"system_prompt,omitempty"`
	LLM          LLM    `json:"llm"`
	// Tools lists the enabled tools by name.
	Tools []string `json:"tools"`
	// MaxIterations bounds the loop of model and tool calls.
	MaxIterations int `json:"max_iterations"`
	// ConversationID and MessageID are set when the run answers a message; the history up to it is part of the prompt.
	ConversationID string `json:"conversation_id,omitempty"`
	MessageID      string `json:"message_id,omitempty"`
	// Scope is what the user may read through the retrieval tool.
	Scope Scope `json:"scope"`
}

// LLM is the model with its sampling parameters; a nil one is left to the provider.
type LLM struct {
	Model       string   `json:"model"`
	Temperature *float64 `json:"temperature,omitempty"`
	TopP        *float64 `json:"top_p,omitempty"`
	MaxTokens   int      `json:"max_tokens,omitempty"`
}

// ToolSearchDocuments is the name of the retrieval tool.
const ToolSearchDocuments = "search_documents"

// AgentRunResult is the result of an agent.run job.
type AgentRunResult struct {
	Content string `json:"content"`
	// MessageID is the stored answer; empty for a run outside a conversation.
	MessageID    string     `json:"message_id,omitempty"`
	Citations    []Citation `json:"citations"`
	Model        string     `json:"model"`
	FinishReason string     `json:"finish_reason"`
	Iterations   int        `json:"iterations"`
	Usage        Usage      `json:"usage"`
}

// Citation says which passage a mark in the answer stands for.
type Citation struct {
	// Mark is what stands in the answer: "[1]".
	Mark       string `json:"mark"`
	DocumentID string `json:"document_id"`
	ChunkID    string `json:"chunk_id"`
	Title      string `json:"title"`
	// Page and EndPage are where the passage begins and ends, from 1; zero where the format has no pages.
	Page    int    `json:"page,omitempty"`
	EndPage int    `json:"end_page,omitempty"`
	Heading string `json:"heading,omitempty"`
	Text    string `json:"text"`
}
