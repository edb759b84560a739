package geminilocal

import (
	"encoding/json"
	"slices"
	"strings"
)

// The parts of the Gemini wire that the stand-in reads and writes. Unknown fields are ignored, as the service does with
// those of newer clients.

// The roles of a conversation.
const (
	roleUser  = "user"
	roleModel = "model"
)

type content struct {
	Role  string `json:"role,omitempty"`
	Parts []part `json:"parts,omitempty"`
}

type part struct {
	Text             string            `json:"text,omitempty"`
	Thought          bool              `json:"thought,omitempty"`
	ThoughtSignature string            `json:"thoughtSignature,omitempty"`
	FunctionCall     *functionCall     `json:"functionCall,omitempty"`
	FunctionResponse *functionResponse `json:"functionResponse,omitempty"`
}

type functionCall struct {
	ID   string         `json:"id,omitempty"`
	Name string         `json:"name"`
	Args map[string]any `json:"args,omitempty"`
}

type functionResponse struct {
	ID       string          `json:"id,omitempty"`
	Name     string          `json:"name"`
	Response json.RawMessage `json:"response,omitempty"`
}

type functionDeclaration struct {
	Name                 string  `json:"name"`
	Parameters           *schema `json:"parameters,omitempty"`
	ParametersJSONSchema *schema `json:"parametersJsonSchema,omitempty"`
}

type tool struct {
	FunctionDeclarations []functionDeclaration `json:"functionDeclarations,omitempty"`
}

type toolConfig struct {
	FunctionCallingConfig struct {
		Mode                 string   `json:"mode,omitempty"`
		AllowedFunctionNames []string `json:"allowedFunctionNames,omitempty"`
	} `json:"functionCallingConfig"`
}

type generationConfig struct {
	MaxOutputTokens    int     `json:"maxOutputTokens,omitempty"`
	ResponseMIMEType   string  `json:"responseMimeType,omitempty"`
	ResponseSchema     *schema `json:"responseSchema,omitempty"`
	ResponseJSONSchema *schema `json:"responseJsonSchema,omitempty"`
}

type generateRequest struct {
	Contents          []content        `json:"contents"`
	SystemInstruction *content         `json:"systemInstruction,omitempty"`
	Tools             []tool           `json:"tools,omitempty"`
	ToolConfig        *toolConfig      `json:"toolConfig,omitempty"`
	GenerationConfig  generationConfig `json:"generationConfig"`
}

type embedRequest struct {
	Content              content `json:"content"`
	Title                string  `json:"title,omitempty"`
	OutputDimensionality int     `json:"outputDimensionality,omitempty"`
}

type batchEmbedRequest struct {
	Requests []embedRequest `json:"requests"`
}

type countTokensRequest struct {
	Contents               []content        `json:"contents"`
	GenerateContentRequest *generateRequest `json:"generateContentRequest,omitempty"`
}

type candidate struct {
	Content       *content `json:"content,omitempty"`
	FinishReason  string   `json:"finishReason,omitempty"`
	FinishMessage string   `json:"finishMessage,omitempty"`
	Index         int      `json:"index"`
}

type promptFeedback struct {
	BlockReason string `json:"blockReason"`
}

type usageMetadata struct {
	PromptTokenCount        int `json:"promptTokenCount,omitempty"`
	CachedContentTokenCount int `json:"cachedContentTokenCount,omitempty"`
	CandidatesTokenCount    int `json:"candidatesTokenCount,omitempty"`
	ThoughtsTokenCount      int `json:"thoughtsTokenCount,omitempty"`
	TotalTokenCount         int `json:"totalTokenCount,omitempty"`
}

type generateResponse struct {
	Candidates     []candidate     `json:"candidates,omitempty"`
	PromptFeedback *promptFeedback `json:"promptFeedback,omitempty"`
	UsageMetadata  usageMetadata   `json:"usageMetadata"`
	ModelVersion   string          `json:"modelVersion"`
	ResponseID     string          `json:"responseId"`
}

// text joins the text parts of c; thoughts are not part of it.
func (c content) text() string {
	var b strings.Builder
	for _, p := range c.Parts {
		if p.Text == "" || p.Thought {
			continue
		}
		if b.Len() > 0 {
			b.WriteByte('\n')
		}
		b.WriteString(p.Text)
	}
	return b.String()
}

// tokens estimates what a text costs: four bytes a token, as the service's documentation suggests for English.
func tokens(text string) int { return (len(text) + 3) / 4 }

// tokens estimates the cost of everything in c.
func (c content) tokens() int {
	n := 0
	for _, p := range c.Parts {
		n += p.tokens()
	}
	return n
}

func (p part) tokens() int {
	n := tokens(p.Text)
	if p.FunctionCall != nil {
		args, err := json.Marshal(p.FunctionCall.Args)
		if err == nil { // it was decoded from JSON, so it always encodes
			n += tokens(p.FunctionCall.Name) + tokens(string(args))
		}
	}
	if p.FunctionResponse != nil {
		n += tokens(p.FunctionResponse.Name) + tokens(string(p.FunctionResponse.Response))
	}
	return n
}

// promptTokens estimates the cost of the whole request.
func (r *generateRequest) promptTokens() int {
	n := 0
	for _, c := range r.Contents {
		n += c.tokens()
	}
	if r.SystemInstruction != nil {
		n += r.SystemInstruction.tokens()
	}
	return n
}

// promptText is everything a script's Contains is looked for in: the system instruction, all texts, the function responses.
func (r *generateRequest) promptText() string {
	var b strings.Builder
	if r.SystemInstruction != nil {
		b.WriteString(r.SystemInstruction.text())
		b.WriteByte('\n')
	}
	for _, c := range r.Contents {
		for _, p := range c.Parts {
			b.WriteString(p.Text)
			if p.FunctionResponse != nil {
				b.Write(p.FunctionResponse.Response)
			}
			b.WriteByte('\n')
		}
	}
	return b.String()
}

// counted is the request whose tokens are asked for.
func (r *countTokensRequest) counted() *generateRequest {
	if r.GenerateContentRequest != nil {
		return r.GenerateContentRequest
	}
	return &generateRequest{Contents: r.Contents}
}

// promptOf returns the text of a request's body, or nothing when it cannot be read.
func promptOf(method string, body []byte) string {
	switch method {
	case methodGenerate, methodStream:
		var req generateRequest
		if json.Unmarshal(body, &req) == nil {
			return req.promptText()
		}
	case methodCount:
		var req countTokensRequest
		if json.Unmarshal(body, &req) == nil {
			return req.counted().promptText()
		}
	case methodEmbed:
		var req embedRequest
		if json.Unmarshal(body, &req) == nil {
			return req.Content.text()
		}
	case methodBatchEmbed:
		var req batchEmbedRequest
		if json.Unmarshal(body, &req) == nil {
			var b strings.Builder
			for _, r := range req.Requests {
				b.WriteString(r.Content.text())
				b.WriteByte('\n')
			}
			return b.String()
		}
	}
	return ""
}

// lastTurn returns the last text the user wrote and the function responses that came after it.
func (r *generateRequest) lastTurn() (question string, results []*functionResponse) {
	for _, c := range slices.Backward(r.Contents) {
		if c.Role == roleModel {
			continue
		}
		if text := c.text(); text != "" {
			return text, results
		}
		results = append(responsesIn(c), results...)
	}
	return "", results
}

// functions lists the functions that may be called: those declared, less those the tool configuration rules out.
func (r *generateRequest) functions() (all []functionDeclaration, mustCall bool) {
	var allowed []string
	if r.ToolConfig != nil {
		switch r.ToolConfig.FunctionCallingConfig.Mode {
		case "NONE":
			return nil, false
		case "ANY":
			mustCall = true
			allowed = r.ToolConfig.FunctionCallingConfig.AllowedFunctionNames
		}
	}
	for _, t := range r.Tools {
		for _, f := range t.FunctionDeclarations {
			if len(allowed) == 0 || slices.Contains(allowed, f.Name) {
				all = append(all, f)
			}
		}
	}
	return all, mustCall && len(all) > 0
}
