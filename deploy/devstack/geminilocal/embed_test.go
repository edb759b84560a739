package geminilocal_test

import (
	"errors"
	"math"
	"net/http"
	"slices"
	"strings"
	"testing"

	"google.golang.org/genai"

	"github.com/tarento/copilot/deploy/devstack/geminilocal"
)

func vectors(t *testing.T, s *standin, dimension int32, texts ...string) [][]float32 {
	t.Helper()
	contents := make([]*genai.Content, len(texts))
	for i, text := range texts {
		contents[i] = genai.NewContentFromText(text, genai.RoleUser)
	}
	config := &genai.EmbedContentConfig{TaskType: "RETRIEVAL_DOCUMENT"}
	if dimension > 0 {
		config.OutputDimensionality = &dimension
	}
	res, err := s.sdk.Models.EmbedContent(t.Context(), embedModel, contents, config)
	if err != nil {
		t.Fatalf("embedding: %v", err)
	}
	if len(res.Embeddings) != len(texts) {
		t.Fatalf("%d vectors for %d texts", len(res.Embeddings), len(texts))
	}
	all := make([][]float32, len(texts))
	for i, e := range res.Embeddings {
		all[i] = e.Values
	}
	return all
}

func dot(a, b []float32) float64 {
	sum := 0.0
	for i := range a {
		sum += float64(a[i]) * float64(b[i])
	}
	return sum
}

func TestVectorsAreUnitVectorsOfTheAskedDimension(t *testing.T) {
	t.Parallel()
	s := start(t, geminilocal.Config{})
	texts := []string{
		"short", "the of and", "?!", "Größe und Übermut", strings.Repeat("A long passage about replication slots. ", 200),
	}
	for _, dimension := range []int32{0, 8, 256, 768, 1536, 3072} {
		want := int(dimension)
		if want == 0 {
			want = 768
		}
		for i, v := range vectors(t, s, dimension, texts...) {
			if len(v) != want {
				t.Errorf("text %d has %d dimensions, want %d", i, len(v), want)
			}
			if norm := math.Sqrt(dot(v, v)); math.Abs(norm-1) > 1e-3 {
				t.Errorf("text %d at %d dimensions has norm %v, want 1", i, dimension, norm)
			}
		}
	}
}

func TestTheSameTextAlwaysHasTheSameVector(t *testing.T) {
	t.Parallel()
	text := "Configure the replication slots before starting the standby."
	first := vectors(t, start(t, geminilocal.Config{}), 0, "something else", text)[1]
	second := vectors(t, start(t, geminilocal.Config{}), 0, text)[0]
	if !slices.Equal(first, second) {
		t.Error("two stand-ins embed the same text differently")
	}
}

func TestAQuestionLiesNearestToThePassageThatAnswersIt(t *testing.T) {
	t.Parallel()
	s := start(t, geminilocal.Config{})
	passages := []string{
		"Employees accrue 25 days of annual leave per calendar year. Unused leave of up to five days carries over until March.",
		"The apt-get program installs packages from repositories listed in /etc/apt/sources.list and resolves their dependencies.",
		"The invoice must be approved by the finance director when its amount exceeds 10,000 euros. Smaller invoices need a manager.",
		"PostgreSQL writes every change to the write-ahead log first. A checkpoint flushes dirty pages to the data files.",
		"Travel expenses are reimbursed within fourteen days after the receipts were submitted through the portal.",
		"The kernel mounts the root file system and starts init, the first process, which has the process identifier 1.",
	}
	questions := []string{
		"How many days of annual leave does an employee get?",
		"Which program installs a package and its dependencies?",
		"Who has to approve invoices above 10,000 euros?",
		"What does a checkpoint do with dirty pages?",
		"When is a travel expense reimbursed?",
		"What is the first process started by the kernel?",
	}
	all := vectors(t, s, 0, append(slices.Clone(passages), questions...)...)
	for i, question := range questions {
		best, at, second := -1.0, 0, -1.0
		for j := range passages {
			switch d := dot(all[len(passages)+i], all[j]); {
			case d > best:
				best, at, second = d, j, best
			case d > second:
				second = d
			}
		}
		if at != i || best < 0.2 || best < second+0.1 {
			t.Errorf("%q is nearest to passage %d (%.2f, next %.2f), want %d by a clear margin", question, at, best, second, i)
		}
	}
}

func TestSingularAndPluralLieTogether(t *testing.T) {
	t.Parallel()
	v := vectors(t, start(t, geminilocal.Config{}), 0, "policies for expenses", "policy for the expense", "kernel boot parameters")
	if same, other := dot(v[0], v[1]), dot(v[0], v[2]); same < 0.95 || other > 0.3 {
		t.Errorf("cosine of plural and singular %.2f, of unrelated texts %.2f", same, other)
	}
}

func TestEmbeddingRefusesWhatTheServiceRefuses(t *testing.T) {
	t.Parallel()
	s := start(t, geminilocal.Config{})
	text := map[string]any{"content": map[string]any{"parts": []any{map[string]any{"text": "x"}}}}
	wide := map[string]any{"content": text["content"], "outputDimensionality": 3073}
	tests := map[string]struct {
		path   string
		body   any
		status int
	}{
		"an empty batch": {embedModel + ":batchEmbedContents", map[string]any{}, http.StatusBadRequest},
		"an empty text": {
			embedModel + ":batchEmbedContents",
			map[string]any{"requests": []any{map[string]any{}}},
			http.StatusBadRequest,
		},
		"more than a hundred texts": {
			embedModel + ":batchEmbedContents",
			map[string]any{"requests": slices.Repeat([]any{text}, 101)},
			http.StatusBadRequest,
		},
		"too many dimensions":     {embedModel + ":embedContent", wide, http.StatusBadRequest},
		"a body of another shape": {embedModel + ":embedContent", []int{1}, http.StatusBadRequest},
		"a model that writes": {
			chatModel + ":batchEmbedContents",
			map[string]any{"requests": []any{text}},
			http.StatusNotFound,
		},
		"a model nobody has heard of": {
			"embed-o-matic:batchEmbedContents",
			map[string]any{"requests": []any{text}},
			http.StatusNotFound,
		},
		"one text is fine": {embedModel + ":embedContent", text, http.StatusOK},
		"a hundred texts are fine": {
			embedModel + ":batchEmbedContents",
			map[string]any{"requests": slices.Repeat([]any{text}, 100)},
			http.StatusOK,
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if status, body := s.do(t, http.MethodPost, "/v1beta/models/"+tc.path, tc.body); status != tc.status {
				t.Errorf("status %d, want %d: %.200s", status, tc.status, body)
			}
		})
	}
}

func TestErrorsReachTheSDKAsItsOwn(t *testing.T) {
	t.Parallel()
	s := start(t, geminilocal.Config{})
	_, err := s.sdk.Models.EmbedContent(t.Context(), "no-such-model", genai.Text("x"), nil)
	var api genai.APIError
	if !errors.As(err, &api) || api.Code != http.StatusNotFound || api.Status != "NOT_FOUND" {
		t.Errorf("got %v, want a NOT_FOUND APIError", err)
	}
}
