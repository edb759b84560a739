package client

import (
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/textproto"
)

// File is a file to upload.
type File struct {
	// Name is what it is called, with its extension.
	Name string
	// ContentType is its media type; when it is empty the server finds out.
	ContentType string
	// Content is read once, from where it stands. An upload can be repeated only if it is an io.Seeker, too.
	Content io.Reader
}

// form is a multipart body.
type form struct {
	fields []field
	files  []part

	starts  []int64       // where the files stood before the first attempt
	written chan struct{} // closed when the last attempt has stopped reading the files; nil before the first
}

type field struct{ name, value string }

type part struct {
	name string
	File
}

// set adds a field, unless it has its zero value. A list becomes several fields.
func (f *form) set(name string, value any) {
	if list, ok := value.([]string); ok {
		for _, v := range list {
			f.fields = append(f.fields, field{name, v})
		}
		return
	}
	if text, given := plain(value); given {
		f.fields = append(f.fields, field{name, text})
	}
}

func (f *form) file(name string, file File) {
	f.files = append(f.files, part{name, file})
	start := int64(-1)
	if s, ok := file.Content.(io.Seeker); ok {
		if at, err := s.Seek(0, io.SeekCurrent); err == nil {
			start = at
		}
	}
	f.starts = append(f.starts, start)
}

// again makes the form ready for another attempt, and reports whether it could. No form is always ready.
func (f *form) again() bool {
	if f == nil || f.written == nil {
		return true
	}
	for i, file := range f.files {
		s, ok := file.Content.(io.Seeker)
		if !ok || f.starts[i] < 0 {
			return false
		}
		<-f.written
		if _, err := s.Seek(f.starts[i], io.SeekStart); err != nil {
			return false
		}
	}
	return true
}

// open writes the form while it is read, so that no file is held in memory.
func (f *form) open() (body io.ReadCloser, contentType string) {
	out, in := io.Pipe()
	w := multipart.NewWriter(in)
	written := make(chan struct{})
	f.written = written
	go func() {
		defer close(written)
		in.CloseWithError(errors.Join(f.write(w), w.Close()))
	}()
	return out, w.FormDataContentType()
}

func (f *form) write(w *multipart.Writer) error {
	for _, v := range f.fields {
		if err := w.WriteField(v.name, v.value); err != nil {
			return err
		}
	}
	for _, file := range f.files {
		contentType := file.ContentType
		if contentType == "" {
			contentType = "application/octet-stream"
		}
		to, err := w.CreatePart(textproto.MIMEHeader{
			"Content-Disposition": {mime.FormatMediaType("form-data", map[string]string{"name": file.name, "filename": file.Name})},
			"Content-Type":        {contentType},
		})
		if err != nil {
			return err
		}
		if file.Content == nil {
			continue
		}
		if _, err := io.Copy(to, file.Content); err != nil {
			return fmt.Errorf("read %s: %w", file.Name, err)
		}
	}
	return nil
}
