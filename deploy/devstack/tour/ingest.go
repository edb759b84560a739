package tour

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/tarento/copilot/gateway/client"
)

// pollInterval is how often a document is read again that an earlier tour left in processing.
const pollInterval = 300 * time.Millisecond

// ingestion sums up what was ingested in this tour. Documents of an earlier tour do not count.
type ingestion struct {
	documents, pages, chunks int
	took                     time.Duration // from the first upload to the end of the last job
}

// upload is a document that was handed in and the job that ingests it.
type upload struct {
	document
	job string
	at  time.Time
}

// ingest uploads the documents that are not there yet and waits until all can be searched.
func (g *guide) ingest(ctx context.Context, docs []document) error {
	var open []upload
	start := time.Now()
	for _, d := range docs {
		there, err := g.present(ctx, d)
		if err != nil {
			return fmt.Errorf("look for %s: %w", d.File, err)
		}
		if there {
			g.out.stepf("Found %s of an earlier tour", d.File)
			continue
		}
		u := upload{document: d, at: time.Now()}
		j, err := submit(ctx, g.api, d)
		if err != nil {
			return fmt.Errorf("upload %s: %w", d.File, err)
		}
		u.job = j.ID
		open = append(open, u)
		g.out.stepf("Uploaded %s, %s: job %s", d.File, size(len(d.Data)), j.ID)
	}
	if len(open) == 0 {
		return nil
	}
	if err := g.followAll(ctx, open); err != nil {
		return err
	}
	g.ingested.took = time.Since(start)
	return nil
}

// present reports whether the document was ingested by an earlier tour. One that an earlier tour left in processing is
// waited for; one that failed, or that has another size, does not count.
func (g *guide) present(ctx context.Context, d document) (bool, error) {
	found, err := documentsTitled(ctx, g.api, d.Title)
	if err != nil {
		return false, err
	}
	for _, s := range found {
		if s.FileSize != len(d.Data) {
			continue
		}
		for inProcess(s.ProcessingStatus) {
			g.out.progressf("%s of an earlier tour is %s", d.File, s.ProcessingStatus)
			if err := pause(ctx, pollInterval); err != nil {
				return false, fmt.Errorf("wait for document %s, which is %s: %w", s.ID, s.ProcessingStatus, err)
			}
			again, err := g.api.GetDocument(ctx, s.ID)
			if err != nil {
				return false, err
			}
			s = *again
		}
		if s.ProcessingStatus == client.DocumentProcessingStatusCompleted {
			return true, nil
		}
	}
	return false, nil
}

func inProcess(s client.DocumentProcessingStatus) bool {
	return s == client.DocumentProcessingStatusPending || s == client.DocumentProcessingStatusProcessing
}

// followAll follows the jobs of all uploads at once. The first failure ends the others.
func (g *guide) followAll(ctx context.Context, open []upload) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var (
		wg    sync.WaitGroup
		once  sync.Once
		first error
		board = progressBoard{out: g.out, total: len(open)}
	)
	for _, u := range open {
		wg.Go(func() {
			if err := board.follow(ctx, g.api, u); err != nil {
				once.Do(func() { first = fmt.Errorf("ingest %s: %w", u.File, err) })
				cancel()
			}
		})
	}
	wg.Wait()
	if first != nil {
		return first
	}
	g.ingested = board.sum
	return nil
}

// progressBoard shows the progress of several jobs.
type progressBoard struct {
	out   *console
	total int

	mu  sync.Mutex
	sum ingestion
}

// follow follows one upload to its end and prints its progress.
func (b *progressBoard) follow(ctx context.Context, api *client.Client, u upload) error {
	var stage string
	ended, err := follow(ctx, api, u.job, watcher{
		progress: func(p client.JobProgress) {
			if p.Stage != stage {
				stage = p.Stage
				b.stage(u, stage)
			}
			b.out.progressf("%d of %d ingested · %s: %s %d of %d", b.done(), b.total, u.File, p.Stage, p.Done, p.Total)
		},
		state: func(s client.JobState) {
			if s.Error != nil && !s.Status.Ended() {
				b.out.stepf("%s is tried again: %s", u.File, s.Error.Message)
			}
		},
	})
	if err != nil {
		return err
	}
	var result client.DocumentIngestResult
	if err := ended.Into(&result); err != nil {
		return err
	}
	if result.Chunks == 0 {
		return errors.New("the job succeeded, but no passage can be searched")
	}
	b.add(result)
	b.out.stepf("Ingested %s: %s%d chunks in %s", u.File, pages(result.Pages), result.Chunks, seconds(time.Since(u.at)))
	return nil
}

// stage prints a line for a new stage where there is no progress line.
func (b *progressBoard) stage(u upload, stage string) {
	if !b.out.live {
		b.out.notef("%s: %s", u.File, cmp.Or(stage, "working"))
	}
}

func (b *progressBoard) add(r client.DocumentIngestResult) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.sum.documents++
	b.sum.pages += r.Pages
	b.sum.chunks += r.Chunks
}

func (b *progressBoard) done() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.sum.documents
}

// pages writes a number of pages in front of something else, and nothing for a format without pages.
func pages(n int) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprintf("%d pages, ", n)
}
