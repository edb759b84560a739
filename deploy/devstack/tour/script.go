package tour

import (
	"embed"
	"fmt"
	"io/fs"
)

//go:embed documents/mnesia-4.21.3.pdf documents/acme-travel-policy.docx documents/acme-oncall-runbook.md
var bundle embed.FS

// document is one of the bundled files.
type document struct {
	File  string // its name under documents/
	Title string // what it is uploaded as, and found again by
	Type  string // its media type
	Data  []byte
}

// question is asked in the tour; the rest says what a right answer rests on.
type question struct {
	Text string
	// Document is the title of the document that holds the answer.
	Document string
	// Page is the physical page, counted from 1; zero where the format has no pages.
	Page int
	// Heading is the heading above the passage; empty where Page says enough.
	Heading string
	// Phrase stands in the answer or in the passage it cites.
	Phrase string
}

// The titles of the bundled documents.
const (
	titleManual  = "Mnesia User's Guide and Reference Manual"
	titlePolicy  = "Acme Travel and Expense Policy"
	titleRunbook = "Acme On-Call Runbook: AI Assistant Platform"
)

// documents returns the bundled files in the order of their upload.
func documents() ([]document, error) {
	docs := []document{
		{File: "mnesia-4.21.3.pdf", Title: titleManual, Type: "application/pdf"},
		{
			File: "acme-travel-policy.docx", Title: titlePolicy,
			Type: "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
		},
		{File: "acme-oncall-runbook.md", Title: titleRunbook, Type: "text/markdown"},
	}
	for i := range docs {
		data, err := fs.ReadFile(bundle, "documents/"+docs[i].File)
		if err != nil {
			return nil, fmt.Errorf("read bundled document: %w", err)
		}
		docs[i].Data = data
	}
	return docs, nil
}

// questions returns the three questions, one for each document.
func questions() []question {
	return []question{
		{
			Text:     "After how many records written in the log, or how many minutes, does Mnesia dump the log file by default?",
			Document: titleManual, Page: 54, Phrase: "1000 records have been written in the log",
		},
		{
			Text:     "What is the nightly hotel limit in Zurich?",
			Document: titlePolicy, Heading: "4.1 Nightly hotel limits", Phrase: "CHF 310",
		},
		{
			Text:     "When is the secondary on-call engineer paged automatically?",
			Document: titleRunbook, Heading: "Escalation", Phrase: "within 7 minutes",
		},
	}
}
