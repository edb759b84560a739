package tour

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/tarento/copilot/gateway/client"
)

// agentName is the seeded agent that answers the questions.
const agentName = "Document Analyzer"

// Config says where the tour goes. BaseURL, Identifier and Password are required.
type Config struct {
	// BaseURL is the gateway's address, such as "http://127.0.0.1:8080".
	BaseURL string
	// Identifier is the username or the email address of a user who may upload documents and run agents.
	Identifier string
	// Password belongs to Identifier. It is sent to the gateway and shown nowhere.
	Password string
	// Out is where the tour is printed; nil means nowhere. On a terminal, progress is shown on one line that changes.
	Out io.Writer
	// Check makes the tour fail when an answer does not rest on the right passage.
	Check bool
	// HTTPClient makes the calls; nil means one of the tour's own. It must not have a Timeout, which would cut the streams.
	HTTPClient *http.Client
	// RequestTimeout bounds each call but the streams; zero means 30 seconds.
	RequestTimeout time.Duration
	// SilenceTimeout is how long a stream may be silent before it is opened again; zero means 45 seconds, three heartbeats.
	SilenceTimeout time.Duration
}

// complete returns the configuration with its defaults, or says what is missing.
func (c Config) complete() (Config, error) {
	if c.BaseURL == "" || c.Identifier == "" || c.Password == "" {
		return c, errors.New("the tour needs a base URL, an identifier and a password")
	}
	c.BaseURL = strings.TrimRight(c.BaseURL, "/")
	if c.Out == nil {
		c.Out = io.Discard
	}
	if c.RequestTimeout <= 0 {
		c.RequestTimeout = 30 * time.Second
	}
	if c.SilenceTimeout <= 0 {
		c.SilenceTimeout = 45 * time.Second
	}
	return c, nil
}

// Run takes the tour and returns when it is over. Its length is bounded by ctx alone. The error wraps what went wrong: a call that
// failed, a job that did not succeed (with the reason that the job gives), the cause of ctx's end; with Config.Check it is a
// *CheckError when everything ran but the answers are not as expected.
func Run(ctx context.Context, cfg Config) error {
	cfg, err := cfg.complete()
	if err != nil {
		return fmt.Errorf("tour: %w", err)
	}
	docs, err := documents()
	if err != nil {
		return fmt.Errorf("tour: %w", err)
	}
	if cfg.HTTPClient == nil {
		transport := &http.Transport{Proxy: http.ProxyFromEnvironment}
		defer transport.CloseIdleConnections()
		cfg.HTTPClient = &http.Client{Transport: transport}
	}
	api, err := client.New(cfg.BaseURL, client.WithUserAgent("copilot-tour"), client.WithHTTPClient(cfg.HTTPClient),
		client.WithTimeout(cfg.RequestTimeout), client.WithSilence(cfg.SilenceTimeout))
	if err != nil {
		return fmt.Errorf("tour: %w", err)
	}
	g := &guide{cfg: cfg, api: api, out: newConsole(cfg.Out)}
	if err := g.lead(ctx, docs, questions()); err != nil {
		return fmt.Errorf("tour: %w", err)
	}
	return nil
}

// guide is one tour under way.
type guide struct {
	cfg Config
	api *client.Client
	out *console

	ingested   ingestion
	firstToken []time.Duration // of each answer that streamed
	mismatches []string
}

// lead goes through the tour's parts.
func (g *guide) lead(ctx context.Context, docs []document, asked []question) error {
	g.out.headingf("A tour of %s", g.cfg.BaseURL)
	if err := g.login(ctx); err != nil {
		return err
	}
	if err := g.ingest(ctx, docs); err != nil {
		return err
	}
	if err := g.converse(ctx, asked); err != nil {
		return err
	}
	g.summarize(len(asked))
	if len(g.mismatches) > 0 {
		return &CheckError{Mismatches: g.mismatches}
	}
	if err := g.out.failed(); err != nil {
		return fmt.Errorf("print: %w", err)
	}
	return nil
}

// login logs in, and explains the two ways in which a first start usually fails.
func (g *guide) login(ctx context.Context) error {
	in, err := g.api.Login(ctx, client.Credentials{Username: g.cfg.Identifier, Password: g.cfg.Password})
	refused, _ := errors.AsType[*client.Problem](err)
	switch {
	case errors.Is(err, client.ErrUnreachable):
		return fmt.Errorf("is the gateway running? %w", err)
	case refused != nil && refused.Status == http.StatusUnauthorized:
		return fmt.Errorf("login as %s was refused; has the database been seeded? %w", g.cfg.Identifier, err)
	case err != nil:
		return fmt.Errorf("log in as %s: %w", g.cfg.Identifier, err)
	}
	who := in.User.Email
	if who == "" {
		who = g.cfg.Identifier
	}
	g.out.stepf("Logged in as %s", who)
	return nil
}

// converse asks all questions in one conversation.
func (g *guide) converse(ctx context.Context, asked []question) error {
	with, err := agentNamed(ctx, g.api, agentName)
	if err != nil {
		return fmt.Errorf("find the agent: %w", err)
	}
	conversation, err := converse(ctx, g.api, with, "The tour")
	if err != nil {
		return fmt.Errorf("start a conversation: %w", err)
	}
	g.out.stepf("Started a conversation with %s", with.Name)
	for _, q := range asked {
		if err := g.ask(ctx, conversation, q); err != nil {
			return fmt.Errorf("ask %q: %w", q.Text, err)
		}
	}
	return nil
}

// ask posts one question, prints the answer as it streams and then what it cites.
func (g *guide) ask(ctx context.Context, conversation string, q question) error {
	g.out.headingf("%s%s", label("Q"), q.Text)
	g.out.progressf("…")
	asked := time.Now()
	j, err := post(ctx, g.api, conversation, q.Text)
	if err != nil {
		return err
	}
	var (
		text  client.Transcript
		shown = answer{console: g.out}
		first time.Duration
	)
	ended, err := follow(ctx, g.api, j.ID, watcher{text: func(d client.TextDelta) {
		piece, restarted := text.Add(d)
		if restarted {
			shown.again()
		}
		if first == 0 && piece != "" {
			first = time.Since(asked)
		}
		shown.add(piece)
	}})
	shown.end()
	if err != nil {
		return err
	}
	took := time.Since(asked)
	var result client.AgentRunResult
	if err := ended.Into(&result); err != nil {
		return err
	}
	if first == 0 {
		shown.add(result.Content)
		shown.end()
	}
	for _, c := range result.Citations {
		g.out.notef("%s %s", c.Mark, source(c.Title, c.Page, c.Heading))
	}
	if first > 0 {
		g.firstToken = append(g.firstToken, first)
		g.out.notef("First token after %s, answered by %s in %s", seconds(first), result.Model, seconds(took))
	} else {
		g.out.notef("Answered by %s in %s, without a token streamed", result.Model, seconds(took))
	}
	if !g.cfg.Check {
		return nil
	}
	wrong := q.mismatches(text.String(), result)
	for _, w := range wrong {
		g.out.notef("✗ %s", w)
	}
	if len(wrong) == 0 {
		g.out.notef("✓ It rests on %s", q.source())
	}
	g.mismatches = append(g.mismatches, wrong...)
	return nil
}

// summarize prints the rates.
func (g *guide) summarize(asked int) {
	g.out.headingf("%s", "In short")
	if n := g.ingested; n.documents > 0 {
		per := n.took.Seconds()
		g.out.notef("Ingested %d pages and %d chunks in %s: %.0f pages/s, %.0f chunks/s",
			n.pages, n.chunks, seconds(n.took), float64(n.pages)/per, float64(n.chunks)/per)
	}
	if n := len(g.firstToken); n > 0 {
		var sum time.Duration
		for _, d := range g.firstToken {
			sum += d
		}
		g.out.notef("%d questions, first token after %s on average", asked, seconds(sum/time.Duration(n)))
	}
	g.out.notef("The whole tour took %s", seconds(g.out.elapsed()))
}
