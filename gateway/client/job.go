package client

import (
	"context"
	"encoding/json"
	"fmt"
	"time"
)

// Ended reports whether the status is final.
func (s JobStatus) Ended() bool {
	return s == JobStatusSucceeded || s == JobStatusFailed || s == JobStatusCancelled
}

// Err is nil for a job that succeeded, and otherwise a [*JobFailure] that says why it did not, or not yet.
func (j *Job) Err() error {
	if j.Status == JobStatusSucceeded {
		return nil
	}
	f := &JobFailure{JobID: j.ID, Kind: j.Kind, Status: j.Status}
	if j.Error != nil {
		f.Code, f.Message = j.Error.Code, j.Error.Message
	}
	return f
}

// Into decodes the result of a job that succeeded, such as an [AgentRunResult]; of any other it returns [Job.Err].
func (j *Job) Into(v any) error {
	if err := j.Err(); err != nil {
		return err
	}
	if err := json.Unmarshal(j.Result, v); err != nil {
		return fmt.Errorf("read the result of job %s: %w", j.ID, err)
	}
	return nil
}

// JobFailure is a job that has not succeeded.
type JobFailure struct { //nolint:errname // it is first of all what became of a job
	JobID  string
	Kind   JobKind
	Status JobStatus
	// Code says for programs why it failed, Message for people; both are empty when there is no reason.
	Code, Message string
}

// Error implements error.
func (f *JobFailure) Error() string {
	if f.Code == "" {
		return fmt.Sprintf("job %s (%s) is %s, without a reason", f.JobID, f.Kind, f.Status)
	}
	return fmt.Sprintf("job %s (%s) is %s: %s (%s)", f.JobID, f.Kind, f.Status, f.Message, f.Code)
}

// longestWait is how long the server holds an answer at most.
const longestWait = 30 * time.Second

// Wait returns the job when it has ended, however that may be; see [Job.Err]. It waits as long as ctx allows.
func (c *Client) Wait(ctx context.Context, id string) (*Job, error) {
	for {
		job, err := c.GetJob(ctx, id, WaitFor(longestWait))
		if err != nil {
			return nil, fmt.Errorf("wait for job %s: %w", id, err)
		}
		if job.Status.Ended() {
			return job, nil
		}
		// The server has held the answer; should it not, this is no busy loop.
		if err := sleep(ctx, firstPause); err != nil {
			return nil, fmt.Errorf("wait for job %s: %w", id, err)
		}
	}
}

// AgentRunResult is the result of a job of the kind agent.run.
type AgentRunResult struct {
	// Content is the answer. The marks in it, such as [1], are those of Citations.
	Content string `json:"content"`
	// MessageID is the stored answer; empty for a run outside of a conversation.
	MessageID    string     `json:"message_id"`
	Citations    []Citation `json:"citations"`
	Model        string     `json:"model"`
	FinishReason string     `json:"finish_reason"`
	Iterations   int        `json:"iterations"`
	Usage        TokenUsage `json:"usage"`
}

// Citation says which passage a mark in an answer stands for.
type Citation struct {
	Mark       string `json:"mark"`
	DocumentID string `json:"document_id"`
	ChunkID    string `json:"chunk_id"`
	Title      string `json:"title"`
	// Page and EndPage count from 1; zero in documents without pages.
	Page    int `json:"page"`
	EndPage int `json:"end_page"`
	// Heading is the way to the passage, from the outermost heading.
	Heading string `json:"heading"`
	Text    string `json:"text"`
}

// DocumentIngestResult is the result of a job of the kind document.ingest.
type DocumentIngestResult struct {
	DocumentID string `json:"document_id"`
	// Pages is zero for formats without pages.
	Pages int `json:"pages"`
	// Chunks is how many passages can be searched.
	Chunks int `json:"chunks"`
}

// EmbeddingCreateResult is the result of a job of the kind embedding.create.
type EmbeddingCreateResult struct {
	Model     string `json:"model"`
	Dimension int    `json:"dimension"`
	Count     int    `json:"count"`
	// Embeddings holds a vector for each text, in their order; VectorIDs where they are when they were stored.
	Embeddings [][]float32 `json:"embeddings"`
	VectorIDs  []string    `json:"vector_ids"`
	Usage      TokenUsage  `json:"usage"`
}
