package geminilocal

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"
)

// Config says how the stand-in behaves. The zero value answers at once and has no admin endpoints.
type Config struct {
	// Admin serves the scripting endpoints. Tests only: whoever reaches the port can read every request.
	Admin bool
	// Latency is the wait before the first byte of every response of the API.
	Latency time.Duration
	// ChunkLatency is the wait before each further chunk of a stream.
	ChunkLatency time.Duration
}

// Server is the stand-in. It is an http.Handler and nothing runs outside its requests; make one with New.
type Server struct {
	config  Config
	handler http.Handler

	mu       sync.Mutex
	sessions map[string]*session // by API key; stays empty without Config.Admin
}

// New returns a stand-in that behaves as config says.
func New(config Config) *Server {
	s := &Server{config: config, sessions: make(map[string]*session)}
	mux := http.NewServeMux()
	for _, version := range []string{"/v1beta", "/v1"} {
		mux.HandleFunc("GET "+version+"/models", listModels)
		mux.HandleFunc("GET "+version+"/models/{model}", getModel)
		mux.HandleFunc("POST "+version+"/models/{call}", s.call)
	}
	if config.Admin {
		admin := http.NewServeMux()
		s.admin(admin)
		mux.Handle("/admin/", identified(admin))
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		writeError(w, notFoundf("The local stand-in for Gemini does not serve %s %s.", r.Method, r.URL.Path))
	})
	s.handler = mux
	return s
}

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("X-Standin", "geminilocal")
	s.handler.ServeHTTP(w, r)
}

// The methods a model has, as they stand behind the colon of the path.
const (
	methodGenerate   = "generateContent"
	methodStream     = "streamGenerateContent"
	methodBatchEmbed = "batchEmbedContents"
	methodEmbed      = "embedContent"
	methodCount      = "countTokens"
)

// maxBody is the service's limit for a request.
const maxBody = 20 << 20

// delivery is how a response is sent: how late and how slowly, and where it breaks off.
type delivery struct {
	first, chunk time.Duration
	cut          *Cut
	failure      *Failure // sent after failure.After chunks
}

// call serves POST /models/{model}:{method}.
func (s *Server) call(w http.ResponseWriter, r *http.Request) {
	model, method, _ := strings.Cut(r.PathValue("call"), ":")
	if apiKey(r) == "" {
		writeError(w, nobody())
		return
	}
	if !offers(model, method) {
		writeError(w, notFoundf("models/%s is not found for API version v1beta, or is not supported for %s. "+
			"Call ListModels to see the list of available models and their supported methods.", model, method))
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		if _, tooLarge := errors.AsType[*http.MaxBytesError](err); tooLarge {
			writeError(w, invalidf("Request payload size exceeds the limit: %d bytes.", maxBody))
		}
		return // otherwise the client is gone
	}

	step, how := s.react(r, method, model, body)
	if !pause(r.Context(), how.first) {
		return
	}
	if step != nil && step.Error != nil && (step.Error.After == 0 || method != methodStream) {
		writeError(w, step.Error.body())
		return
	}
	switch method {
	case methodBatchEmbed:
		batchEmbedContents(w, body)
	case methodEmbed:
		embedContent(w, body)
	case methodCount:
		countTokens(w, body)
	default:
		generate(w, r, method, model, body, step, how)
	}
}

// react finds the step that answers the call, if any, and how the response is delivered.
func (s *Server) react(r *http.Request, method, model string, body []byte) (*Step, delivery) {
	how := delivery{first: s.config.Latency, chunk: s.config.ChunkLatency}
	if !s.config.Admin {
		return nil, how
	}
	step, own := s.session(r).take(method, model, body)
	if own != nil {
		how.first, how.chunk = time.Duration(own.Call), time.Duration(own.Chunk)
	}
	if step != nil {
		how.first += time.Duration(step.Delay)
		how.chunk += time.Duration(step.ChunkDelay)
		how.cut, how.failure = step.Cut, step.Error
	}
	return step, how
}

// pause waits for d; it is false when the client went away meanwhile.
func pause(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// apiKey returns the caller's key, from the header or the query.
func apiKey(r *http.Request) string {
	if key := r.Header.Get("X-Goog-Api-Key"); key != "" {
		return key
	}
	return r.URL.Query().Get("key")
}

// countTokens serves the method of that name.
func countTokens(w http.ResponseWriter, body []byte) {
	var req countTokensRequest
	if err := json.Unmarshal(body, &req); err != nil {
		writeError(w, malformedBody(err))
		return
	}
	writeJSON(w, http.StatusOK, map[string]int{"totalTokens": req.counted().promptTokens()})
}

// model is one entry of the list of models.
type model struct {
	Name             string   `json:"name"`
	Version          string   `json:"version"`
	DisplayName      string   `json:"displayName"`
	Description      string   `json:"description"`
	InputTokenLimit  int      `json:"inputTokenLimit"`
	OutputTokenLimit int      `json:"outputTokenLimit"`
	Methods          []string `json:"supportedGenerationMethods"`
}

// describe is what the list of models says about one.
func describe(id string) model {
	m := model{
		Name: "models/" + id, Version: "local-standin", DisplayName: id + " (local stand-in)",
		Description:     "A local stand-in that quotes passages. It is not the model of this name.",
		InputTokenLimit: 1 << 20, OutputTokenLimit: 1 << 16,
		Methods: []string{methodGenerate, methodStream, methodCount},
	}
	if embeds(id) {
		m.InputTokenLimit, m.OutputTokenLimit = 2048, 1
		m.Methods = []string{methodBatchEmbed, methodEmbed, methodCount}
	}
	return m
}

func listModels(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, map[string]any{"models": []model{
		describe("gemini-2.5-flash"), describe("gemini-2.5-pro"), describe("gemini-embedding-001"),
	}})
}

func getModel(w http.ResponseWriter, r *http.Request) {
	id := r.PathValue("model")
	if !known(id) {
		writeError(w, notFoundf("Model is not found: models/%s for api version v1beta", id))
		return
	}
	writeJSON(w, http.StatusOK, describe(id))
}

// known accepts every name that looks like one of the service's families, so that a new version needs no change here.
func known(model string) bool {
	for _, family := range []string{"gemini-", "gemma-", "text-embedding-", "embedding-"} {
		if strings.HasPrefix(model, family) {
			return true
		}
	}
	return false
}

func embeds(model string) bool { return strings.Contains(model, "embedding") }

// offers reports whether the model exists and has the method.
func offers(model, method string) bool {
	switch method {
	case methodGenerate, methodStream:
		return known(model) && !embeds(model)
	case methodBatchEmbed, methodEmbed:
		return known(model) && embeds(model)
	case methodCount:
		return known(model)
	default:
		return false
	}
}
