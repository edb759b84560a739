package chaos

import (
	"bufio"
	"errors"
	"net"
	"os"
	"testing"
	"time"
)

// echo answers each line with itself, over a link.
func echo(t *testing.T) *link {
	t.Helper()
	var config net.ListenConfig
	listener, err := config.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan struct{})
	go func() {
		defer close(served)
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = conn.Close() }()
				lines := bufio.NewScanner(conn)
				for lines.Scan() {
					if _, err := conn.Write(append(lines.Bytes(), '\n')); err != nil {
						return
					}
				}
			}()
		}
	}()
	l, err := openLink(t.Context(), listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		l.close()
		_ = listener.Close()
		<-served
	})
	return l
}

// caller is a connection over a link.
type caller struct {
	net.Conn

	lines *bufio.Reader
}

func call(t *testing.T, l *link) caller {
	t.Helper()
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", l.address())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return caller{conn, bufio.NewReader(conn)}
}

// asks sends a line and returns what came back within the time.
func (c caller) asks(line string, within time.Duration) (string, error) {
	if line != "" {
		if _, err := c.Write([]byte(line + "\n")); err != nil {
			return "", err
		}
	}
	if err := c.SetReadDeadline(time.Now().Add(within)); err != nil {
		return "", err
	}
	return c.lines.ReadString('\n')
}

// soon is long enough for what happens at once, short the time after which it will not.
const soon, short = time.Minute, 50 * time.Millisecond

func TestALinkCarriesWhatIsSaidBothWays(t *testing.T) {
	t.Parallel()
	c := call(t, echo(t))
	for _, line := range []string{"one", "two"} {
		if got, err := c.asks(line, soon); got != line+"\n" || err != nil {
			t.Errorf("%q came back as %q, %v", line, got, err)
		}
	}
}

func TestASeveredLinkBreaksItsConnectionsAndTakesNoneUntilItIsHealed(t *testing.T) {
	t.Parallel()
	l := echo(t)
	before := call(t, l)
	if _, err := before.asks("hello", soon); err != nil {
		t.Fatal(err)
	}
	l.sever()
	if got, err := before.asks("still there?", soon); err == nil {
		t.Errorf("a broken connection answered %q", got)
	}
	if conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", l.address()); err == nil {
		if got, err := (caller{conn, bufio.NewReader(conn)}).asks("anybody?", soon); err == nil {
			t.Errorf("a severed link answered %q", got)
		}
		_ = conn.Close()
	}
	l.heal()
	after := call(t, l)
	if got, err := after.asks("hello again", soon); got != "hello again\n" || err != nil {
		t.Errorf("after the healing it answers %q, %v", got, err)
	}
}

func TestAStalledLinkHoldsBackWhatArrivesWhenItIsHealed(t *testing.T) {
	t.Parallel()
	l := echo(t)
	c := call(t, l)
	if _, err := c.asks("hello", soon); err != nil {
		t.Fatal(err)
	}
	l.stall()
	if got, err := c.asks("late", short); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a stalled link answers %q, %v", got, err)
	}
	l.heal()
	if got, err := c.asks("", soon); got != "late\n" || err != nil {
		t.Errorf("what was held back arrived as %q, %v", got, err)
	}
}

func TestASlowLinkTakesItsTime(t *testing.T) {
	t.Parallel()
	l := echo(t)
	c := call(t, l)
	l.slow(short)
	began := time.Now()
	if _, err := c.asks("hello", soon); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took < 2*short { // there and back
		t.Errorf("it took %s, want at least %s", took, 2*short)
	}
}
