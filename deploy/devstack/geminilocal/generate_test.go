package geminilocal_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"google.golang.org/genai"

	"github.com/tarento/copilot/deploy/devstack/geminilocal"
)

func user(text string) *genai.Content { return genai.NewContentFromText(text, genai.RoleUser) }

func withTools(names ...string) *genai.GenerateContentConfig {
	declared := &genai.Tool{}
	for _, name := range names {
		declared.FunctionDeclarations = append(declared.FunctionDeclarations, &genai.FunctionDeclaration{
			Name: name,
			ParametersJsonSchema: json.RawMessage(
				`{"type":"object","properties":{"query":{"type":"string"}},"required":["query"]}`,
			),
		})
	}
	return &genai.GenerateContentConfig{Tools: []*genai.Tool{declared}}
}

// answering is the conversation after the retrieval tool returned the passages.
func answering(question, passages string) []*genai.Content {
	var response map[string]any
	if err := json.Unmarshal([]byte(passages), &response); err != nil {
		panic(err)
	}
	call := &genai.Part{
		FunctionCall:     &genai.FunctionCall{ID: "c1", Name: geminilocal.RetrievalTool, Args: map[string]any{"query": question}},
		ThoughtSignature: []byte("s"),
	}
	result := &genai.Part{FunctionResponse: &genai.FunctionResponse{ID: "c1", Name: geminilocal.RetrievalTool, Response: response}}
	return []*genai.Content{
		user(question),
		{Role: genai.RoleModel, Parts: []*genai.Part{call}},
		{Role: genai.RoleUser, Parts: []*genai.Part{result}},
	}
}

func TestItAsksForDocumentsAndQuotesThem(t *testing.T) {
	t.Parallel()
	s := start(t, geminilocal.Config{})
	question := "How many days of annual leave does an employee get?"
	contents := []*genai.Content{user(question)}

	first, err := s.sdk.Models.GenerateContent(t.Context(), chatModel, contents, withTools("other", geminilocal.RetrievalTool))
	if err != nil {
		t.Fatal(err)
	}
	calls := first.FunctionCalls()
	if len(calls) != 1 || calls[0].ID == "" || calls[0].Name != geminilocal.RetrievalTool || calls[0].Args["query"] != question {
		t.Fatalf("calls %+v, want one of %s with an id and the question", calls, geminilocal.RetrievalTool)
	}
	if first.ModelVersion != chatModel+geminilocal.ModelSuffix {
		t.Errorf("model version %q does not say what it is", first.ModelVersion)
	}

	contents = append(
		contents,
		first.Candidates[0].Content,
		&genai.Content{Role: genai.RoleUser, Parts: []*genai.Part{{FunctionResponse: &genai.FunctionResponse{
			ID: calls[0].ID, Name: calls[0].Name, Response: map[string]any{"passages": []any{
				map[string]any{
					"mark":  "[1]",
					"title": "Handbook",
					"page":  12,
					"text":  "Working hours are flexible. Every employee gets 25 days\nof annual leave. Shoes are optional.",
				},
				map[string]any{"mark": "[2]", "title": "Handbook", "text": "The canteen opens at noon on all working days."},
			}},
		}}}},
	)
	chunks, err := stream(t.Context(), s.sdk, contents, withTools(geminilocal.RetrievalTool))
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	for _, c := range chunks {
		text.WriteString(c.Text())
	}
	const want = "The documents say: “Every employee gets 25 days of annual leave.” [1] " +
		"(Answered by the local stand-in for Gemini, which quotes passages.)"
	if text.String() != want {
		t.Errorf("answer\n%s\nwant\n%s", text.String(), want)
	}
	last := chunks[len(chunks)-1]
	if len(chunks) < 5 || last.Candidates[0].FinishReason != genai.FinishReasonStop {
		t.Errorf("%d chunks, the last finished with %q; want several and STOP", len(chunks), last.Candidates[0].FinishReason)
	}
	usage := last.UsageMetadata
	if usage.PromptTokenCount < 50 || usage.CandidatesTokenCount < 20 ||
		usage.TotalTokenCount != usage.PromptTokenCount+usage.CandidatesTokenCount {
		t.Errorf("usage %+v does not add up", usage)
	}
}

func TestAnswers(t *testing.T) {
	t.Parallel()
	s := start(t, geminilocal.Config{})
	tests := map[string]struct {
		contents    []*genai.Content
		config      *genai.GenerateContentConfig
		has, hasNot []string
	}{
		"without tools it says what it is": {
			contents: []*genai.Content{user("Hello there")}, has: []string{"Hello there", "local stand-in for Gemini"},
		},
		"without passages it says that nothing was found": {
			contents: answering(
				"Who invented the wheel?",
				`{"passages":[]}`,
			),
			has: []string{"say nothing about this", "local stand-in"},
		},
		"passages about something else are not quoted": {
			contents: answering(
				"Who invented the wheel?",
				`{"passages":[{"mark":"[1]","text":"The canteen opens at noon on weekdays."}]}`,
			),
			has:    []string{"say nothing about this"},
			hasNot: []string{"canteen", "[1]"},
		},
		"two passages that answer alike are both quoted with their marks": {
			contents: answering(
				"When does the canteen open?",
				`{"passages":[{"mark":"[1]","text":"The canteen opens at noon."},
				{"mark":"[7]","text":"On Fridays the canteen opens at eleven."}]}`,
			),
			has: []string{"noon.” [1]", "eleven.” [7]"},
		},
		"a passage is quoted once even when retrieved twice": {
			contents: answering(
				"When does the canteen open?",
				`{"passages":[{"mark":"[1]","text":"The canteen opens at noon."},{"mark":"[2]","text":"The canteen opens at noon."}]}`,
			),
			has:    []string{"[1]"},
			hasNot: []string{"[2]"},
		},
		"an abbreviation does not end a sentence": {
			contents: answering(
				"Which formats does the importer read?",
				`{"passages":[{"mark":"[1]","text":"The importer reads several formats, e.g. Markdown and HTML. It writes none."}]}`,
			),
			has: []string{
				"“The importer reads several formats, e.g. Markdown and HTML.” [1]",
			},
			hasNot: []string{"writes none"},
		},
		"the passage's heading helps a sentence that names nothing": {
			contents: answering(
				"What is the default port of the gateway?",
				`{"passages":[{"mark":"[1]","heading":"Worker","text":"The default port is 9100 unless configured."},
				{"mark":"[2]","heading":"Gateway","text":"The default port is 8080 unless configured."}]}`,
			),
			has: []string{"The documents say: “The default port is 8080"},
		},
		"the result of another tool is repeated": {
			contents: func() []*genai.Content {
				c := answering("How is the weather?", `{"sky":"blue"}`)
				c[1].Parts[0].FunctionCall.Name, c[2].Parts[0].FunctionResponse.Name = "weather", "weather"
				return c
			}(),
			has: []string{`The tool weather answered: {"sky":"blue"}`},
		},
		"a second question is asked about anew": {
			contents: append(
				answering("When does the canteen open?", `{"passages":[]}`),
				genai.NewContentFromText("Nothing found.", genai.RoleModel),
				user("And the library?"),
			),
			config: withTools(geminilocal.RetrievalTool),
			has:    []string{`CALL {"query":"And the library?"}`},
		},
		"a forbidden tool is not called": {
			contents: []*genai.Content{user("Hello")},
			config: func() *genai.GenerateContentConfig {
				c := withTools(geminilocal.RetrievalTool)
				c.ToolConfig = &genai.ToolConfig{
					FunctionCallingConfig: &genai.FunctionCallingConfig{Mode: genai.FunctionCallingConfigModeNone},
				}
				return c
			}(),
			has: []string{"You said: “Hello”"},
		},
		"a tool that must be called is called with arguments that fit": {
			contents: []*genai.Content{user("Hello")},
			config: func() *genai.GenerateContentConfig {
				c := withTools("lookup")
				c.ToolConfig = &genai.ToolConfig{
					FunctionCallingConfig: &genai.FunctionCallingConfig{Mode: genai.FunctionCallingConfigModeAny},
				}
				return c
			}(),
			has: []string{`CALL {"query":"Hello"}`},
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			res, err := s.sdk.Models.GenerateContent(t.Context(), chatModel, tc.contents, tc.config)
			if err != nil {
				t.Fatal(err)
			}
			var text strings.Builder
			for _, p := range res.Candidates[0].Content.Parts {
				text.WriteString(p.Text)
				if p.FunctionCall != nil {
					args, err := json.Marshal(p.FunctionCall.Args)
					if err != nil {
						t.Fatal(err)
					}
					text.WriteString("CALL " + string(args))
				}
			}
			for _, want := range tc.has {
				if !strings.Contains(text.String(), want) {
					t.Errorf("%q lacks %q", text.String(), want)
				}
			}
			for _, unwanted := range tc.hasNot {
				if strings.Contains(text.String(), unwanted) {
					t.Errorf("%q has %q", text.String(), unwanted)
				}
			}
		})
	}
}

func TestJSONFitsItsSchema(t *testing.T) {
	t.Parallel()
	s := start(t, geminilocal.Config{})
	tests := map[string]struct{ schema, want string }{
		"only what is required": {
			`{"type":"object","properties":{"n":{"type":"integer","minimum":2.5},"o":{"type":"string"}},"required":["n"]}`,
			`{"n":3}`,
		},
		"everything when nothing is required": {
			`{"type":"object","properties":{"b":{"type":"boolean"},"d":{"type":"string","format":"date"}}}`,
			`{"b":true,"d":"2000-01-01"}`,
		},
		"the first of an enumeration": {`{"type":"string","enum":["low","high"]}`, `"low"`},
		"as many items as demanded":   {`{"type":"array","minItems":2,"items":{"type":"number","maximum":-1}}`, `[-1,-1]`},
		"a reference into the definitions": {
			`{"$defs":{"x":{"const":7}},"type":"object","properties":{"a":{"$ref":"#/$defs/x"}},"required":["a"]}`,
			`{"a":7}`,
		},
		"a schema that contains itself ends": {`{"type":"object","properties":{"next":{"$ref":"#"}}}`, ``},
		"a nullable type":                    {`{"type":["null","string"],"maxLength":3}`, `"You"`},
		"the first of several schemas":       {`{"anyOf":[{"type":"null"},{"type":"string"}]}`, `null`},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			res, err := s.sdk.Models.GenerateContent(t.Context(), chatModel, genai.Text("Hello"), &genai.GenerateContentConfig{
				ResponseMIMEType: "application/json", ResponseJsonSchema: json.RawMessage(tc.schema),
			})
			if err != nil {
				t.Fatal(err)
			}
			var got bytes.Buffer
			if err := json.Compact(&got, []byte(res.Text())); err != nil {
				t.Fatalf("no JSON: %v: %s", err, res.Text())
			}
			if tc.want != "" && got.String() != tc.want {
				t.Errorf("got %s, want %s", got.String(), tc.want)
			}
		})
	}

	t.Run("the older dialect with upper case types", func(t *testing.T) {
		t.Parallel()
		res, err := s.sdk.Models.GenerateContent(t.Context(), chatModel, genai.Text("Hello"), &genai.GenerateContentConfig{
			ResponseMIMEType: "application/json",
			ResponseSchema: &genai.Schema{Type: genai.TypeArray, MinItems: new(int64(1)), Items: &genai.Schema{
				Type:       genai.TypeObject,
				Required:   []string{"ok"},
				Properties: map[string]*genai.Schema{"ok": {Type: genai.TypeBoolean}},
			}},
		})
		if err != nil {
			t.Fatal(err)
		}
		var got []struct{ OK bool }
		if err := json.Unmarshal([]byte(res.Text()), &got); err != nil || len(got) != 1 || !got[0].OK {
			t.Errorf("got %s (%v)", res.Text(), err)
		}
	})

	t.Run("without a schema it is an object", func(t *testing.T) {
		t.Parallel()
		res, err := s.sdk.Models.GenerateContent(
			t.Context(),
			chatModel,
			genai.Text("Hello"),
			&genai.GenerateContentConfig{ResponseMIMEType: "application/json"},
		)
		if err != nil {
			t.Fatal(err)
		}
		if !json.Valid([]byte(res.Text())) || !strings.Contains(res.Text(), `"answer"`) {
			t.Errorf("got %s", res.Text())
		}
	})
}

func TestALimitOfTokensEndsTheAnswer(t *testing.T) {
	t.Parallel()
	s := start(t, geminilocal.Config{})
	res, err := s.sdk.Models.GenerateContent(
		t.Context(),
		chatModel,
		genai.Text("Tell me everything you know"),
		&genai.GenerateContentConfig{MaxOutputTokens: 5},
	)
	if err != nil {
		t.Fatal(err)
	}
	if res.Candidates[0].FinishReason != genai.FinishReasonMaxTokens || len(res.Text()) > 20 {
		t.Errorf("finished with %s after %q", res.Candidates[0].FinishReason, res.Text())
	}
}

func TestModelsSayThatTheyAreStandIns(t *testing.T) {
	t.Parallel()
	s := start(t, geminilocal.Config{})
	n := 0
	for m, err := range s.sdk.Models.All(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		n++
		if !strings.Contains(m.DisplayName, "local stand-in") {
			t.Errorf("%s is called %q", m.Name, m.DisplayName)
		}
	}
	if n == 0 {
		t.Error("no models")
	}
	one, err := s.sdk.Models.Get(t.Context(), embedModel, nil)
	if err != nil || one.Name != "models/"+embedModel {
		t.Errorf("got %+v, %v", one, err)
	}
	if _, err := s.sdk.Models.Get(t.Context(), "gpt-4", nil); err == nil {
		t.Error("a model of another house was found")
	}
}

func TestCountedTokensAreTheOnesCharged(t *testing.T) {
	t.Parallel()
	s := start(t, geminilocal.Config{})
	contents := genai.Text("How many tokens does this sentence have?")
	counted, err := s.sdk.Models.CountTokens(t.Context(), chatModel, contents, nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := s.sdk.Models.GenerateContent(t.Context(), chatModel, contents, nil)
	if err != nil {
		t.Fatal(err)
	}
	if counted.TotalTokens == 0 || counted.TotalTokens != res.UsageMetadata.PromptTokenCount {
		t.Errorf("counted %d, charged %d", counted.TotalTokens, res.UsageMetadata.PromptTokenCount)
	}
}

func TestConversationsTheServiceRefusesAreRefused(t *testing.T) {
	t.Parallel()
	s := start(t, geminilocal.Config{})
	changed := func(change func(c []*genai.Content) []*genai.Content) []*genai.Content {
		return change(answering("Where?", `{"passages":[]}`))
	}
	tests := map[string]struct {
		contents []*genai.Content
		want     string
	}{
		"no contents":    {nil, "contents is not specified"},
		"no parts":       {[]*genai.Content{{Role: "user"}}, "must not be empty"},
		"an empty part":  {[]*genai.Content{{Role: "user", Parts: []*genai.Part{{}}}}, "oneof field 'data'"},
		"a role unheard": {[]*genai.Content{{Role: "oracle", Parts: []*genai.Part{{Text: "x"}}}}, "valid role"},
		"a call whose thought signature was lost": {changed(func(c []*genai.Content) []*genai.Content {
			c[1].Parts[0].ThoughtSignature = nil
			return c
		}), "thought_signature"},
		"a result for another call": {changed(func(c []*genai.Content) []*genai.Content {
			c[2].Parts[0].FunctionResponse.ID = "c2"
			return c
		}), "does not answer"},
		"a call without its result": {changed(func(c []*genai.Content) []*genai.Content {
			return append(c[:2:2], user("Well?"))
		}), "number of function response parts"},
		"a result nobody asked for": {changed(func(c []*genai.Content) []*genai.Content {
			return append(c, c[2])
		}), "number of function response parts"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			status, body := s.do(
				t,
				http.MethodPost,
				"/v1beta/models/"+chatModel+":generateContent",
				map[string]any{"contents": tc.contents},
			)
			if status != http.StatusBadRequest || !strings.Contains(string(body), tc.want) {
				t.Errorf("%d %s, want 400 with %q", status, body, tc.want)
			}
		})
	}
}

func TestEveryRequestNeedsAKey(t *testing.T) {
	t.Parallel()
	s := start(t, geminilocal.Config{Admin: true})
	for path, want := range map[string]int{
		"/v1beta/models/" + chatModel + ":generateContent": http.StatusForbidden,
		"/admin/script": http.StatusBadRequest,
	} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.url+path, strings.NewReader("{}"))
		if err != nil {
			t.Fatal(err)
		}
		res, err := s.http.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		if res.StatusCode != want {
			t.Errorf("%s without a key: %d, want %d", path, res.StatusCode, want)
		}
	}
}
