package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tarento/copilot/gateway/client"
)

func TestProblemTellsWhatIsWrong(t *testing.T) {
	t.Parallel()
	c := dial(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { refuse(w, http.StatusNotFound, "job.not_found") }))
	_, err := c.GetJob(t.Context(), "a/b", client.WithRequestID("mine"))
	p, ok := errors.AsType[*client.Problem](err)
	if !ok {
		t.Fatalf("error %v, want a problem", err)
	}
	if p.Code != "job.not_found" || p.Status != 404 || p.RequestID != "r-1" || p.Type != "urn:copilot:problem:test" ||
		!slices.Equal(p.Errors, []client.FieldError{{Location: "body.email", Message: "expected another one"}}) {
		t.Errorf("problem %+v", p)
	}
	if want := "GET /api/v1/jobs/a%2Fb: 404 Not Found: So it is.; body.email: expected another one (request r-1)"; err.Error() != want {
		t.Errorf("error %q, want %q", err, want)
	}
}

func TestAnswerOfAProxyIsAProblemToo(t *testing.T) {
	t.Parallel()
	for name, contentType := range map[string]string{"in HTML": "text/html", "in something that calls itself JSON": "application/json"} {
		c := dial(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", contentType)
			w.WriteHeader(http.StatusBadGateway)
			_, _ = io.WriteString(w, "<h1>Bad Gateway</h1>")
		}))
		_, err := c.GetMe(t.Context())
		if p, ok := errors.AsType[*client.Problem](err); !ok || p.Status != 502 || err.Error() != "GET /api/v1/auth/me: 502 Bad Gateway" {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestCallsAreRepeatedWhereThatIsSafe(t *testing.T) {
	t.Parallel()
	busy := func(status int, retryAfter string) func(http.ResponseWriter) {
		return func(w http.ResponseWriter) {
			if retryAfter != "" {
				w.Header().Set("Retry-After", retryAfter)
			}
			refuse(w, status, "busy")
		}
	}
	broken := func(http.ResponseWriter) { panic(http.ErrAbortHandler) }
	get := func(ctx context.Context, c *client.Client) error {
		_, err := c.GetJob(ctx, "1")
		return err
	}
	submit := func(ctx context.Context, c *client.Client) error {
		_, err := c.RunAgent(ctx, "1", client.NewRun{UserInput: "Hello"})
		return err
	}
	cancel := func(ctx context.Context, c *client.Client) error {
		_, err := c.CancelJob(ctx, "1")
		return err
	}
	tests := map[string]struct {
		refuse  func(http.ResponseWriter)
		times   int // how many calls are refused
		call    func(context.Context, *client.Client) error
		options []client.Option
		calls   int
		fails   bool
		least   time.Duration
	}{
		"a read that is limited waits as long as it is told":       {refuse: busy(429, "7"), times: 2, call: get, calls: 3, least: 14 * time.Second},
		"a read that finds no service tries again":                 {refuse: busy(503, ""), times: 3, call: get, calls: 4},
		"a submit is safe, because it carries a key":               {refuse: busy(503, "1"), times: 1, call: submit, calls: 2, least: time.Second},
		"a POST without a key is made once":                        {refuse: busy(503, "1"), times: 1, call: cancel, calls: 1, fails: true},
		"after three repetitions the problem is the caller's":      {refuse: busy(429, "1"), times: 9, call: get, calls: 4, fails: true},
		"how often is an option":                                   {refuse: busy(429, "1"), times: 9, call: get, calls: 1, fails: true, options: []client.Option{client.WithRetries(0)}},
		"a long pause is the caller's to decide":                   {refuse: busy(429, "3600"), times: 1, call: get, calls: 1, fails: true},
		"other problems do not pass by waiting":                    {refuse: busy(500, "1"), times: 1, call: get, calls: 1, fails: true},
		"an answer that breaks off in the middle is not hidden":    {refuse: broken, times: 1, call: get, calls: 1, fails: true},
		"a submit that breaks off in the middle is not sent twice": {refuse: broken, times: 1, call: cancel, calls: 1, fails: true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				calls, keys := 0, map[string]bool{}
				c := dial(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					calls++
					keys[r.Header.Get("Idempotency-Key")] = true
					if calls <= test.times {
						test.refuse(w)
						return
					}
					reply(w, http.StatusOK, map[string]any{"id": "1"})
				}), test.options...)
				start := time.Now()
				err := test.call(t.Context(), c)
				if calls != test.calls || (err != nil) != test.fails {
					t.Errorf("%d calls, error %v; want %d", calls, err, test.calls)
				}
				if took := time.Since(start); took < test.least {
					t.Errorf("took %s, want at least %s", took, test.least)
				}
				if len(keys) != 1 {
					t.Errorf("the repetitions carried the keys %v, want one", keys)
				}
			})
		})
	}
}

// refusing is a transport that reaches nobody a few times.
type refusing struct {
	times int
	then  http.RoundTripper
}

func (r *refusing) RoundTrip(req *http.Request) (*http.Response, error) {
	if r.times--; r.times >= 0 {
		return nil, errors.New("connection refused")
	}
	return r.then.RoundTrip(req)
}

func TestCallThatReachesNobodyIsRepeatedAndSaysSo(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		healthy := inMemory{http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { reply(w, http.StatusOK, map[string]any{"id": "1"}) })}
		through := func(times int) client.Option {
			return client.WithHTTPClient(&http.Client{Transport: &refusing{times, healthy}})
		}
		if _, err := dial(t, nil, through(2)).GetJob(t.Context(), "1"); err != nil {
			t.Errorf("after two failures: %v", err)
		}
		_, err := dial(t, nil, through(9)).GetJob(t.Context(), "1")
		if !errors.Is(err, client.ErrUnreachable) || !strings.Contains(err.Error(), "no answer from the gateway at http://gateway.test: connection refused") {
			t.Errorf("error %v", err)
		}
	})
}

func TestAttemptIsBoundedAndAWaitComesOnTop(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := dial(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			delay := 5 * time.Second
			if r.Header.Get("Prefer") == "wait=20" {
				delay = 20 * time.Second
			}
			select {
			case <-time.After(delay):
				reply(w, http.StatusOK, map[string]any{"id": "1"})
			case <-r.Context().Done():
			}
		}), client.WithTimeout(3*time.Second))
		_, err := c.GetJob(t.Context(), "1")
		if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "no answer within 3s") {
			t.Errorf("error %v", err)
		}
		if _, err := c.GetJob(t.Context(), "1", client.WaitFor(20*time.Second)); err != nil {
			t.Errorf("with a wait: %v", err)
		}
	})
}

func TestOptionsOfACallAreSentAndItsAnswerIsShown(t *testing.T) {
	t.Parallel()
	var got http.Header
	c := dial(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = r.Header
		if r.Header.Get("If-None-Match") != "" {
			w.Header().Set("ETag", `"v1"`)
			w.WriteHeader(http.StatusNotModified)
			return
		}
		w.Header().Set("ETag", `"v2"`)
		w.Header().Set("Location", "/api/v1/jobs/1")
		w.Header().Set("Idempotency-Replayed", "true")
		reply(w, http.StatusAccepted, map[string]any{"id": "1", "status": "queued"})
	}), client.WithUserAgent("acme/1"), client.WithAPIKey("sesame"))
	var seen client.Answer
	job, err := c.RunAgent(t.Context(), "1", client.NewRun{UserInput: "Hello"},
		client.WithIdempotencyKey("k-1"), client.IfMatch(`"v1"`), client.WaitFor(2*time.Second), client.Inspect(&seen))
	if err != nil || job.Status != client.JobStatusQueued {
		t.Fatalf("job %+v, %v", job, err)
	}
	for name, want := range map[string]string{
		"Idempotency-Key": "k-1", "If-Match": `"v1"`, "Prefer": "wait=2", "User-Agent": "acme/1 copilot-go/1", "Authorization": "Bearer sesame",
		"Content-Type": "application/json", "Accept": "application/json",
	} {
		if got.Get(name) != want {
			t.Errorf("%s: %q, want %q", name, got.Get(name), want)
		}
	}
	if seen.ETag != `"v2"` || seen.Status != 202 || !seen.Replayed || seen.Location != "/api/v1/jobs/1" {
		t.Errorf("the answer showed %+v", seen)
	}
	if _, err := c.GetJob(t.Context(), "1", client.IfNoneMatch(`"v1"`), client.Inspect(&seen)); !errors.Is(err, client.ErrNotModified) || seen.ETag != `"v1"` {
		t.Errorf("%v, answer %+v; want ErrNotModified", err, seen)
	}
}

func TestEachAnswerOfAnOperationHasItsField(t *testing.T) {
	t.Parallel()
	c := dial(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var in map[string]any
		_ = json.NewDecoder(r.Body).Decode(&in)
		if run, given := in["run"].(bool); given && !run {
			reply(w, http.StatusCreated, map[string]any{"id": "m", "content": in["content"]})
			return
		}
		reply(w, http.StatusAccepted, map[string]any{"id": "j"})
	}))
	kept, err := c.CreateMessage(t.Context(), "1", client.NewMessage{Content: "Hello", Run: new(false)})
	if err != nil || kept.Job != nil || kept.Message == nil || kept.Message.Content != "Hello" {
		t.Errorf("kept %+v, %v", kept, err)
	}
	asked, err := c.CreateMessage(t.Context(), "1", client.NewMessage{Content: "Hello"})
	if err != nil || asked.Message != nil || asked.Job == nil || asked.Job.ID != "j" {
		t.Errorf("asked %+v, %v", asked, err)
	}
}

func TestAllYieldsEveryPage(t *testing.T) {
	t.Parallel()
	var asked []string
	c := dial(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.URL.RawQuery)
		switch r.FormValue("cursor") {
		case "":
			reply(w, 200, map[string]any{"data": []any{map[string]any{"id": "1"}, map[string]any{"id": "2"}}, "has_more": true, "next_cursor": "c2"})
		case "c2":
			reply(w, 200, map[string]any{"data": []any{map[string]any{"id": "3"}}, "has_more": true, "next_cursor": "c3"})
		default:
			refuse(w, http.StatusBadRequest, "cursor.unknown")
		}
	}))
	var ids []string
	for job, err := range c.AllJobs(t.Context(), client.ListJobsParams{Status: client.JobStatusFailed, Dead: new(true), Limit: 2}) {
		if err != nil {
			if p, ok := errors.AsType[*client.Problem](err); !ok || p.Code != "cursor.unknown" {
				t.Errorf("error %v", err)
			}
			ids = append(ids, "error")
			continue
		}
		ids = append(ids, job.ID)
	}
	if !slices.Equal(ids, []string{"1", "2", "3", "error"}) {
		t.Errorf("yielded %v", ids)
	}
	want := []string{"dead=true&limit=2&status=failed", "cursor=c2&dead=true&limit=2&status=failed", "cursor=c3&dead=true&limit=2&status=failed"}
	if !slices.Equal(asked, want) {
		t.Errorf("asked %q, want %q", asked, want)
	}
	asked = nil
	for _, err := range c.AllJobs(t.Context(), client.ListJobsParams{}) {
		if err != nil {
			t.Error(err)
		}
		break
	}
	if len(asked) != 1 {
		t.Errorf("a loop that ends early asked %d times", len(asked))
	}
}

func TestUploadStreamsTheFormAndIsRepeatedWhenTheFileCanBeReadAgain(t *testing.T) {
	t.Parallel()
	type received struct{ title, name, media, content string }
	serve := func(refusals int, got *[]received) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			file, header, err := r.FormFile("file")
			if err != nil {
				t.Error(err)
				return
			}
			data, _ := io.ReadAll(file)
			*got = append(*got, received{r.FormValue("title"), header.Filename, header.Header.Get("Content-Type"), string(data)})
			if len(*got) <= refusals {
				refuse(w, http.StatusServiceUnavailable, "busy")
				return
			}
			reply(w, http.StatusAccepted, map[string]any{"id": "1"})
		})
	}
	synctest.Test(t, func(t *testing.T) {
		var got []received
		content := strings.NewReader("skipped# Größe")
		_, _ = content.Seek(int64(len("skipped")), io.SeekStart)
		_, err := dial(t, serve(1, &got)).UploadDocument(t.Context(), client.UploadDocumentForm{
			File: client.File{Name: "Maße \"1\".md", ContentType: "text/markdown", Content: content}, Title: "Maße",
		})
		want := received{"Maße", "Maße \"1\".md", "text/markdown", "# Größe"}
		if err != nil || !slices.Equal(got, []received{want, want}) {
			t.Errorf("received %+v, %v", got, err)
		}
		got = nil
		_, err = dial(t, serve(1, &got)).UploadDocument(t.Context(), client.UploadDocumentForm{
			File: client.File{Name: "a.txt", Content: io.MultiReader(strings.NewReader("once"))},
		})
		if p, ok := errors.AsType[*client.Problem](err); !ok || p.Code != "busy" || len(got) != 1 {
			t.Errorf("a file that can be read once: received %+v, %v", got, err)
		}
	})
}

func TestDownloadIsReadWhileItArrives(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := dial(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Accept") != "*/*" {
				refuse(w, http.StatusNotAcceptable, "media.unknown")
				return
			}
			for range 3 {
				_, _ = io.WriteString(w, "part ")
				time.Sleep(time.Minute) //nolint:forbidigo // of synctest
			}
		}), client.WithTimeout(time.Second))
		file, err := c.DownloadDocument(t.Context(), "1")
		if err != nil {
			t.Fatal(err)
		}
		if text, err := io.ReadAll(file); err != nil || string(text) != strings.Repeat("part ", 3) {
			t.Errorf("read %q, %v", text, err)
		}
		if err := file.Close(); err != nil {
			t.Error(err)
		}
	})
}

func TestFieldsWithoutANameSurvive(t *testing.T) {
	t.Parallel()
	const wire = `{"max_tokens":7,"top_k":40,"stop":["x"]}`
	var config client.LLMConfig
	if err := json.Unmarshal([]byte(wire), &config); err != nil {
		t.Fatal(err)
	}
	if config.MaxTokens != 7 || config.Rest["top_k"] != 40.0 || len(config.Rest) != 2 {
		t.Errorf("read %+v", config)
	}
	again, err := json.Marshal(config)
	if err != nil || string(again) != `{"max_tokens":7,"stop":["x"],"top_k":40}` {
		t.Errorf("wrote %s, %v", again, err)
	}
}

func TestNullableTellsNullFromNothing(t *testing.T) {
	t.Parallel()
	type change struct {
		A client.Nullable[string] `json:"a,omitzero"`
		B client.Nullable[string] `json:"b,omitzero"`
		C client.Nullable[string] `json:"c,omitzero"`
	}
	text, err := json.Marshal(change{A: client.Set(""), B: client.Null[string]()})
	if err != nil || string(text) != `{"a":"","b":null}` {
		t.Errorf("wrote %s, %v", text, err)
	}
	var back change
	if err := json.Unmarshal(text, &back); err != nil || back.A.IsZero() || back.B.IsZero() || !back.C.IsZero() {
		t.Errorf("read %+v, %v", back, err)
	}
}

func TestBaseURLsThatNobodyMeantAreRefused(t *testing.T) {
	t.Parallel()
	for _, url := range []string{"", "copilot.example.com", "ftp://copilot.example.com", "http://", "http://a b", "https://x?y=1", "https://u:p@x"} {
		if _, err := client.New(url); err == nil {
			t.Errorf("%q was taken", url)
		}
	}
}
