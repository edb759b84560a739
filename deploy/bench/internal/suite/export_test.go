package suite

import (
	"io"
	"slices"
)

// WantedParts are the parts that a command line asks for.
func WantedParts(args []string) ([]string, error) {
	o, err := parse(args, io.Discard)
	return slices.DeleteFunc(parts(), func(part string) bool { return !o.wants(part) }), err
}
