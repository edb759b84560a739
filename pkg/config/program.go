package config

import (
	"flag"
	"fmt"
	"io"
	"strings"
)

// Program is a command that is configured by its environment alone.
type Program struct {
	Name string
	// About says what it does, as the end of a sentence that begins with the name.
	About string
	// Out and Err are where it writes.
	Out, Err io.Writer
}

const usage = `%[1]s %[2]s

Usage:
  %[1]s             work until SIGTERM
  %[1]s config-doc  print the configuration reference as Markdown

Environment:
%[3]s`

// Configure fills cfg, a pointer to a struct, from the environment. It returns true when there is nothing left to do because the
// arguments asked for the reference: config-doc prints it as Markdown and gives no error, -h prints it as text and gives
// flag.ErrHelp. Any other argument is an error.
func (p Program) Configure(cfg any, args []string, environ map[string]string) (done bool, err error) {
	flags := flag.NewFlagSet(p.Name, flag.ContinueOnError)
	flags.SetOutput(p.Err)
	flags.Usage = func() { fmt.Fprintf(p.Err, usage, p.Name, p.About, Usage(Describe(cfg))) }
	if err := flags.Parse(args); err != nil {
		return true, err
	}
	switch strings.Join(flags.Args(), " ") {
	case "":
		return false, Load(cfg, environ)
	case "config-doc":
		_, err := io.WriteString(p.Out, Markdown(Describe(cfg)))
		return true, err
	default:
		flags.Usage()
		return true, fmt.Errorf("%s: unknown argument %q", p.Name, flags.Arg(0))
	}
}
