package app_test

import (
	"bytes"
	"errors"
	"flag"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/tarento/copilot/gateway/internal/app"
	"github.com/tarento/copilot/pkg/config"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func environ(settings ...string) map[string]string {
	e := map[string]string{
		"DATABASE_URL": "postgres://nobody:sesame@127.0.0.1:1/none", "ENGINE_DATABASE_URL": "postgres://nobody:sesame@127.0.0.1:1/none",
		"NATS_URL": "nats://127.0.0.1:1", "REDIS_URL": "redis://127.0.0.1:1/0", "BLOB_DIR": "/nowhere",
		"JWT_SECRET": strings.Repeat("s", 32), "HTTP_ADDR": "127.0.0.1:0",
	}
	for i := 0; i < len(settings); i += 2 {
		e[settings[i]] = settings[i+1]
	}
	return e
}

func TestSettingsThatDoNotFitAreNamed(t *testing.T) {
	t.Parallel()
	for variable, value := range map[string]string{
		"ENVIRONMENT": "playground", "MAX_UPLOAD_BYTES": "0", "DATABASE_MAX_CONNS": "1", "DRAIN_TIMEOUT": "0s", "DRAIN_DELAY": "-1s", "WEBHOOK_LEASE": "0s", "DISPATCH_DEPTH": "0", "PRUNE_AFTER": "-1s",
		"WEBSOCKET_SUBSCRIPTIONS": "0", "WEBSOCKET_MESSAGE_BYTES": "100", "WEBSOCKET_READ_TIMEOUT": "0s", "WEBSOCKET_AUTHENTICATE_TIMEOUT": "0s",
		"JOB_EVENTS_KEEP": "1h", "JOBS_KEEP": "700h",
		"JWT_SECRET": "short", "JWT_PREVIOUS_SECRET": "short", "ACCESS_TOKEN_TTL": "1ms", "REFRESH_TOKEN_TTL": "1s", "BCRYPT_COST": "3",
		"BODY_READ_TIMEOUT": "0s", "LOG_FORMAT": "poem", "JWT_ALGORITHM": "RS256", "JWT_PREVIOUS_PUBLIC_KEY": "no key",
		"JWT_ISSUER": strings.Repeat("i", 257), "JWT_AUDIENCE": strings.Repeat("a", 257),
	} {
		var out bytes.Buffer
		err := app.Run(t.Context(), nil, environ(variable, value), app.Streams{Out: &out, Err: &out})
		if _, ok := errors.AsType[*config.Error](err); !ok || !strings.Contains(err.Error(), variable) {
			t.Errorf("%s=%s: %v", variable, value, err)
		}
		if err != nil && strings.Contains(err.Error(), "sesame") {
			t.Errorf("the error holds a secret: %v", err)
		}
	}
	err := app.Run(t.Context(), nil, environ("ENVIRONMENT", "production", "BCRYPT_COST", "4"), app.Streams{})
	if err == nil || !strings.Contains(err.Error(), "BCRYPT_COST") {
		t.Errorf("production with cheap passwords: %v", err)
	}
}

func TestReferenceIsPrinted(t *testing.T) {
	t.Parallel()
	var out, errs bytes.Buffer
	s := app.Streams{Out: &out, Err: &errs}
	if err := app.Run(t.Context(), []string{"config-doc"}, nil, s); err != nil || !strings.Contains(out.String(), "| `JWT_SECRET` |") {
		t.Errorf("config-doc: %v %s", err, &out)
	}
	if err := app.Run(t.Context(), []string{"-h"}, nil, s); !errors.Is(err, flag.ErrHelp) || !strings.Contains(errs.String(), "JWT_SECRET") {
		t.Errorf("-h: %v %s", err, &errs)
	}
	if err := app.Run(t.Context(), []string{"fly"}, nil, s); err == nil || !strings.Contains(err.Error(), "fly") {
		t.Errorf("an unknown argument: %v", err)
	}
}

func TestOpenAPIDocumentIsPrintedWithoutAnyConfiguration(t *testing.T) {
	t.Parallel()
	printed := map[string]string{}
	for _, args := range [][]string{{"openapi"}, {"openapi", "--yaml"}} {
		var out, errs bytes.Buffer
		if err := app.Run(t.Context(), args, nil, app.Streams{Out: &out, Err: &errs}); err != nil || errs.Len() > 0 {
			t.Fatalf("%q: %v %s", args, err, &errs)
		}
		printed[args[len(args)-1]] = out.String()
	}
	if text := printed["openapi"]; !strings.HasPrefix(text, "{") || !strings.Contains(text, `"operationId":"login"`) || !strings.Contains(text, `"version":"v1"`) {
		t.Errorf("the JSON is %.200s", text)
	}
	if text := printed["--yaml"]; !strings.Contains(text, "operationId: login\n") {
		t.Errorf("the YAML is %.200s", text)
	}
	// It says what a gateway takes that is not told otherwise.
	for _, v := range config.Describe(&app.Config{}) {
		if v.Name == "MAX_UPLOAD_BYTES" && (v.Default != "104857600" || !strings.Contains(printed["openapi"], "at most 100 MiB")) {
			t.Errorf("the default of MAX_UPLOAD_BYTES is %s, which is not what the document says", v.Default)
		}
	}
}

func TestFailedStartClosesWhatItOpened(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	s := app.Streams{Out: &out, Err: &out}
	// The folder cannot be made, because a file stands where it should be.
	err := app.Run(t.Context(), nil, environ("BLOB_DIR", "/dev/null/blobs"), s)
	if err == nil || !strings.Contains(err.Error(), "blob") {
		t.Errorf("without a folder: %v", err)
	}
	if err := app.Run(t.Context(), nil, environ("HTTP_ADDR", "nowhere:none"), s); err == nil {
		t.Error("started on an address that is none")
	}
}
