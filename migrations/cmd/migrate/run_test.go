package main

import (
	"bytes"
	"context"
	"net"
	"strings"
	"testing"
)

func TestRunExplainsWhatIsWrong(t *testing.T) {
	t.Parallel()
	closed := closedAddress(t)

	for _, tc := range []struct {
		name    string
		args    []string
		environ []string
		want    []string
		never   string
	}{
		{
			name: "no command shows the usage and what was expected",
			want: []string{"expected one command"},
		},
		{
			name: "an unknown command is named",
			args: []string{"sideways"},
			want: []string{`"sideways"`, "up, down, status or seed"},
		},
		{
			name: "a missing URL names the variable",
			args: []string{"up"},
			want: []string{"MIGRATE_DATABASE_URL is not set"},
		},
		{
			name:    "a URL that cannot be read is not repeated",
			args:    []string{"up"},
			environ: []string{"MIGRATE_DATABASE_URL=postgres://owner:hunter%2@localhost/copilot"},
			want:    []string{"cannot be read", "postgres://user:password@host:port/database"},
			never:   "hunter",
		},
		{
			name:    "no server is reported with its address and without the password",
			args:    []string{"-wait", "10ms", "up"},
			environ: []string{"MIGRATE_DATABASE_URL=postgres://owner:hunter2@" + closed + "/copilot"},
			want:    []string{closed, "gave up after 10ms", "refused"},
			never:   "hunter2",
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			var out bytes.Buffer
			err := run(t.Context(), tc.args, tc.environ, &out)
			if err == nil {
				t.Fatal("run succeeded")
			}
			for _, want := range tc.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error %q does not say %q", err, want)
				}
			}
			if all := err.Error() + out.String(); tc.never != "" && strings.Contains(all, tc.never) {
				t.Errorf("output contains %q: %s", tc.never, all)
			}
		})
	}
}

func TestHelpListsCommandsAndEnvironment(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	if err := run(t.Context(), []string{"-h"}, nil, &out); err != nil {
		t.Fatalf("run -h: %v", err)
	}
	for _, want := range []string{"up ", "down ", "status ", "seed ", "-wait", "-to", "MIGRATE_DATABASE_URL", "ENVIRONMENT"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("help does not mention %q", want)
		}
	}
}

// closedAddress returns an address of this machine where nothing listens.
func closedAddress(t *testing.T) string {
	t.Helper()
	var cfg net.ListenConfig
	l, err := cfg.Listen(context.WithoutCancel(t.Context()), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}
