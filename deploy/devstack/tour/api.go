package tour

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/tarento/copilot/gateway/client"
)

// documentsTitled lists the documents of exactly this title, in the server's order.
func documentsTitled(ctx context.Context, c *client.Client, title string) ([]client.Document, error) {
	all, err := c.ListDocuments(ctx, client.ListDocumentsParams{Search: title})
	if err != nil {
		return nil, err
	}
	var same []client.Document
	for _, d := range all.Data {
		if d.Title == title {
			same = append(same, d)
		}
	}
	return same, nil
}

// submit uploads a document and returns the job that ingests it.
func submit(ctx context.Context, c *client.Client, d document) (*client.Job, error) {
	return c.UploadDocument(ctx, client.UploadDocumentForm{
		File: client.File{Name: d.File, ContentType: d.Type, Content: bytes.NewReader(d.Data)}, Title: d.Title, Tags: "tour",
	})
}

// agentNamed finds an agent by its name.
func agentNamed(ctx context.Context, c *client.Client, name string) (client.AgentConfig, error) {
	for a, err := range c.AllAgentConfigs(ctx, client.ListAgentConfigsParams{Search: name}) {
		if err != nil || a.Name == name {
			return a, err
		}
	}
	return client.AgentConfig{}, fmt.Errorf("there is no agent %q; has the database been seeded?", name)
}

// converse opens a conversation with the agent, in its project, and returns its id.
func converse(ctx context.Context, c *client.Client, a client.AgentConfig, title string) (string, error) {
	out, err := c.CreateConversation(ctx, client.NewConversation{AgentConfigID: &a.ID, ProjectID: a.ProjectID, Title: title})
	if err != nil {
		return "", err
	}
	return out.ID, nil
}

// post posts a user message and returns the job that answers it.
func post(ctx context.Context, c *client.Client, conversation, text string) (*client.Job, error) {
	out, err := c.CreateMessage(ctx, conversation, client.NewMessage{Content: text})
	switch {
	case err != nil:
		return nil, err
	case out.Job == nil:
		return nil, errors.New("the message was kept, and nobody answers it")
	default:
		return out.Job, nil
	}
}
