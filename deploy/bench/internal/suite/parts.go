package suite

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/tarento/copilot/deploy/bench/internal/floor"
	"github.com/tarento/copilot/deploy/bench/internal/load"
	"github.com/tarento/copilot/deploy/bench/internal/stat"
	"github.com/tarento/copilot/deploy/bench/internal/system"
	"github.com/tarento/copilot/events"
)

// body is the job that is submitted again and again: one short text to embed.
const body = `{"texts":["The quick brown fox jumps over the lazy dog."]}`

const (
	latencyRound = 20 * time.Second
	// warmLimit bounds the warm-up of each side.
	warmLimit = 3 * time.Second
	// waits is how long a request waits for its job in the latency part.
	waits = 10 * time.Second
)

// latency measures the way through everything: gateway, dispatcher, broker, worker, model, and back to the client that waits.
func (m *measurement) latency(ctx context.Context, report *Report) error {
	lasting := m.options.lasting(latencyRound)
	return m.on(ctx, []string{system.Gateway, system.EmbeddingWorker}, func(s *system.System) error {
		bare, err := s.StartFloor(ctx)
		if err != nil {
			return err
		}
		if err := s.StartFloorWorker(ctx); err != nil {
			return err
		}
		run := func(address, path string) loading {
			return func(ctx context.Context, lasting time.Duration) (Round, error) {
				return round(load.Open(ctx, m.options.Rate, lasting, func(ctx context.Context) error {
					return s.Run(ctx, address, path, []byte(body), waits)
				}))
			}
		}
		m.sayf("submit to done")
		sides, err := m.measureSides(ctx, lasting,
			contender{"whole system", run(s.Address, system.PathEmbeddings)}, contender{"its floor", run(bare, floor.PathRun)})
		if err != nil {
			return err
		}
		report.Latency = &Latency{
			PerSecond: m.options.Rate, Rounds: m.options.Rounds, Seconds: lasting.Seconds(),
			System: sides[0], Floor: sides[1], Against: against(sides[0], sides[1]),
		}
		return nil
	})
}

// everything is all programs that stay up.
func everything() []string {
	return []string{system.AgentWorker, system.IngestWorker, system.EmbeddingWorker, system.Gateway}
}

// questions are about the bundled PDF.
func questions() []string {
	return []string{
		"After how many records written in the log does Mnesia dump the log file by default?",
		"What is a fragmented table?",
		"How is a backup of the database made?",
	}
}

// memory measures what the programs hold before, during and after work like the tour's.
func (m *measurement) memory(ctx context.Context, report *Report) error {
	measured := &Memory{Binaries: make(map[string]int64)}
	for _, program := range system.Programs() {
		size, err := m.site.BinarySize(program)
		if err != nil {
			return err
		}
		measured.Binaries[program] = size
	}
	return m.on(ctx, everything(), func(s *system.System) error {
		m.sayf("memory: waiting until the programs are idle")
		if err := settle(ctx, s); err != nil {
			return err
		}
		for _, program := range everything() {
			idle, err := s.Memory(program)
			if err != nil {
				return err
			}
			if err := s.ForgetPeak(program); err != nil {
				return err
			}
			measured.Programs = append(measured.Programs, ProgramMemory{Program: program, Idle: idle})
		}
		m.sayf("memory: ingesting a document and asking about it")
		if err := m.work(ctx, s); err != nil {
			return err
		}
		for i := range measured.Programs {
			var err error
			if measured.Programs[i].Busy, err = s.Memory(measured.Programs[i].Program); err != nil {
				return err
			}
		}
		report.Memory = measured
		return nil
	})
}

// settle leaves the system as a later start does: its first start makes what is kept on disk for the others, the compiled sandbox of
// the ingest worker, and takes memory for that.
func settle(ctx context.Context, s *system.System) error {
	if err := s.AwaitQuiet(ctx); err != nil {
		return err
	}
	if err := s.Restart(ctx, system.IngestWorker); err != nil {
		return err
	}
	return s.AwaitQuiet(ctx)
}

// work is what the tour does, without looking at the answers.
func (m *measurement) work(ctx context.Context, s *system.System) error {
	if _, _, err := ingest(ctx, s, m.bundled); err != nil {
		return err
	}
	conversation, err := s.Converse(ctx)
	if err != nil {
		return err
	}
	for _, question := range questions() {
		job, err := s.Ask(ctx, conversation, question)
		if err != nil {
			return err
		}
		if _, err := s.Await(ctx, job); err != nil {
			return err
		}
	}
	return nil
}

// pdf measures how long one document takes. It is ingested once before, because the first one pays for what is made once.
func (m *measurement) pdf(ctx context.Context, report *Report) error {
	path := m.options.Document
	if path == "" {
		path = m.bundled
	}
	return m.on(ctx, []string{system.IngestWorker, system.EmbeddingWorker, system.Gateway}, func(s *system.System) error {
		var (
			p     = &PDF{File: filepath.Base(path)}
			took  time.Duration
			found events.DocumentIngestResult
			err   error
		)
		for n := range 1 + m.options.Rounds {
			if found, took, err = ingest(ctx, s, path); err != nil {
				return err
			}
			m.sayf("pdf: %d pages in %.2f s", found.Pages, took.Seconds())
			if n == 0 {
				p.First = took.Seconds()
				continue
			}
			p.Rounds = append(p.Rounds, took.Seconds())
		}
		info, err := os.Stat(path)
		if err != nil {
			return fmt.Errorf("measure the document: %w", err)
		}
		p.Bytes, p.Pages, p.Chunks = int(info.Size()), found.Pages, found.Chunks
		p.Seconds = stat.Median(p.Rounds)
		p.PagesPerSecond = float64(p.Pages) / p.Seconds
		report.PDF = p
		return nil
	})
}

// ingest uploads a file and waits until all of it can be searched.
func ingest(ctx context.Context, s *system.System, path string) (result events.DocumentIngestResult, took time.Duration, err error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return result, 0, fmt.Errorf("read the document: %w", err)
	}
	start := time.Now()
	job, err := s.Upload(ctx, path, data)
	if err != nil {
		return result, 0, err
	}
	if job, err = s.Await(ctx, job); err != nil {
		return result, 0, err
	}
	took = time.Since(start)
	if err := json.Unmarshal(job.Result, &result); err != nil {
		return result, 0, fmt.Errorf("read the result of job %s: %w", job.ID, err)
	}
	return result, took, nil
}
