package parse

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"
)

func TestScratch(t *testing.T) {
	path := os.Getenv("DUMP")
	if path == "" {
		return
	}
	cfg := Config{CacheDir: "/tmp/pbench/cache2"}
	p := New(cfg)
	defer p.Close()
	t0 := time.Now()
	if err := p.Warm(context.Background()); err != nil {
		t.Fatal(err)
	}
	fmt.Fprintln(os.Stderr, "warm", time.Since(t0))
	f, _ := os.Open(path)
	st, _ := f.Stat()
	for range 2 {
		t0 = time.Now()
		d, err := p.Parse(context.Background(), Source{Name: path, Content: f, Size: st.Size()}, nil)
		if err != nil {
			t.Fatal(err)
		}
		el := time.Since(t0)
		fmt.Fprintln(os.Stderr, "pages", d.Pages, "blocks", len(d.Blocks), "text", len(d.Text()), el, float64(d.Pages)/el.Seconds(), "p/s", d.Title, d.Unreadable)
		if os.Getenv("OUT") != "" {
			o, _ := os.Create(os.Getenv("OUT"))
			for _, b := range d.Blocks {
				fmt.Fprintf(o, "p%d %s/%d %v\n%s\n\n", b.Page, b.Kind, b.Level, b.Path, b.Text)
			}
			o.Close()
		}
	}
}
