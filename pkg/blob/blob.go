// Package blob keeps the files that users upload, behind an interface small enough for a folder and for an object store.
package blob

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/tarento/copilot/pkg/fault"
)

// Blob is an open file. It can be read from anywhere in it, which parsers need.
type Blob interface {
	io.Reader
	io.ReaderAt
	io.Closer
	// Size is the length in bytes.
	Size() int64
}

// Store keeps blobs by key. A key is slash-separated, relative and without "..". It is safe for concurrent use.
type Store interface {
	// Put stores what r yields and returns its length. A blob appears whole or not at all; an existing one is replaced.
	Put(ctx context.Context, key string, r io.Reader) (int64, error)
	// Open returns a blob, or fault.NotFound.
	Open(ctx context.Context, key string) (Blob, error)
	// Delete removes a blob. One that is not there is no error.
	Delete(ctx context.Context, key string) error
	// Walk calls visit for every blob, in no particular order, and ends with its first error. What a Put that broke off has left
	// behind is visited as well, under its key with PartSuffix. Blobs that come or go meanwhile may be missed.
	Walk(ctx context.Context, visit func(Info) error) error
	// Ready returns nil when the store can be reached.
	Ready(ctx context.Context) error
}

// Info tells about a blob without opening it.
type Info struct {
	Key    string
	Size   int64     // in bytes
	Stored time.Time // when it was last written
}

// PartSuffix ends the key of a blob that is being stored.
const PartSuffix = ".part"

var _ Store = (*Folder)(nil)

// Folder is a Store in a directory of the local file system. Keys cannot leave it, not even through symbolic links.
type Folder struct {
	root *os.Root
}

// OpenFolder opens a directory, creating it when it is missing.
func OpenFolder(dir string) (*Folder, error) {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return nil, fmt.Errorf("blob: create folder: %w", err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("blob: open folder: %w", err)
	}
	return &Folder{root}, nil
}

// Close releases the directory.
func (f *Folder) Close() error { return f.root.Close() }

// Ready implements Store.
func (f *Folder) Ready(context.Context) error {
	if _, err := f.root.Stat("."); err != nil {
		return fmt.Errorf("blob: reach folder: %w", err)
	}
	return nil
}

// Put implements Store. It writes to a temporary file, syncs it and renames it.
func (f *Folder) Put(ctx context.Context, key string, r io.Reader) (n int64, err error) {
	name := filepath.FromSlash(key)
	if err := f.root.MkdirAll(filepath.Dir(name), 0o750); err != nil {
		return 0, fmt.Errorf("blob: create folder of %s: %w", key, err)
	}
	part := name + PartSuffix
	file, err := f.root.OpenFile(part, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o640)
	if err != nil {
		return 0, fmt.Errorf("blob: create %s: %w", key, err)
	}
	defer func() {
		if err != nil {
			_ = file.Close()
			_ = f.root.Remove(part)
		}
	}()
	if n, err = io.Copy(file, readerCtx{ctx, r}); err != nil {
		return n, fmt.Errorf("blob: write %s: %w", key, err)
	}
	if err := file.Sync(); err != nil {
		return n, fmt.Errorf("blob: sync %s: %w", key, err)
	}
	if err := file.Close(); err != nil {
		return n, fmt.Errorf("blob: close %s: %w", key, err)
	}
	if err := f.root.Rename(part, name); err != nil {
		return n, fmt.Errorf("blob: rename %s: %w", key, err)
	}
	return n, nil
}

// Open implements Store.
func (f *Folder) Open(_ context.Context, key string) (Blob, error) {
	file, err := f.root.Open(filepath.FromSlash(key))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fault.Wrap(err, fault.NotFound, "blob.not_found", "The file is not there.")
	}
	if err != nil {
		return nil, fmt.Errorf("blob: open %s: %w", key, err)
	}
	info, err := file.Stat()
	if err != nil {
		_ = file.Close()
		return nil, fmt.Errorf("blob: inspect %s: %w", key, err)
	}
	return &folderBlob{file, info.Size()}, nil
}

// Delete implements Store.
func (f *Folder) Delete(_ context.Context, key string) error {
	if err := f.root.Remove(filepath.FromSlash(key)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("blob: delete %s: %w", key, err)
	}
	return nil
}

// Walk implements Store.
func (f *Folder) Walk(ctx context.Context, visit func(Info) error) error {
	return fs.WalkDir(f.root.FS(), ".", func(name string, entry fs.DirEntry, err error) error {
		if err == nil {
			err = ctx.Err()
		}
		if err == nil && entry.Type().IsRegular() {
			var info fs.FileInfo
			if info, err = entry.Info(); err == nil {
				return visit(Info{Key: name, Size: info.Size(), Stored: info.ModTime()})
			}
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("blob: walk %s: %w", name, err)
		}
		return nil
	})
}

type folderBlob struct {
	*os.File
	size int64
}

func (b *folderBlob) Size() int64 { return b.size }

// readerCtx ends a copy when the request it serves has ended.
type readerCtx struct {
	ctx context.Context //nolint:containedctx // it lives only as long as one call of io.Copy
	r   io.Reader
}

func (r readerCtx) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.r.Read(p)
}
