package geminilocal

import (
	"encoding/json"
	"fmt"
	"net/http"
)

// generate serves generateContent and streamGenerateContent.
func generate(w http.ResponseWriter, r *http.Request, method, modelName string, body []byte, step *Step, how delivery) {
	var req generateRequest
	if err := json.Unmarshal(body, &req); err != nil {
		writeError(w, malformedBody(err))
		return
	}
	if failure := req.check(); failure != nil {
		writeError(w, failure)
		return
	}
	var answer reply
	scripted := false
	if step != nil {
		answer, scripted = step.reply(len(req.Contents))
	}
	if !scripted {
		answer = compose(&req)
		if step != nil && step.Usage != nil {
			answer.usage = step.Usage
		}
	}
	responses := answer.responses(modelName, req.promptTokens())
	if method == methodGenerate {
		single(w, merge(responses), how)
		return
	}
	if r.URL.Query().Get("alt") != "sse" {
		writeError(w, invalidf("The local stand-in streams with alt=sse only."))
		return
	}
	stream(w, r, responses, how)
}

// check refuses conversations that the service refuses.
func (r *generateRequest) check() *apiError {
	if len(r.Contents) == 0 {
		return invalidf("* GenerateContentRequest.contents: contents is not specified")
	}
	turn := 0 // where the current turn began: the last text of the user
	for i, c := range r.Contents {
		if failure := c.check(i); failure != nil {
			return failure
		}
		if c.Role != roleModel && c.text() != "" {
			turn = i
		}
	}
	var asked []*functionCall
	for i, c := range r.Contents {
		calls := callsIn(c)
		if len(calls) > 0 && i >= turn && c.firstCall().ThoughtSignature == "" {
			return invalidf("Function call is missing a thought_signature in functionCall parts. "+
				"This is required for tools to work correctly. Function call %s, position %d.", calls[0].Name, i+1)
		}
		if failure := matched(asked, responsesIn(c)); failure != nil {
			return failure
		}
		asked = calls
	}
	return nil
}

// check refuses a content that the service cannot read.
func (c content) check(index int) *apiError {
	switch c.Role {
	case "", roleUser, roleModel, "function":
	default:
		return invalidf("Please use a valid role: user, model.")
	}
	if len(c.Parts) == 0 {
		return invalidf("* GenerateContentRequest.contents[%d].parts: contents.parts must not be empty.", index)
	}
	for j, p := range c.Parts {
		if p == (part{}) {
			return invalidf("* GenerateContentRequest.contents[%d].parts[%d].data: "+
				"required oneof field 'data' must have one initialized field", index, j)
		}
	}
	return nil
}

// matched checks that the results answer exactly the calls of the turn before.
func matched(asked []*functionCall, results []*functionResponse) *apiError {
	if len(asked) != len(results) {
		return invalidf("Please ensure that the number of function response parts is equal to " +
			"the number of function call parts of the function call turn.")
	}
	for i, result := range results {
		if result.ID != asked[i].ID || result.Name != asked[i].Name {
			return invalidf("Function response %q (id %q) does not answer function call %q (id %q).",
				result.Name, result.ID, asked[i].Name, asked[i].ID)
		}
	}
	return nil
}

func callsIn(c content) (all []*functionCall) {
	for _, p := range c.Parts {
		if p.FunctionCall != nil {
			all = append(all, p.FunctionCall)
		}
	}
	return all
}

func responsesIn(c content) (all []*functionResponse) {
	for _, p := range c.Parts {
		if p.FunctionResponse != nil {
			all = append(all, p.FunctionResponse)
		}
	}
	return all
}

// firstCall returns the first part with a function call; of parallel calls only that one is signed.
func (c content) firstCall() part {
	for _, p := range c.Parts {
		if p.FunctionCall != nil {
			return p
		}
	}
	return part{}
}

// responses are the chunks of a streamed answer. Usage grows with them, the last one has the finish reason.
func (a reply) responses(modelName string, prompt int) []generateResponse {
	first := generateResponse{
		ModelVersion: modelName + ModelSuffix, ResponseID: "local-standin",
		UsageMetadata: usageMetadata{PromptTokenCount: prompt, TotalTokenCount: prompt},
	}
	if a.blocked != "" {
		first.PromptFeedback = &promptFeedback{BlockReason: a.blocked}
		return []generateResponse{first}
	}
	pieces := a.pieces
	if len(pieces) == 0 {
		pieces = []part{{}}
	}
	all := make([]generateResponse, 0, len(pieces))
	next := first
	for i, p := range pieces {
		c := content{Role: roleModel}
		if p != (part{}) {
			c.Parts = []part{p}
		}
		answer := candidate{Content: &c}
		if p.Thought {
			next.UsageMetadata.ThoughtsTokenCount += p.tokens()
		} else {
			next.UsageMetadata.CandidatesTokenCount += p.tokens()
		}
		next.UsageMetadata.TotalTokenCount += p.tokens()
		if i == len(pieces)-1 {
			answer.FinishReason, answer.FinishMessage = a.finish, a.finishMessage
		}
		next.Candidates = []candidate{answer}
		if u := a.usage; u != nil {
			next.UsageMetadata = usageMetadata{
				PromptTokenCount: u.Prompt, CachedContentTokenCount: u.Cached, CandidatesTokenCount: u.Output,
				ThoughtsTokenCount: u.Thoughts, TotalTokenCount: u.Prompt + u.Output + u.Thoughts,
			}
		}
		all = append(all, next)
	}
	return all
}

// merge makes one response of the chunks of an answer; neighboring texts of one kind become one part.
func merge(responses []generateResponse) generateResponse {
	last := responses[len(responses)-1]
	if len(last.Candidates) == 0 {
		return last
	}
	whole := content{Role: roleModel}
	for _, r := range responses {
		for _, p := range r.Candidates[0].Content.Parts {
			if n := len(whole.Parts); n > 0 && continues(whole.Parts[n-1], p) {
				whole.Parts[n-1].Text += p.Text
				continue
			}
			whole.Parts = append(whole.Parts, p)
		}
	}
	answer := last.Candidates[0]
	answer.Content = &whole
	last.Candidates = []candidate{answer}
	return last
}

// continues reports whether next is more of the same text or thought.
func continues(previous, next part) bool {
	return previous.FunctionCall == nil && next.FunctionCall == nil && previous.Thought == next.Thought
}

// single sends a response that is not streamed.
func single(w http.ResponseWriter, response generateResponse, how delivery) {
	if how.cut == nil {
		writeJSON(w, http.StatusOK, response)
		return
	}
	body, err := json.Marshal(response)
	if err != nil {
		writeError(w, &apiError{Code: http.StatusInternalServerError, Status: "INTERNAL", Message: err.Error()})
		return
	}
	w.Header().Set("Content-Type", "application/json; charset=UTF-8")
	_, _ = w.Write(body[:len(body)/2])
	_ = http.NewResponseController(w).Flush()
	panic(http.ErrAbortHandler) // the way net/http breaks a connection
}

// stream sends the chunks as server-sent events, as slowly and as incompletely as told.
func stream(w http.ResponseWriter, r *http.Request, responses []generateResponse, how delivery) {
	w.Header().Set("Content-Type", "text/event-stream")
	w.WriteHeader(http.StatusOK)
	out := http.NewResponseController(w)
	send := func(v any) bool {
		data, err := json.Marshal(v)
		if err != nil {
			return false
		}
		if _, err := fmt.Fprintf(w, "data: %s\r\n\r\n", data); err != nil {
			return false
		}
		return out.Flush() == nil
	}
	// One round more than there are chunks, for what is to happen after the last.
	for i := range len(responses) + 1 {
		switch {
		case i > 0 && i < len(responses) && !pause(r.Context(), how.chunk):
			return
		case how.failure != nil && (i == how.failure.After || i == len(responses)):
			send(map[string]*apiError{"error": how.failure.body()})
			return
		case how.cut != nil && (i == how.cut.After || i == len(responses)):
			breakOff(out, how.cut)
			return
		case i < len(responses) && !send(responses[i]):
			return
		}
	}
}

// breakOff ends the stream before its end.
func breakOff(out *http.ResponseController, cut *Cut) {
	if cut.Clean {
		return
	}
	_ = out.Flush() // the headers at least, so that it is the answer that breaks
	panic(http.ErrAbortHandler)
}
