package state

import (
	"fmt"
	"strings"
)

// Variable is one line of the env file.
type Variable struct {
	// Name and Value are the variable's.
	Name, Value string
	// Comment stands on the line before it; empty for none.
	Comment string
}

// WriteEnv writes the file "env" with the variables, to be read by a shell, and returns its path. Only its owner can read
// it, because the addresses hold passwords.
func (f *Folder) WriteEnv(variables []Variable) (string, error) {
	var b strings.Builder
	b.WriteString("# The addresses of the local system, written by devstack at every start. To run one part by hand:\n")
	b.WriteString("#   set -a; . " + shellQuote(f.Path("env")) + "; set +a\n")
	for _, v := range variables {
		if v.Comment != "" {
			fmt.Fprintf(&b, "\n# %s\n", v.Comment)
		}
		fmt.Fprintf(&b, "%s=%s\n", v.Name, shellQuote(v.Value))
	}
	path := f.Path("env")
	return path, write(path, []byte(b.String()))
}

// shellQuote makes a word of any text, for a POSIX shell.
func shellQuote(text string) string { return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'" }
