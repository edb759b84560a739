package blob_test

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tarento/copilot/pkg/blob"
	"github.com/tarento/copilot/pkg/fault"
)

func open(t *testing.T) (folder *blob.Folder, dir string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "blobs")
	folder, err := blob.OpenFolder(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = folder.Close() })
	return folder, dir
}

func TestABlobIsReadAsItWasWritten(t *testing.T) {
	t.Parallel()
	f, _ := open(t)
	for _, content := range []string{"first", "", "replaced"} {
		n, err := f.Put(t.Context(), "tenant/doc/file.txt", strings.NewReader(content))
		if err != nil || n != int64(len(content)) {
			t.Fatalf("put %q: %d, %v", content, n, err)
		}
		b, err := f.Open(t.Context(), "tenant/doc/file.txt")
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(b)
		if err != nil || string(got) != content || b.Size() != int64(len(content)) {
			t.Errorf("read %q of size %d, %v", got, b.Size(), err)
		}
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestAnUploadThatBreaksOffLeavesNothing(t *testing.T) {
	t.Parallel()
	f, dir := open(t)
	broken := io.MultiReader(strings.NewReader("half"), brokenReader{})
	if _, err := f.Put(t.Context(), "a/b", broken); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("got %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := f.Put(ctx, "a/b", strings.NewReader("x")); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if _, err := f.Open(t.Context(), "a/b"); !fault.Is(err, fault.NotFound) {
		t.Errorf("the blob exists: %v", err)
	}
	if left, err := os.ReadDir(filepath.Join(dir, "a")); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

func TestKeysCannotLeaveTheFolder(t *testing.T) {
	t.Parallel()
	f, dir := open(t)
	outside := filepath.Join(filepath.Dir(dir), "outside")
	if err := os.WriteFile(outside, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Dir(dir), filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"../outside", "/etc/passwd", "link/outside", "a/../../outside"} {
		if b, err := f.Open(t.Context(), key); err == nil {
			_ = b.Close()
			t.Errorf("opened %s", key)
		}
		if _, err := f.Put(t.Context(), key, strings.NewReader("x")); err == nil {
			t.Errorf("wrote %s", key)
		}
		_ = f.Delete(t.Context(), key)
	}
	if got, err := os.ReadFile(outside); err != nil || string(got) != "secret" {
		t.Errorf("the file outside holds %q, %v", got, err)
	}
}

func TestDeletingTwiceIsNoError(t *testing.T) {
	t.Parallel()
	f, _ := open(t)
	if _, err := f.Put(t.Context(), "k", strings.NewReader("x")); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := f.Delete(t.Context(), "k"); err != nil {
			t.Error(err)
		}
	}
	if err := f.Ready(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestAWalkVisitsEveryBlobAndWhatUploadsHaveLeft(t *testing.T) {
	t.Parallel()
	f, dir := open(t)
	for _, key := range []string{"a/documents/1", "a/documents/2", "b"} {
		if _, err := f.Put(t.Context(), key, strings.NewReader("text")); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "a", "documents", "3"+blob.PartSuffix), []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(os.TempDir(), filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	var keys []string
	err := f.Walk(t.Context(), func(b blob.Info) error {
		if b.Size != 4 || time.Since(b.Stored) > time.Minute {
			t.Errorf("visited %+v", b)
		}
		keys = append(keys, b.Key)
		return nil
	})
	slices.Sort(keys)
	if want := []string{"a/documents/1", "a/documents/2", "a/documents/3.part", "b"}; err != nil || !slices.Equal(keys, want) {
		t.Errorf("visited %v, %v; want %v", keys, err, want)
	}
	stop := errors.New("enough")
	if err := f.Walk(t.Context(), func(blob.Info) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("got %v", err)
	}
}
