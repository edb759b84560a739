package geminilocal_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"go.uber.org/goleak"
	"google.golang.org/genai"

	"github.com/tarento/copilot/deploy/devstack/geminilocal"
)

func TestMain(m *testing.M) {
	// The SDK links OpenCensus, which starts one goroutine for the life of the process.
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("go.opencensus.io/stats/view.(*worker).start"))
}

const (
	chatModel  = "gemini-2.5-flash"
	embedModel = "gemini-embedding-001"
)

// standin is a stand-in on a port of its own, with an SDK client.
type standin struct {
	url  string
	http *http.Client
	sdk  *genai.Client
}

func start(t *testing.T, config geminilocal.Config) *standin {
	t.Helper()
	server := httptest.NewServer(geminilocal.New(config))
	t.Cleanup(server.Close)
	s := &standin{url: server.URL, http: server.Client()}
	s.sdk = s.client(t, "test-key")
	return s
}

// client returns an SDK client with its own key, and so its own session.
func (s *standin) client(t *testing.T, key string) *genai.Client {
	t.Helper()
	sdk, err := genai.NewClient(t.Context(), &genai.ClientConfig{
		APIKey: key, Backend: genai.BackendGeminiAPI, HTTPClient: s.http, HTTPOptions: genai.HTTPOptions{BaseURL: s.url},
	})
	if err != nil {
		t.Fatalf("making an SDK client: %v", err)
	}
	return sdk
}

// do sends a bare request with the key "test-key" and returns status and body.
func (s *standin) do(t *testing.T, method, path string, body any) (int, []byte) {
	t.Helper()
	var in io.Reader
	if body != nil {
		data, err := json.Marshal(body)
		if err != nil {
			t.Fatal(err)
		}
		in = bytes.NewReader(data)
	}
	req, err := http.NewRequestWithContext(t.Context(), method, s.url+path, in)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-Goog-Api-Key", "test-key")
	res, err := s.http.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	out, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	if res.Header.Get("X-Standin") == "" {
		t.Errorf("%s %s does not say that it is a stand-in", method, path)
	}
	return res.StatusCode, out
}

func (s *standin) script(t *testing.T, steps ...geminilocal.Step) {
	t.Helper()
	if status, body := s.do(t, http.MethodPost, "/admin/script", map[string]any{"steps": steps}); status != http.StatusNoContent {
		t.Fatalf("scripting: %d %s", status, body)
	}
}

func (s *standin) calls(t *testing.T) geminilocal.Calls {
	t.Helper()
	status, body := s.do(t, http.MethodGet, "/admin/calls", nil)
	var calls geminilocal.Calls
	if err := json.Unmarshal(body, &calls); err != nil || status != http.StatusOK {
		t.Fatalf("reading the calls: %d %s: %v", status, body, err)
	}
	return calls
}

// stream collects the chunks of a streamed answer and the error that ended it.
func stream(
	ctx context.Context,
	sdk *genai.Client,
	contents []*genai.Content,
	config *genai.GenerateContentConfig,
) (chunks []*genai.GenerateContentResponse, err error) {
	for chunk, err := range sdk.Models.GenerateContentStream(ctx, chatModel, contents, config) {
		if err != nil {
			return chunks, err
		}
		chunks = append(chunks, chunk)
	}
	return chunks, nil
}
