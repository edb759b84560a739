package config

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// usageWidth is where the descriptions of Usage wrap, in columns.
const usageWidth = 100

// Usage writes the variables as text for a terminal: each with its type and default, the purpose below it.
func Usage(vars []Variable) string {
	var b strings.Builder
	for _, v := range vars {
		fmt.Fprintf(&b, "  %s  %s\n", v.Name, strings.Join(facts(v), ", "))
		for _, line := range wrap(v.Description, usageWidth-6) {
			b.WriteString("      " + line + "\n")
		}
	}
	return b.String()
}

// facts lists what there is to say about a variable beside its purpose.
func facts(v Variable) []string {
	said := []string{v.Type}
	switch {
	case v.Required:
		said = append(said, "required")
	case v.Default != "":
		said = append(said, "default "+v.Default)
	}
	if v.Secret {
		said = append(said, "or a file named by "+v.FileVariable())
	}
	return said
}

// Markdown writes the variables as a table.
func Markdown(vars []Variable) string {
	var b strings.Builder
	b.WriteString("| Variable | Type | Default | Purpose |\n|---|---|---|---|\n")
	for _, v := range vars {
		initial := ""
		switch {
		case v.Required:
			initial = "**required**"
		case v.Default != "":
			initial = "`" + cell(v.Default) + "`"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", v.Name, cell(v.Type), initial, cell(v.Description))
	}
	return b.String()
}

// cell makes text fit into a cell of a table.
func cell(s string) string {
	return strings.NewReplacer("|", `\|`, "\n", " ").Replace(s)
}

// wrap breaks text between words into lines of at most width columns, where the words allow it.
func wrap(text string, width int) []string {
	var lines []string
	line := ""
	for word := range strings.FieldsSeq(text) {
		switch {
		case line == "":
			line = word
		case utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) > width:
			lines = append(lines, line)
			line = word
		default:
			line += " " + word
		}
	}
	if line != "" {
		lines = append(lines, line)
	}
	return lines
}
