package config_test

import (
	"bytes"
	"errors"
	"flag"
	"io"
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
	errStumbled := errors.New("stumbled")
	commands := []config.Command{
		{Name: "sing loud", About: "sing, so that the neighbors hear it", Run: func(out io.Writer) error {
			_, err := io.WriteString(out, "LA LI")
			return err
		}},
		{Name: "stumble", About: "fail", Run: func(io.Writer) error { return errStumbled }},
	}
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
		"a command needs no configuration":   {args: []string{"sing", "loud"}, done: true, out: "LA LI"},
		"a command's error is the program's": {args: []string{"stumble"}, done: true, wrong: func(err error) bool { return errors.Is(err, errStumbled) }},
		"-h lists the commands":              {args: []string{"-h"}, done: true, wrong: func(err error) bool { return errors.Is(err, flag.ErrHelp) }, errOut: "demo sing loud   sing, so that the neighbors hear it"},
		"half a command is unknown":          {args: []string{"sing"}, done: true, wrong: func(err error) bool { return strings.Contains(err.Error(), `"sing"`) }, errOut: "Usage:"},
		"an unknown argument is not ignored": {args: []string{"serve"}, environ: set, done: true, wrong: func(err error) bool { return strings.Contains(err.Error(), `"serve"`) }, errOut: "Usage:"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var cfg settings
			var out, errOut bytes.Buffer
			p := config.Program{Name: "demo", About: "shows how.", Out: &out, Err: &errOut, Commands: commands}
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
