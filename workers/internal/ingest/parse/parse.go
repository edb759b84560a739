package parse

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"runtime/debug"
	"time"

	"github.com/tarento/copilot/pkg/fault"
)

// Config says how much a Parser may use. The zero value is ready for production.
type Config struct {
	// CacheDir is a private folder for the compiled PDF sandbox, made if it is missing. With it a process starts reading
	// PDFs after 0.1 s instead of some seconds. Empty means that nothing is kept.
	CacheDir string
	// Workers is how many PDF pages are read at the same moment, over all documents; 0 means 2.
	Workers int
	// SandboxMemory is the most memory, in bytes, that one PDF worker may use; 0 means 512 MB.
	SandboxMemory int64
	// PageTimeout is the longest one page of a PDF may take; 0 means 30 s.
	PageTimeout time.Duration
	// MaxPages is the most pages a PDF may have; 0 means 20,000.
	MaxPages int
	// MaxBytes is the largest HTML, Markdown or plain text file, in bytes; 0 means 64 MB. PDF and DOCX files are not held in
	// memory and may be larger.
	MaxBytes int64
	// MaxText is the most text, in bytes, that is taken out of one document; 0 means 64 MB.
	MaxText int
	// Log gets what an operator should know, such as an unusable CacheDir; nil means slog.Default().
	Log *slog.Logger
}

// withDefaults fills in what was left zero.
func (c Config) withDefaults() Config {
	if c.Workers <= 0 {
		c.Workers = 2
	}
	if c.SandboxMemory <= 0 {
		c.SandboxMemory = 512 << 20
	}
	if c.PageTimeout <= 0 {
		c.PageTimeout = 30 * time.Second
	}
	if c.MaxPages <= 0 {
		c.MaxPages = 20_000
	}
	if c.MaxBytes <= 0 {
		c.MaxBytes = 64 << 20
	}
	if c.MaxText <= 0 {
		c.MaxText = 64 << 20
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	return c
}

// Source is a file to parse.
type Source struct {
	// Name is the file's name; its extension tells Markdown and HTML from other text. It may be empty.
	Name string
	// MediaType is what the uploader declared, parameters (charset) included. It may be empty.
	MediaType string
	// Content is read at random and, for PDFs, by several goroutines at once.
	Content io.ReaderAt
	// Size is the length of Content in bytes.
	Size int64
}

// Parser reads documents. It is safe for concurrent use; make one for the whole process and Close it at the end.
type Parser struct {
	cfg Config
	pdf *sandbox
}

// New returns a parser. It starts nothing: the PDF sandbox starts with the first PDF, or with Warm.
func New(cfg Config) *Parser {
	cfg = cfg.withDefaults()
	return &Parser{cfg: cfg, pdf: newSandbox(cfg)}
}

// Warm starts the PDF sandbox now, so that the first PDF does not wait for it.
func (p *Parser) Warm(ctx context.Context) error {
	if err := p.pdf.start(ctx); err != nil {
		return fmt.Errorf("start the PDF sandbox: %w", err)
	}
	return nil
}

// Close ends the PDF sandbox and interrupts what it is doing. Parse fails for PDFs afterwards. Closing twice is harmless.
func (p *Parser) Close() error { return p.pdf.close() }

// Parse reads a document. Its errors are described in the package comment.
//
// progress, unless nil, is told how many pages of how many are done, at the latest when all are; formats without pages
// count as one page. Calls never overlap and done never falls.
func (p *Parser) Parse(ctx context.Context, src Source, progress func(done, total int)) (doc *Document, err error) {
	if progress == nil {
		progress = func(int, int) {}
	}
	content := &storage{content: src.Content}
	src.Content = content
	defer func() {
		if v := recover(); v != nil {
			err = recovered(v)
		}
		switch {
		case err == nil:
		case ctx.Err() != nil:
			err = fmt.Errorf("parse %q: %w", src.Name, context.Cause(ctx))
		case content.failure() != nil: // whatever the parser made of it, the document is not to blame
			err = fmt.Errorf("read %q: %w", src.Name, content.failure())
		}
		if err != nil {
			doc = nil
		}
	}()

	format, err := detect(src)
	if err != nil {
		return nil, err
	}
	progress(0, 1)
	switch format {
	case PDF:
		doc, err = p.pdf.parse(ctx, src, progress)
	case DOCX:
		doc, err = parseDOCX(ctx, src, p.cfg.MaxText)
	case HTML:
		doc, err = parseHTML(ctx, src, p.cfg)
	case Markdown:
		doc, err = parseMarkdown(src, p.cfg)
	default:
		doc, err = parseText(src, p.cfg)
	}
	if err != nil {
		return nil, err
	}
	if len(doc.Blocks) == 0 {
		return nil, noText(format)
	}
	if format != PDF {
		progress(1, 1)
	}
	return doc, nil
}

// recovered turns a panic inside a parser into an error about the document.
func recovered(v any) error {
	return fault.Wrap(fmt.Errorf("panic: %v\n%s", v, debug.Stack()), fault.Invalid, "document.unreadable",
		"This document cannot be read: it is damaged or built in an unusual way. "+
			"Save it again from the program that made it, and upload that.")
}

func noText(format Format) error {
	if format == PDF {
		return fault.New(fault.Invalid, "document.no_text",
			"This PDF holds no text, only images: it was probably scanned. Run text recognition (OCR) on it and upload the result.")
	}
	return fault.New(fault.Invalid, "document.no_text", "This document holds no text. Check that it is the right file and upload it again.")
}
