package parse

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/klippa-app/go-pdfium"
	"github.com/klippa-app/go-pdfium/references"
	"github.com/klippa-app/go-pdfium/requests"
	"github.com/klippa-app/go-pdfium/webassembly"
	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"
)

var (
	errSandboxClosed = errors.New("parse: the parser is closed")
	errTooSlow       = errors.New("parse: time limit reached")
)

// sandbox runs PDFium inside WebAssembly: without files, network or environment, in bounded memory and time. Its workers
// are slots; whoever holds one may have one session.
type sandbox struct {
	cfg   Config
	slots chan struct{}

	mu      sync.Mutex
	closed  bool
	pool    pdfium.Pool  // nil until started
	uncache func() error // frees the compiled code; set with pool
	live    map[*session]struct{}
}

func newSandbox(cfg Config) *sandbox {
	return &sandbox{cfg: cfg, slots: make(chan struct{}, cfg.Workers), live: map[*session]struct{}{}}
}

// start compiles PDFium, or loads it compiled from the cache, unless that is done. An error leaves the sandbox stopped, so
// that the next call tries again.
func (s *sandbox) start(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
		return errSandboxClosed
	case s.pool != nil:
		return nil
	}
	// The pool outlives the call that happens to start it.
	ctx = experimental.WithCompilationWorkers(context.WithoutCancel(ctx), runtime.GOMAXPROCS(0))
	cache := s.openCache(ctx)
	pool, err := s.newPool(ctx, cache)
	if err != nil && s.cfg.CacheDir != "" { // what is cached may be damaged
		s.cfg.Log.WarnContext(ctx, "the PDF sandbox does not start from its cache; compiling it anew", "dir", s.cfg.CacheDir, "error", err)
		cache = wazero.NewCompilationCache()
		pool, err = s.newPool(ctx, cache)
	}
	if err != nil {
		return err
	}
	s.pool = pool
	s.uncache = func() error { return cache.Close(ctx) }
	return nil
}

// openCache opens the folder for compiled code, which only this user may write, since what is in it is run. Without a folder,
// or with one that cannot be used, nothing is kept.
func (s *sandbox) openCache(ctx context.Context) wazero.CompilationCache {
	if s.cfg.CacheDir == "" {
		return wazero.NewCompilationCache()
	}
	err := os.MkdirAll(s.cfg.CacheDir, 0o700)
	if err == nil {
		var cache wazero.CompilationCache
		if cache, err = wazero.NewCompilationCacheWithDir(s.cfg.CacheDir); err == nil {
			return cache
		}
	}
	s.cfg.Log.WarnContext(ctx, "the cache folder of the PDF sandbox cannot be used; compiling without it",
		"dir", s.cfg.CacheDir, "error", err)
	return wazero.NewCompilationCache()
}

func (s *sandbox) newPool(ctx context.Context, cache wazero.CompilationCache) (pdfium.Pool, error) {
	module, err := stoppable(pdfiumModule)
	if err != nil {
		return nil, fmt.Errorf("prepare PDFium: %w", err)
	}
	const pageSize = 64 << 10                                      // of WebAssembly memory
	memory := min(max(s.cfg.SandboxMemory/pageSize, 512), 1<<16-1) // PDFium does not start with less than some 20 MB
	pool, err := webassembly.Init(webassembly.Config{
		Context:  ctx,
		WASM:     module,
		MaxTotal: s.cfg.Workers,
		FSConfig: wazero.NewFSConfig(), // the default would mount the machine's root folder
		Stdout:   io.Discard,
		Stderr:   io.Discard,
		RuntimeConfig: wazero.NewRuntimeConfig().
			WithCoreFeatures(api.CoreFeaturesV2 | experimental.CoreFeaturesExceptionHandling).
			WithCompilationCache(cache).
			WithMemoryLimitPages(uint32(memory)),
	})
	if err != nil {
		return nil, fmt.Errorf("start PDFium: %w", err)
	}
	return pool, nil
}

// close ends all sessions, waits until nobody uses one, and frees the rest.
func (s *sandbox) close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	live := slices.Collect(maps.Keys(s.live))
	s.mu.Unlock()

	for _, x := range live {
		x.kill(errSandboxClosed)
	}
	for range cap(s.slots) {
		s.slots <- struct{}{}
	}
	if s.pool == nil {
		return nil
	}
	if err := errors.Join(s.pool.Close(), s.uncache()); err != nil {
		return fmt.Errorf("close the PDF sandbox: %w", err)
	}
	return nil
}

// acquire waits for a free worker.
func (s *sandbox) acquire(ctx context.Context) error {
	select {
	case s.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// tryAcquire takes a worker if one is free now.
func (s *sandbox) tryAcquire() bool {
	select {
	case s.slots <- struct{}{}:
		return true
	default:
		return false
	}
}

func (s *sandbox) release() { <-s.slots }

// session is one document open in one worker. Its owner is a single goroutine, which must finish it; any goroutine may kill
// it.
type session struct {
	sandbox *sandbox
	pdfium  pdfium.Pdfium
	off     api.MutableGlobal // stops the worker
	file    *detachable
	unwatch func() bool // ends the watch over the context
	doc     references.FPDF_DOCUMENT

	mu    sync.Mutex
	cause error // why it was killed; nil while it lives
}

// open opens a document in a fresh worker, for a caller that holds a slot. The session dies with its context. What PDFium
// thinks of the document is returned as it says it.
func (s *sandbox) open(ctx context.Context, src Source) (*session, error) {
	s.mu.Lock()
	pool, closed := s.pool, s.closed
	s.mu.Unlock()
	if closed {
		return nil, errSandboxClosed
	}
	worker, err := pool.GetInstanceWithContext(ctx)
	if err != nil {
		return nil, fmt.Errorf("start a PDF worker: %w", err)
	}
	off, err := stopSwitch(worker)
	if err != nil {
		return nil, errors.Join(err, worker.Close())
	}
	x := &session{sandbox: s, pdfium: worker, off: off, file: &detachable{}}
	x.file.content.Store(io.NewSectionReader(src.Content, 0, src.Size))
	s.mu.Lock()
	s.live[x] = struct{}{}
	closed = s.closed
	s.mu.Unlock()
	if closed {
		x.finish()
		return nil, errSandboxClosed
	}
	x.unwatch = context.AfterFunc(ctx, func() { x.kill(context.Cause(ctx)) })

	err = x.within(func() error {
		opened, openErr := x.pdfium.OpenDocument(&requests.OpenDocument{FileReader: x.file, FileReaderSize: src.Size})
		if openErr == nil {
			x.doc = opened.Document
		}
		return openErr // the caller matches it
	})
	if err != nil {
		x.finish()
		return nil, err
	}
	return x, nil
}

// within runs fn, which calls PDFium, and kills the session when that takes longer than the time limit. When the session
// was killed, by whomever, the error says why.
func (x *session) within(fn func() error) error {
	timer := time.AfterFunc(x.sandbox.cfg.PageTimeout, func() { x.kill(errTooSlow) })
	defer timer.Stop()
	err := fn()
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.cause != nil {
		return x.cause
	}
	return err
}

// kill ends the session at once, also in the middle of a call. The owner learns of it from within.
func (x *session) kill(cause error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.cause == nil {
		x.cause = cause
		x.off.Set(1)
	}
}

// finish ends the session and forgets everything of the document. Only the owner may call it, outside calls to PDFium.
func (x *session) finish() {
	if x.unwatch != nil {
		x.unwatch()
	}
	x.kill(errSandboxClosed)
	if err := x.pdfium.Kill(); err != nil { // throws the worker away, with its memory
		x.sandbox.cfg.Log.Warn("a PDF worker did not end cleanly", "error", err)
	}
	x.file.content.Store(nil)
	x.sandbox.mu.Lock()
	delete(x.sandbox.live, x)
	x.sandbox.mu.Unlock()
}

// detachable is a file that can be taken away from its reader: go-pdfium keeps the reader of a killed worker for ever.
type detachable struct {
	content atomic.Pointer[io.SectionReader]
}

// Read implements io.Reader.
func (d *detachable) Read(p []byte) (int, error) {
	if r := d.content.Load(); r != nil {
		return r.Read(p) // passed through as it is: io.EOF must stay io.EOF
	}
	return 0, io.ErrClosedPipe
}

// Seek implements io.Seeker.
func (d *detachable) Seek(offset int64, whence int) (int64, error) {
	if r := d.content.Load(); r != nil {
		return r.Seek(offset, whence) // passed through as it is
	}
	return 0, io.ErrClosedPipe
}
