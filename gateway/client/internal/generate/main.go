// Command generate writes the generated part of the client: a type for each schema of an OpenAPI document and a method for each
// operation. It reads the document from standard input. What the package already has by hand is left out: a type of the same
// name replaces the schema, and next to a method of the same name the generated one is unexported.
//
// It knows the part of OpenAPI 3.1 that the gateway's document uses, and refuses what it does not know.
package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

func main() {
	if err := run(os.Args[1:], os.Stdin); err != nil {
		fmt.Fprintln(os.Stderr, "generate:", err)
		os.Exit(1)
	}
}

// suffix ends the names of generated files.
const suffix = "_gen.go"

func run(args []string, in io.Reader) error {
	flags := flag.NewFlagSet("generate", flag.ContinueOnError)
	source := flags.String("package", ".", "folder of the package that the generated files belong to")
	target := flags.String("out", ".", "folder to write them to; generated files of an earlier run are removed from it")
	if err := flags.Parse(args); err != nil {
		return err
	}
	doc, err := readDocument(in)
	if err != nil {
		return err
	}
	written, err := readHandwritten(*source)
	if err != nil {
		return err
	}
	files, err := generate(doc, written)
	if err != nil {
		return err
	}
	return replace(*target, files)
}

// replace makes the folder's generated files these.
func replace(folder string, files map[string][]byte) error {
	old, err := filepath.Glob(filepath.Join(folder, "*"+suffix))
	if err != nil {
		return err
	}
	for _, name := range old {
		if _, stays := files[filepath.Base(name)]; stays || strings.HasSuffix(name, "_test.go") {
			continue
		}
		if err := os.Remove(name); err != nil {
			return err
		}
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(folder, name), text, 0o644); err != nil { //nolint:gosec // source code is for everybody
			return err
		}
	}
	return nil
}
