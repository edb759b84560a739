// Package ingest turns an uploaded file into chunks: it reads the blob, parses it into structured text (package parse), cuts it
// at its structure (package chunk), and stores the chunks together with the jobs that embed them. The job then waits for those
// without holding a slot; the last of them completes it and its document.
//
// It also ends what it has begun: document.delete jobs remove the file and the text, and a Janitor the files that no document has.
package ingest
