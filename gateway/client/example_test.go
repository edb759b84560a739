package client_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"

	"github.com/tarento/copilot/gateway/client"
)

// gateway plays a gateway with one agent that has one answer.
func gateway() *httptest.Server {
	const answer = `"result":{"content":"Within 7 minutes. [1]","citations":[{"mark":"[1]","title":"On-call runbook"}]}`
	mux := http.NewServeMux()
	mux.HandleFunc("POST /api/v1/auth/login", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"user":{"email":"member@acme.com"},"tokens":{"access_token":"a","refresh_token":"r","expires_in":1800}}`)
	})
	mux.HandleFunc("GET /api/v1/agent-configs", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"data":[{"id":"7","name":"Document Analyzer"}],"has_more":false}`)
	})
	mux.HandleFunc("POST /api/v1/agents/7/runs", func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusAccepted)
		_, _ = io.WriteString(w, `{"id":"42","kind":"agent.run","status":"queued"}`)
	})
	mux.HandleFunc("GET /api/v1/jobs/42/events", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = io.WriteString(w, "id: 8.7\nevent: text.delta\ndata: {\"start\":8,\"offset\":0,\"text\":\"Within \"}\n\n"+
			"id: 8.21\nevent: text.delta\ndata: {\"start\":8,\"offset\":7,\"text\":\"7 minutes. [1]\"}\n\n"+
			"id: 9\nevent: job.state\ndata: {\"status\":\"succeeded\"}\n\n")
	})
	mux.HandleFunc("GET /api/v1/jobs/42", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"id":"42","kind":"agent.run","status":"succeeded",`+answer+`}`)
	})
	mux.HandleFunc("POST /api/v1/documents/upload", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(http.StatusForbidden)
		_, _ = io.WriteString(w, `{"code":"permission.missing","detail":"This needs the permission documents:upload."}`)
	})
	return httptest.NewServer(mux)
}

// Ask an agent, print its answer while it is written and then what it rests on.
func Example() {
	server := gateway()
	defer server.Close()
	ctx := context.Background()

	c, err := client.New(server.URL)
	if err != nil {
		fmt.Println(err)
		return
	}
	if _, err := c.Login(ctx, client.Credentials{Username: "member@acme.com", Password: "SecurePassword123!"}); err != nil {
		fmt.Println(err)
		return
	}
	for agent, err := range c.AllAgentConfigs(ctx, client.ListAgentConfigsParams{Search: "Document Analyzer"}) {
		if err != nil {
			fmt.Println(err)
			return
		}
		job, err := c.RunAgent(ctx, agent.ID, client.NewRun{UserInput: "When is the secondary on-call engineer paged?"})
		if err != nil {
			fmt.Println(err)
			return
		}
		if err := show(ctx, c, job.ID); err != nil {
			fmt.Println(err)
		}
	}

	// Output:
	// Within 7 minutes. [1]
	// [1] On-call runbook
}

func show(ctx context.Context, c *client.Client, job string) error {
	var text client.Transcript
	for event, err := range c.FollowJob(ctx, job) {
		if err != nil {
			return err
		}
		if event.Type == client.EventTextDelta {
			var d client.TextDelta
			if err := event.Into(&d); err != nil {
				return err
			}
			piece, _ := text.Add(d)
			fmt.Print(piece)
		}
	}
	fmt.Println()
	ended, err := c.GetJob(ctx, job)
	if err != nil {
		return err
	}
	var result client.AgentRunResult
	if err := ended.Into(&result); err != nil {
		return err
	}
	for _, cited := range result.Citations {
		fmt.Println(cited.Mark, cited.Title)
	}
	return nil
}

// Match on the code of a problem, not on its words.
func ExampleProblem() {
	server := gateway()
	defer server.Close()
	c, err := client.New(server.URL)
	if err != nil {
		fmt.Println(err)
		return
	}
	_, err = c.UploadDocument(context.Background(), client.UploadDocumentForm{
		File: client.File{Name: "runbook.md", ContentType: "text/markdown", Content: strings.NewReader("# Runbook")},
	}, client.WithIdempotencyKey("import-2026-01"))
	if p, ok := errors.AsType[*client.Problem](err); ok && p.Code == "permission.missing" {
		fmt.Println("ask an Admin:", p.Detail)
	}

	// Output:
	// ask an Admin: This needs the permission documents:upload.
}
