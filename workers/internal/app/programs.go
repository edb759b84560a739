package app

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/redis/go-redis/v9"

	"github.com/tarento/copilot/pkg/blob"
	"github.com/tarento/copilot/pkg/lifecycle"
	"github.com/tarento/copilot/workers/internal/agent"
	"github.com/tarento/copilot/workers/internal/embedding"
	"github.com/tarento/copilot/workers/internal/gemini"
	"github.com/tarento/copilot/workers/internal/ingest"
	"github.com/tarento/copilot/workers/internal/ingest/chunk"
	"github.com/tarento/copilot/workers/internal/ingest/parse"
	"github.com/tarento/copilot/workers/internal/provider"
	"github.com/tarento/copilot/workers/internal/vector"
)

// RunAgent is the agent worker. It returns when ctx ends.
func RunAgent(ctx context.Context, args []string, environ map[string]string, s Streams) error {
	return program[Agent]{
		name: "agent-worker", about: "runs agents: model calls, tool calls, answers with citations",
		shared: func(c *Agent) Shared { return c.Shared },
		build: func(ctx context.Context, c *Agent, p *platform) ([]work, []lifecycle.Service, error) {
			model, gate, err := c.open(ctx, p)
			if err != nil {
				return nil, nil, err
			}
			return []work{{agent.New(gate.ForJobs(model), agent.Retrieval{Bus: p.bus}), 16}}, nil, nil
		},
	}.run(ctx, args, environ, s)
}

// RunIngest is the ingest worker. It returns when ctx ends.
func RunIngest(ctx context.Context, args []string, environ map[string]string, s Streams) error {
	return program[Ingest]{
		name: "ingest-worker", about: "turns uploaded files into chunks, deletes documents",
		shared: func(c *Ingest) Shared { return c.Shared },
		build: func(ctx context.Context, c *Ingest, p *platform) ([]work, []lifecycle.Service, error) {
			blobs, err := blob.OpenFolder(c.BlobDir)
			if err != nil {
				return nil, nil, err
			}
			p.closers.PushCloser("blobs", blobs)
			p.checks["blobs"] = blobs.Ready
			parser := parse.New(parse.Config{CacheDir: c.CacheDir, Workers: c.parseWorkers(), Log: p.log})
			p.closers.PushCloser("parser", parser)
			// Compiling the sandbox takes seconds without a cache; nobody should wait for it twice.
			go func() {
				if err := parser.Warm(ctx); err != nil && ctx.Err() == nil {
					p.log.WarnContext(ctx, "PDF sandbox not warm", "error", err)
				}
			}()
			return []work{
				{ingest.New(blobs, parser, chunk.Config{TargetTokens: c.ChunkTokens}), 2},
				{ingest.NewDeleter(blobs), 4},
			}, []lifecycle.Service{{Name: "janitor", Run: ingest.NewJanitor(blobs, p.store, p.log).Run}}, nil
		},
	}.run(ctx, args, environ, s)
}

// RunEmbedding is the embedding worker. It returns when ctx ends.
func RunEmbedding(ctx context.Context, args []string, environ map[string]string, s Streams) error {
	return program[Embedding]{
		name: "embedding-worker", about: "embeds texts, keeps vectors, answers searches",
		shared: func(c *Embedding) Shared { return c.Shared },
		build: func(ctx context.Context, c *Embedding, p *platform) ([]work, []lifecycle.Service, error) {
			model, gate, err := c.open(ctx, p)
			if err != nil {
				return nil, nil, err
			}
			vectors, err := vector.Open(ctx, c.Qdrant)
			if err != nil {
				return nil, nil, err
			}
			p.closers.PushCloser("vectors", vectors)
			p.checks["qdrant"] = vectors.Ready
			space := vector.Space{Model: c.Model, Dimension: c.Dimension}
			if err := vectors.Ensure(ctx, space); err != nil {
				return nil, nil, fmt.Errorf("ensure the vector space: %w", err)
			}
			searcher := embedding.NewSearcher(gate.ForRequests(model), vectors, space, p.store, p.bus, p.log)
			batcher := embedding.NewBatcher(gate.ForJobs(model), c.Model, c.Dimension, c.Parallel)
			return []work{
				{embedding.New(batcher, vectors, space), 32},
				{embedding.NewSyncer(vectors), 8},
			}, []lifecycle.Service{{Name: "search", Run: searcher.Run}}, nil
		},
	}.run(ctx, args, environ, s)
}

// open returns the model, and the gate that every call of it has to pass.
func (c Provider) open(ctx context.Context, p *platform) (*gemini.Client, *provider.Gate, error) {
	limits, err := provider.ParseLimits(c.Limits)
	if err != nil {
		return nil, nil, err
	}
	// The client's own logger would write lines of its own form to standard error.
	redis.SetLogger(redisLog{p.log})
	client, err := provider.Open(c.RedisURL)
	if err != nil {
		return nil, nil, err
	}
	p.closers.PushCloser("redis", client)
	gate, err := provider.New(provider.Options{
		Redis: client, Prefix: p.cfg.NATSNamespace, Limits: limits, Log: p.log, Metrics: p.registry,
	})
	if err != nil {
		return nil, nil, err
	}
	model, err := gemini.New(ctx, gemini.Config{APIKey: c.APIKey.Reveal(), BaseURL: c.BaseURL})
	if err != nil {
		return nil, nil, err
	}
	p.closers.PushFunc("model", model.Close)
	return model, gate, nil
}

// redisLog passes on what the Redis client has to say.
type redisLog struct{ log *slog.Logger }

// Printf implements the client's logger.
func (l redisLog) Printf(ctx context.Context, format string, args ...any) {
	l.log.WarnContext(ctx, "redis client", "message", fmt.Sprintf(format, args...))
}
