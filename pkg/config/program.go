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
	// Commands are what else it can do. None of them needs the configuration.
	Commands []Command
}

// Command is something that a program does instead of its work, and then ends.
type Command struct {
	// Name is its arguments, each separated by one space.
	Name string
	// About says what it does, as an order: "print the ...".
	About string
	// Run does it. What it prints goes to out.
	Run func(out io.Writer) error
}

const usage = `%[1]s %[2]s

Usage:
%[3]s
Environment:
%[4]s`

// Configure fills cfg, a pointer to a struct, from the environment. It returns true when there is nothing left to do because the
// arguments asked for something else: config-doc prints the reference as Markdown, a command is run, and neither needs the
// environment; -h prints the reference as text and gives flag.ErrHelp. Any other argument is an error.
func (p Program) Configure(cfg any, args []string, environ map[string]string) (done bool, err error) {
	commands := append([]Command{{
		Name: "config-doc", About: "print the configuration reference as Markdown",
		Run: func(out io.Writer) error {
			_, err := io.WriteString(out, Markdown(Describe(cfg)))
			return err
		},
	}}, p.Commands...)
	flags := flag.NewFlagSet(p.Name, flag.ContinueOnError)
	flags.SetOutput(p.Err)
	flags.Usage = func() { fmt.Fprintf(p.Err, usage, p.Name, p.About, p.calls(commands), Usage(Describe(cfg))) }
	if err := flags.Parse(args); err != nil {
		return true, err
	}
	if flags.NArg() == 0 {
		return false, Load(cfg, environ)
	}
	asked := strings.Join(flags.Args(), " ")
	for _, c := range commands {
		if c.Name == asked {
			return true, c.Run(p.Out)
		}
	}
	flags.Usage()
	return true, fmt.Errorf("%s: unknown argument %q", p.Name, flags.Arg(0))
}

// calls lists the ways to call the program, one on each line.
func (p Program) calls(commands []Command) string {
	commands = append([]Command{{About: "work until SIGTERM"}}, commands...)
	width := 0
	for _, c := range commands {
		width = max(width, len(c.Name))
	}
	var b strings.Builder
	for _, c := range commands {
		fmt.Fprintf(&b, "  %s %-*s  %s\n", p.Name, width, c.Name, c.About)
	}
	return b.String()
}
