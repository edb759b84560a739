package store_test

import (
	"net"
	"net/url"
	"sync"
	"testing"
)

// line leads to Postgres, and can be frozen: then nothing comes through any more, and neither end hears of it.
type line struct {
	url    string
	frozen chan struct{}
}

func newLine(t *testing.T, database string) *line {
	t.Helper()
	target, err := url.Parse(database)
	if err != nil {
		t.Fatal("the address of the database cannot be read")
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	host := target.Host
	target.Host = listener.Addr().String()
	l := &line{url: target.String(), frozen: make(chan struct{})}
	done := make(chan struct{})
	var relays sync.WaitGroup
	relays.Go(func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("tcp", host)
			if err != nil {
				client.Close()
				continue
			}
			for _, way := range [][2]net.Conn{{client, server}, {server, client}} {
				relays.Go(func() { l.relay(way[0], way[1]) })
			}
			relays.Go(func() {
				<-done
				client.Close()
				server.Close()
			})
		}
	})
	t.Cleanup(func() {
		listener.Close()
		close(done)
		relays.Wait()
	})
	return l
}

func (l *line) freeze() { close(l.frozen) }

// relay passes on what comes, until the line is frozen or its sender has closed.
func (l *line) relay(from, to net.Conn) {
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		select {
		case <-l.frozen:
			return
		default:
		}
		if n > 0 {
			if _, err := to.Write(buffer[:n]); err != nil {
				return
			}
		}
		if err != nil {
			to.Close()
			return
		}
	}
}
