package app

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/tarento/copilot/gateway/internal/httpapi"
	"github.com/tarento/copilot/pkg/config"
	"github.com/tarento/copilot/pkg/secret"
	"github.com/tarento/copilot/pkg/store"
)

// commands are what the gateway does beside serving.
func commands(ctx context.Context, environ map[string]string) []config.Command {
	return []config.Command{
		{Name: "openapi", About: "print the OpenAPI document as JSON", Run: func(out io.Writer) error {
			return printOpenAPI(out, func(d httpapi.OpenAPI) []byte { return d.JSON })
		}},
		{Name: "openapi --yaml", About: "print the OpenAPI document as YAML", Run: func(out io.Writer) error {
			return printOpenAPI(out, func(d httpapi.OpenAPI) []byte { return d.YAML })
		}},
		{Name: "verify-audit", About: "follow every organization's audit log to where its chain breaks", Run: func(out io.Writer) error {
			return verifyAudit(ctx, out, environ)
		}},
	}
}

// auditConfig is what verify-audit is told.
type auditConfig struct {
	DatabaseURL secret.Text `env:"DATABASE_URL,required" desc:"Postgres as the application role."`
}

var errAuditBroken = errors.New("gateway: an audit log does not hold")

// verifyAudit prints one line for each organization, and fails when a chain is broken.
func verifyAudit(ctx context.Context, out io.Writer, environ map[string]string) (err error) {
	var cfg auditConfig
	if err := config.Load(&cfg, environ); err != nil {
		return err
	}
	s, err := store.Open(ctx, store.Config{URL: cfg.DatabaseURL.Reveal(), MaxConns: 1})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	tenants, err := s.Tenants(ctx)
	if err != nil {
		return err
	}
	broken := false
	for _, t := range tenants {
		verified, err := s.VerifyAudit(ctx, t, func(n int64) {
			if n%100_000 == 0 {
				fmt.Fprintf(out, "%s  %d entries so far\n", t, n)
			}
		})
		switch {
		case err != nil:
			return fmt.Errorf("gateway: verify the audit log of %s: %w", t, err)
		case verified.Broken > 0:
			broken = true
			fmt.Fprintf(out, "%s  BROKEN at entry %d: %s\n", t, verified.Broken, verified.Reason)
		default:
			fmt.Fprintf(out, "%s  %d entries hold\n", t, verified.Entries)
		}
	}
	if broken {
		return errAuditBroken
	}
	return nil
}
