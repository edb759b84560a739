package parse

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"

	pdfiumerrors "github.com/klippa-app/go-pdfium/errors"
	"github.com/klippa-app/go-pdfium/references"
	"github.com/klippa-app/go-pdfium/requests"
	"github.com/klippa-app/go-pdfium/responses"
	"golang.org/x/sync/errgroup"

	"github.com/tarento/copilot/pkg/fault"
)

const (
	// maxPDFBytes is the largest PDF; PDFium inside 32-bit WebAssembly addresses a file with a signed 32-bit offset.
	maxPDFBytes = 1<<31 - 1
	// pagesPerWorker is how many pages must be there for a further worker to be worth its start.
	pagesPerWorker = 16
	// maxCrashes is how often one document may take its worker down before it is given up.
	maxCrashes = 3
	// maxBookmarks and maxBookmarkDepth bound the outline, which a file may make endless.
	maxBookmarks     = 20_000
	maxBookmarkDepth = 32
)

// bookmark is an entry of a PDF's outline.
type bookmark struct {
	title string
	level int // 1 is the topmost
	page  int // index of the page, from 0
}

// parse reads a PDF: its pages on as many workers as are free, then the layout of them all together.
func (s *sandbox) parse(ctx context.Context, src Source, progress func(done, total int)) (*Document, error) {
	if src.Size > maxPDFBytes {
		return nil, fault.New(fault.TooLarge, "document.too_large",
			"The PDF is %s; at most %s are read. Split it into smaller files and upload those.",
			bytesText(src.Size), bytesText(maxPDFBytes))
	}
	if err := s.start(ctx); err != nil {
		return nil, err
	}
	if err := s.acquire(ctx); err != nil {
		return nil, err
	}
	group, ctx := errgroup.WithContext(ctx)
	first, err := s.open(ctx, src)
	if err != nil {
		s.release()
		return nil, pdfFault(err)
	}
	r := &pdfReader{sandbox: s, src: src, progress: progress}
	if err := r.count(first); err != nil {
		first.finish()
		s.release()
		return nil, err
	}
	r.progress(0, len(r.pages))
	group.Go(guarded(func() error {
		defer s.release()
		if err := r.outline(first); err != nil {
			first.finish()
			return pdfFault(err)
		}
		return r.readPages(ctx, first)
	}))
	for extra := len(r.pages) / pagesPerWorker; extra > 0 && s.tryAcquire(); extra-- {
		group.Go(guarded(func() error {
			defer s.release()
			x, err := s.open(ctx, src)
			if err != nil {
				return pdfFault(err)
			}
			return r.readPages(ctx, x)
		}))
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	return r.document()
}

// guarded makes a panic in a goroutine an error about the document, as Parse does on its own goroutine.
func guarded(fn func() error) func() error {
	return func() (err error) {
		defer func() {
			if v := recover(); v != nil {
				err = recovered(v)
			}
		}()
		return fn()
	}
}

// pdfReader gathers one document from several workers.
type pdfReader struct {
	sandbox  *sandbox
	src      Source
	title    string
	marks    []bookmark
	pages    []pdfPage // each written by the one worker that took it
	next     atomic.Int64
	textSize atomic.Int64
	crashes  atomic.Int64

	mu       sync.Mutex // around progress
	done     int
	progress func(done, total int)
}

// count finds the number of pages.
func (r *pdfReader) count(x *session) error {
	count := 0
	err := x.within(func() error {
		res, err := x.pdfium.FPDF_GetPageCount(&requests.FPDF_GetPageCount{Document: x.doc})
		if err == nil {
			count = res.PageCount
		}
		return err // pdfFault wraps it
	})
	switch {
	case err != nil:
		return pdfFault(err)
	case count <= 0:
		return pdfFault(errors.New("no pages"))
	case count > r.sandbox.cfg.MaxPages:
		return fault.New(fault.TooLarge, "document.too_many_pages",
			"The PDF has %d pages; at most %d are read. Split it into smaller files and upload those.", count, r.sandbox.cfg.MaxPages)
	}
	r.pages = make([]pdfPage, count)
	return nil
}

// outline reads the document's title and bookmarks. A document may be without either; only a dead worker is an error.
func (r *pdfReader) outline(x *session) error {
	return x.within(func() error {
		if meta, err := x.pdfium.FPDF_GetMetaText(&requests.FPDF_GetMetaText{Document: x.doc, Tag: "Title"}); err == nil {
			r.title = meaningfulTitle(meta.Value)
		}
		budget := maxBookmarks
		if !x.finiteOutline(nil, 1, &budget) {
			return nil
		}
		if res, err := x.pdfium.GetBookmarks(&requests.GetBookmarks{Document: x.doc}); err == nil {
			r.marks = flatten(nil, res.Bookmarks, 1)
		}
		return nil
	})
}

// finiteOutline walks the outline and reports whether it ends within the budget. Its links may form a circle, in which
// PDFium and its bindings would run for ever.
func (x *session) finiteOutline(parent *references.FPDF_BOOKMARK, depth int, budget *int) bool {
	if depth > maxBookmarkDepth {
		return false
	}
	first, err := x.pdfium.FPDFBookmark_GetFirstChild(&requests.FPDFBookmark_GetFirstChild{Document: x.doc, Bookmark: parent})
	if err != nil {
		return false
	}
	for mark := first.Bookmark; mark != nil; {
		if *budget--; *budget < 0 || !x.finiteOutline(mark, depth+1, budget) {
			return false
		}
		next, err := x.pdfium.FPDFBookmark_GetNextSibling(&requests.FPDFBookmark_GetNextSibling{Document: x.doc, Bookmark: *mark})
		if err != nil {
			return false
		}
		mark = next.Bookmark
	}
	return true
}

// flatten lists the bookmarks that lead to a page, in order.
func flatten(marks []bookmark, tree []responses.GetBookmarksBookmark, level int) []bookmark {
	for _, b := range tree {
		title := oneLine(clean(b.Title))
		if title != "" && b.DestInfo != nil && b.DestInfo.PageIndex >= 0 {
			marks = append(marks, bookmark{title: title, level: level, page: b.DestInfo.PageIndex})
		}
		marks = flatten(marks, b.Children, level+1)
	}
	return marks
}

// meaningfulTitle drops titles that programs fill in by themselves.
func meaningfulTitle(title string) string {
	title = oneLine(clean(title))
	lower := strings.ToLower(title)
	switch {
	case strings.HasPrefix(lower, "microsoft word - "), strings.HasPrefix(lower, "untitled"),
		strings.HasPrefix(lower, "powerpoint presentation"):
		return ""
	}
	for _, ext := range []string{".doc", ".docx", ".pdf", ".tex", ".dvi", ".indd", ".qxd", ".fm", ".odt"} {
		if strings.HasSuffix(lower, ext) {
			return ""
		}
	}
	return title
}

// readPages takes the next page until none is left, and finishes the session. A page that PDFium refuses is noted as
// unreadable; when one brings the worker down, a new worker goes on with the next.
func (r *pdfReader) readPages(ctx context.Context, x *session) error {
	defer func() {
		if x != nil {
			x.finish()
		}
	}()
	for {
		i := int(r.next.Add(1)) - 1
		if i >= len(r.pages) {
			return nil
		}
		if err := context.Cause(ctx); err != nil {
			return err
		}
		page, err := x.page(i)
		switch {
		case err == nil:
		case errors.Is(err, errTooSlow):
			return fault.Wrap(err, fault.Invalid, "document.unreadable",
				"Page %d of this PDF takes too long to read. Print the document to a new PDF and upload that.", i+1)
		case errors.Is(err, errSandboxClosed) || context.Cause(ctx) != nil:
			return err
		case errors.Is(err, pdfiumerrors.ErrPage):
			page = pdfPage{unreadable: true}
		default:
			page = pdfPage{unreadable: true}
			if r.crashes.Add(1) > maxCrashes {
				return pdfFault(err)
			}
			x.finish()
			if x, err = r.sandbox.open(ctx, r.src); err != nil {
				return pdfFault(err)
			}
		}
		r.pages[i] = page
		if r.textSize.Add(page.size()) > int64(r.sandbox.cfg.MaxText) {
			return fault.New(fault.TooLarge, "document.too_large",
				"The PDF holds more than %s of text. Split it into smaller files and upload those.",
				bytesText(int64(r.sandbox.cfg.MaxText)))
		}
		r.report()
	}
}

// report says that one more page is done.
func (r *pdfReader) report() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.done++
	r.progress(r.done, len(r.pages))
}

// document lays out what the workers read.
func (r *pdfReader) document() (*Document, error) {
	b := NewBuilder(PDF, r.sandbox.cfg.MaxText)
	b.SetTitle(r.title)
	b.SetPages(len(r.pages))
	unreadable := 0
	for i := range r.pages {
		if r.pages[i].unreadable {
			unreadable++
			b.doc.Unreadable = append(b.doc.Unreadable, i+1)
		}
	}
	if unreadable == len(r.pages) {
		return nil, pdfFault(errors.New("no page can be read"))
	}
	layOut(b, r.pages, r.marks)
	return b.Document(), b.Err()
}

// pdfFault turns what went wrong while reading a PDF into an error for its owner, unless the PDF is not to blame.
func pdfFault(err error) error {
	var f *fault.Error
	switch {
	case errors.As(err, &f), errors.Is(err, errSandboxClosed), errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	case errors.Is(err, pdfiumerrors.ErrPassword):
		return encryptedFault("The PDF is protected by a password. Save it without the password and upload it again.")
	case errors.Is(err, pdfiumerrors.ErrSecurity):
		return encryptedFault("The PDF is encrypted in a way that is not supported. Save it without protection and upload it again.")
	default:
		return fault.Wrap(err, fault.Invalid, "document.unreadable",
			"This PDF cannot be read: the file is damaged or incomplete. Open it in a PDF viewer, print it to a new PDF and upload that.")
	}
}
