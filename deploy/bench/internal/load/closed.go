package load

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"
)

// Request is what every connection of a closed load sends, again and again.
type Request struct {
	// Address is the server's host and port.
	Address string
	// Method is the HTTP method; empty means POST.
	Method string
	// Path is what is asked for, with its query.
	Path string
	// Token is the bearer token; empty sends none.
	Token string
	// Body is the JSON that is sent; nil sends none.
	Body []byte
	// Want is the status of every answer. Another one ends the load.
	Want int
	// Bear lists statuses that end nothing all the same. Their answers are counted apart.
	Bear []int
}

// Result is what one load came to.
type Result struct {
	// Latencies has one entry for each answer with the wanted status, in no order.
	Latencies []time.Duration
	// Refused is how many answers had one of the statuses to bear.
	Refused int
	// Took is how long it took to get them.
	Took time.Duration
}

// PerSecond is the rate of wanted answers; zero for the zero Result.
func (r Result) PerSecond() float64 {
	if r.Took <= 0 {
		return 0
	}
	return float64(len(r.Latencies)) / r.Took.Seconds()
}

// Closed sends the request over so many keep-alive connections for that long, on each the next as soon as the last is answered. A
// request under way when the time is over is waited for and counted, so that there is at least one on each. The first connection
// that fails, gets an answer that is not allowed or sees ctx end stops all of them, and its error is returned.
func Closed(ctx context.Context, r Request, connections int, lasting time.Duration) (Result, error) {
	result, err := drive(ctx, r, connections, lasting)
	if err != nil {
		return Result{}, err
	}
	return result, nil
}

// Flood is Closed without an end of its own: it goes on until ctx ends, which is no error. Requests that are under way then are
// given up and do not count.
func Flood(ctx context.Context, r Request, connections int) (Result, error) {
	const never = 365 * 24 * time.Hour
	result, err := drive(ctx, r, connections, never)
	if ctx.Err() != nil && errors.Is(err, context.Cause(ctx)) {
		err = nil
	}
	return result, err
}

// drive sends the request for that long. What was answered until then is also returned with an error.
func drive(ctx context.Context, r Request, connections int, lasting time.Duration) (Result, error) {
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	wire, err := r.wire(ctx)
	if err != nil {
		return Result{}, err
	}
	lanes, err := open(ctx, r, connections)
	defer hangUp(lanes)
	if err != nil {
		return Result{}, err
	}
	release := context.AfterFunc(ctx, func() { hangUp(lanes) })
	defer release()
	for _, l := range lanes {
		l.wire = wire
	}
	var wg sync.WaitGroup
	start := time.Now()
	for _, l := range lanes {
		wg.Go(func() {
			if err := l.drive(start.Add(lasting)); err != nil {
				fail(fmt.Errorf("%s %s: %w", r.method(), r.Path, err))
			}
		})
	}
	wg.Wait()
	result := Result{Took: time.Since(start)}
	for _, l := range lanes {
		result.Latencies = append(result.Latencies, l.latencies...)
		result.Refused += l.refused
	}
	return result, context.Cause(ctx)
}

// open connects to the server. It returns the connections that were made also when it fails.
func open(ctx context.Context, r Request, connections int) ([]*lane, error) {
	lanes := make([]*lane, 0, connections)
	for i := range connections {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", r.Address)
		if err != nil {
			return lanes, fmt.Errorf("open connection %d of %d: %w", i+1, connections, err)
		}
		lanes = append(lanes, &lane{conn: conn, answers: bufio.NewReader(conn), want: r.Want, bear: r.Bear})
	}
	return lanes, nil
}

// hangUp closes the connections; closing one twice does no harm.
func hangUp(lanes []*lane) {
	for _, l := range lanes {
		_ = l.conn.Close()
	}
}

func (r Request) method() string { return cmp.Or(r.Method, http.MethodPost) }

// wire is the request as bytes.
func (r Request) wire(ctx context.Context) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, r.method(), "http://"+r.Address+r.Path, bytes.NewReader(r.Body))
	if err != nil {
		return nil, fmt.Errorf("prepare the request: %w", err)
	}
	if r.Body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	req.Header.Set("Accept", "application/json")
	if r.Token != "" {
		req.Header.Set("Authorization", "Bearer "+r.Token)
	}
	var raw bytes.Buffer
	if err := req.Write(&raw); err != nil {
		return nil, fmt.Errorf("prepare the request: %w", err)
	}
	return raw.Bytes(), nil
}

// lane is one connection of a closed load.
type lane struct {
	conn      net.Conn
	answers   *bufio.Reader
	wire      []byte
	want      int
	bear      []int
	latencies []time.Duration
	refused   int
}

// drive sends one request, and others until the deadline has passed.
func (l *lane) drive(deadline time.Time) error {
	for start := time.Now(); ; {
		wanted, err := l.exchange()
		if err != nil {
			return err
		}
		end := time.Now()
		if wanted {
			l.latencies = append(l.latencies, end.Sub(start))
		} else {
			l.refused++
		}
		if start = end; !start.Before(deadline) {
			return nil
		}
	}
}

// exchange sends one request and reads its answer, and reports whether it is the wanted one.
func (l *lane) exchange() (wanted bool, err error) {
	if _, err := l.conn.Write(l.wire); err != nil {
		return false, err
	}
	resp, err := http.ReadResponse(l.answers, nil)
	if err != nil {
		return false, fmt.Errorf("read the answer: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	wanted = resp.StatusCode == l.want
	if !wanted && !slices.Contains(l.bear, resp.StatusCode) {
		return false, refusal(resp)
	}
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return false, fmt.Errorf("read the answer: %w", err)
	}
	if resp.Close {
		return false, errors.New("the server does not keep the connection alive")
	}
	return wanted, nil
}

// refusal says what came instead of the wanted answer.
func refusal(resp *http.Response) error {
	const enough = 1 << 10
	text, _ := io.ReadAll(io.LimitReader(resp.Body, enough)) // what can be read is better than nothing
	return fmt.Errorf("status %d: %s", resp.StatusCode, bytes.TrimSpace(text))
}
