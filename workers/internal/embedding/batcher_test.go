package embedding_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"testing"

	"golang.org/x/sync/errgroup"

	"github.com/tarento/copilot/pkg/fault"
	"github.com/tarento/copilot/workers/internal/embedding"
	"github.com/tarento/copilot/workers/internal/gemini"
)

// meter is an Embedder whose vectors tell which text they are of. It refuses the text "poison".
type meter struct {
	hold chan struct{} // when not nil, calls wait for it

	mu    sync.Mutex
	sizes []int
}

func (m *meter) Embed(_ context.Context, _ string, texts []string, _ string, _ int) ([][]float32, gemini.Usage, error) {
	m.mu.Lock()
	m.sizes = append(m.sizes, len(texts))
	m.mu.Unlock()
	if m.hold != nil {
		<-m.hold
	}
	if slices.Contains(texts, "poison") {
		return nil, gemini.Usage{}, fault.New(fault.Invalid, "model.rejected", "No.")
	}
	vectors := make([][]float32, len(texts))
	for i, text := range texts {
		var n float32
		if _, err := fmt.Sscan(text, &n); err != nil {
			return nil, gemini.Usage{}, err
		}
		vectors[i] = []float32{n}
	}
	return vectors, gemini.Usage{}, nil
}

func numbers(from, n int) []string {
	texts := make([]string, n)
	for i := range texts {
		texts[i] = strconv.Itoa(from + i)
	}
	return texts
}

func check(vectors [][]float32, from, n int) error {
	if len(vectors) != n {
		return fmt.Errorf("%d vectors for %d texts", len(vectors), n)
	}
	for i, v := range vectors {
		if v[0] != float32(from+i) {
			return fmt.Errorf("text %d got the vector of %v", from+i, v[0])
		}
	}
	return nil
}

func TestEveryTextGetsItsOwnVectorWhateverBatchItTravelsIn(t *testing.T) {
	t.Parallel()
	b := embedding.NewBatcher(&meter{}, "m", 1, 3)
	var group errgroup.Group
	for caller := range 50 {
		group.Go(func() error {
			n := 1 + caller*7%230
			vectors, _, err := b.Embed(t.Context(), numbers(1000*caller, n), "document")
			if err != nil {
				return err
			}
			return check(vectors, 1000*caller, n)
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
}

func TestTextsThatWaitShareACall(t *testing.T) {
	t.Parallel()
	m := &meter{hold: make(chan struct{})}
	b := embedding.NewBatcher(m, "m", 1, 1)
	var group errgroup.Group
	for caller := range 20 {
		group.Go(func() error {
			vectors, _, err := b.Embed(t.Context(), numbers(10*caller, 10), "document")
			if err != nil {
				return err
			}
			return check(vectors, 10*caller, 10)
		})
	}
	close(m.hold)
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	if len(m.sizes) > 20 || slices.Max(m.sizes) > embedding.MaxBatch {
		t.Errorf("calls of %v texts", m.sizes)
	}
}

func TestARefusedTextFailsOnlyItsOwnCaller(t *testing.T) {
	t.Parallel()
	m := &meter{hold: make(chan struct{})}
	b := embedding.NewBatcher(m, "m", 1, 1)
	var group errgroup.Group
	for caller := range 8 {
		group.Go(func() error {
			texts := numbers(10*caller, 10)
			if caller == 3 {
				texts[5] = "poison"
			}
			vectors, _, err := b.Embed(t.Context(), texts, "document")
			if caller == 3 {
				if !fault.Is(err, fault.Invalid) {
					return fmt.Errorf("the poison was accepted: %w", err)
				}
				return nil
			}
			if err != nil {
				return err
			}
			return check(vectors, 10*caller, 10)
		})
	}
	close(m.hold)
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
}

func TestACallerThatLeavesTakesNobodyWithIt(t *testing.T) {
	t.Parallel()
	m := &meter{hold: make(chan struct{})}
	b := embedding.NewBatcher(m, "m", 1, 1)
	ctx, leave := context.WithCancel(t.Context())
	var group errgroup.Group
	group.Go(func() error {
		_, _, err := b.Embed(ctx, numbers(0, 5), "document")
		if err != nil && !errors.Is(err, context.Canceled) {
			return err
		}
		return nil
	})
	for caller := range 5 {
		group.Go(func() error {
			vectors, _, err := b.Embed(t.Context(), numbers(10*caller, 10), "document")
			if err != nil {
				return err
			}
			return check(vectors, 10*caller, 10)
		})
	}
	leave()
	close(m.hold)
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
}

// endless is an Embedder that answers only when its call is given up, and tells when it began and ended.
type endless struct{ began, ended chan struct{} }

func (e endless) Embed(ctx context.Context, _ string, _ []string, _ string, _ int) ([][]float32, gemini.Usage, error) {
	close(e.began)
	<-ctx.Done()
	close(e.ended)
	return nil, gemini.Usage{}, ctx.Err()
}

func TestCallThatNobodyWaitsForIsGivenUp(t *testing.T) {
	t.Parallel()
	e := endless{began: make(chan struct{}), ended: make(chan struct{})}
	b := embedding.NewBatcher(e, "m", 1, 1)
	ctx, leave := context.WithCancel(t.Context())
	left := make(chan error, 1)
	go func() {
		_, _, err := b.Embed(ctx, numbers(0, 5), "document")
		left <- err
	}()
	<-e.began
	leave()
	if err := <-left; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want the caller to leave", err)
	}
	<-e.ended
}
