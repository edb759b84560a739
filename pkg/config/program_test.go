package config_test

import (
	"bytes"
	"errors"
	"flag"
	"strings"
	"testing"

	"github.com/tarento/copilot/pkg/config"
)

func TestAProgramExplainsItselfOrIsConfigured(t *testing.T) {
	t.Parallel()
	type settings struct {
		Listen string `env:"LISTEN,required" desc:"Where it listens."`
	}
	set := map[string]string{"LISTEN": ":1"}
	tests := map[string]struct {
		args        []string
		environ     map[string]string
		done        bool
		wrong       func(error) bool
		out, errOut string
		listen      string
	}{
		"without arguments it is configured": {environ: set, listen: ":1"},
		"a missing variable is named": {
			wrong: func(err error) bool { return strings.Contains(err.Error(), "LISTEN") },
		},
		"-h explains on standard error": {
			args: []string{"-h"}, done: true, wrong: func(err error) bool { return errors.Is(err, flag.ErrHelp) }, errOut: "Where it listens.",
		},
		"config-doc needs no configuration":  {args: []string{"config-doc"}, done: true, out: "`LISTEN`"},
		"an unknown argument is not ignored": {args: []string{"serve"}, environ: set, done: true, wrong: func(err error) bool { return strings.Contains(err.Error(), `"serve"`) }, errOut: "Usage:"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var cfg settings
			var out, errOut bytes.Buffer
			p := config.Program{Name: "demo", About: "shows how.", Out: &out, Err: &errOut}
			done, err := p.Configure(&cfg, test.args, test.environ)
			if done != test.done || (err != nil) != (test.wrong != nil) || (err != nil && !test.wrong(err)) {
				t.Errorf("done %v, %v", done, err)
			}
			if !strings.Contains(out.String(), test.out) || !strings.Contains(errOut.String(), test.errOut) || cfg.Listen != test.listen {
				t.Errorf("out %q, err %q, listen %q", &out, &errOut, cfg.Listen)
			}
		})
	}
}
