package httpapi_test

import (
	"bytes"
	"io/fs"
	"net"
	"net/url"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/tarento/copilot/pkg/storetest"
)

// cutAtCommit passes a database on, but breaks off the connection that wrote the first job between its commit and the answer to
// it. It returns the address to connect to.
func cutAtCommit(t *testing.T, address string) string {
	t.Helper()
	far, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	to, ctx := far.Host, t.Context()
	var pumps sync.WaitGroup
	var once atomic.Bool
	pumps.Go(func() {
		for {
			near, err := l.Accept()
			if err != nil {
				return
			}
			server, err := (&net.Dialer{}).DialContext(ctx, "tcp", to)
			if err != nil {
				_ = near.Close()
				return
			}
			var wroteJob atomic.Bool
			pumps.Go(func() {
				pump(server, near, func(data []byte) bool {
					if bytes.Contains(data, []byte(`INSERT INTO "jobs"`)) {
						wroteJob.Store(true)
					}
					return true
				})
			})
			pumps.Go(func() {
				pump(near, server, func(data []byte) bool {
					committed := wroteJob.Load() && bytes.Contains(data, []byte("COMMIT\x00"))
					return !committed || !once.CompareAndSwap(false, true)
				})
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		pumps.Wait()
	})
	far.Host = l.Addr().String()
	return far.String()
}

// pump copies until one side closes or pass refuses, and then closes both.
func pump(to, from net.Conn, pass func([]byte) bool) {
	defer func() {
		_ = to.Close()
		_ = from.Close()
	}()
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		if n > 0 && pass(buf[:n]) {
			if _, err := to.Write(buf[:n]); err != nil {
				return
			}
		} else if n > 0 {
			return
		}
		if err != nil {
			return
		}
	}
}

func TestAnUploadWhoseCommitWasNotConfirmedKeepsItsFile(t *testing.T) {
	t.Parallel()
	db := storetest.NewSeeded(t)
	g := start(t, "DATABASE_URL", cutAtCommit(t, db.AppURL))
	g.upload(admin, "policy.md", "text/markdown", "# Policy", nil).wants(503)
	g.call(admin, "GET", "/v1/documents", nil).wants(200).has(`"total":1`)
	files := 0
	err := filepath.WalkDir(g.blobs, func(_ string, entry fs.DirEntry, err error) error {
		if err == nil && entry.Type().IsRegular() {
			files++
		}
		return err
	})
	if err != nil || files != 1 {
		t.Errorf("the document has %d files (%v)", files, err)
	}
}
