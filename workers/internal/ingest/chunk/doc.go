// Package chunk cuts a parsed document into the pieces that are embedded, searched and cited.
//
// A chunk is a stretch of the document's text, cut where the document itself has joints: between sections first, then
// between paragraphs, list items and table rows, then between sentences, and inside a sentence only when it is longer than
// a chunk may be. A heading stays with what follows it, and small neighbors share a chunk. Nothing is lost: every
// character of every block that is not white space is in some chunk.
//
// The same document and configuration always give the same chunks.
package chunk
