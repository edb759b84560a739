// Package parse turns the bytes of an uploaded document into structured text.
//
// It reads PDF, DOCX, HTML, Markdown and plain text. Whatever the format, the result is a Document: one UTF-8 text and the
// blocks it is made of (headings, paragraphs, list items, tables, code), each with its page where the format has pages, the
// headings above it, and its place in the text. Chunking, citation and search need nothing else.
//
// # Trust
//
// The bytes come from strangers. Format is decided by the content and only then compared with the name and the declared
// media type. PDFs are read by PDFium inside a WebAssembly sandbox that has no files, no network, a memory cap and a time
// limit per page; every document gets a sandbox of its own, so nothing of one tenant's document is left for the next. Zip
// and XML parts are read under caps on entries, unpacked bytes, ratio and depth. Whatever still goes wrong inside a parser,
// a panic included, ends as an error about that document and disturbs no other.
//
// # Errors
//
// An error about the document is a *fault.Error that is not retryable, with one of these codes: document.empty,
// document.unsupported, document.not_pdf, document.not_docx, document.encrypted, document.unreadable, document.encoding,
// document.binary, document.no_text, document.too_large, document.too_many_pages, document.bomb. Its message is meant for
// the person who uploaded the document. Any other error (a cancelled context, storage that cannot be read, a sandbox that
// does not start) says nothing about the document, and the same document may be tried again.
package parse
