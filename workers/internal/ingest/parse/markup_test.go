package parse

import (
	"strings"
	"testing"
)

func TestMarkdown(t *testing.T) {
	t.Parallel()
	p := sharedParser(t)
	tests := []struct {
		name    string
		content string
		title   string
		want    []string
	}{
		{"headings in both styles", "# One\n\nTwo\n===\n\n### Three *x*\ntext\n", "One", []string{"# One", "# Two", "### Three x", "text"}},
		{
			"marks, links, images, entities and inline HTML leave their text",
			"A *b* **c** `d*e` [f](http://x \"t\") ![g](h.png) <i>j</i> &amp; \\*k\\* <http://l> ~~m~~\nn  \no", "",
			[]string{"A b c d*e f g j & *k* http://l m n\no"},
		},
		{"nested lists", "- a\n  continued\n- b\n  1. c\n  2. d\n\n     more of d\n- [x] e\n", "", []string{"- a continued", "- b", "  1. c", "  2. d", "more of d", "- [x] e"}},
		{"numbers go on from where a list starts", "7. a\n8. b\n", "", []string{"7. a", "8. b"}},
		{"tables with their header", "| a | b |\n|---|--:|\n| 1 | `2` |\n| 3 |\n", "", []string{"table:", "a | b", "1 | 2", "3 |"}},
		{"code, fenced and indented", "```go\nif x {\n\n    y()\n}\n```\n\n    indented\n      more\n", "", []string{"code:", "if x {\n\n    y()\n}", "code:", "indented\n  more"}},
		{"quotations are paragraphs", "> a\n> b\n>\n> > c\n", "", []string{"a b", "c"}},
		{"HTML blocks leave their text", "<div>\n<p>a <b>c</b></p>\n<script>x</script>\n</div>\n\n<!-- d -->\n\ne", "", []string{"a c", "e"}},
		{"footnotes come at the end", "a[^n]\n\n[^n]: b\n", "", []string{"a[1]", "[1] b"}},
		{"front matter in YAML gives the title", "---\ntitle: \"From: above\"\ntags:\n  - x\n---\n# One\n", "From: above", []string{"# One"}},
		{"front matter in TOML gives the title", "+++\ntitle = 'Above'\n+++\ntext\n", "Above", []string{"text"}},
		{"a rule at the top is no front matter", "---\nplain text\n\n---\nmore\n", "", []string{"plain text", "more"}},
		{"front matter that never ends is text", "---\ntitle: x\n", "", []string{"title: x"}},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			doc := mustParse(t, p, file("a.md", []byte(tc.content)))
			wantOutline(t, doc, tc.want...)
			if doc.Title != tc.title {
				t.Errorf("title %q, want %q", doc.Title, tc.title)
			}
		})
	}
}

func TestHTML(t *testing.T) {
	t.Parallel()
	p := sharedParser(t)
	tests := []struct {
		name    string
		content string
		title   string
		want    []string
	}{
		{"title, headings and paragraphs", "<title> The\n page </title><h1>One <em>x</em></h1><p>a<b>b</b> c<div>d</div>e", "The page", []string{"# One x", "ab c", "d", "e"}},
		{
			"what nobody reads is left out",
			"<nav>menu</nav><p>a<script>s</script><style>t</style><p hidden>b<p style='color:red; display: none'>c<p aria-hidden=true>d<template>e</template><button>f</button><svg><title>g</title></svg>",
			"",
			[]string{"a"},
		},
		{"lists, nested and numbered", "<ul><li>a<li>b<ol start=3><li>c<li><p>d<p>e</ol><li></ul>f", "", []string{"- a", "- b", "  3. c", "  4. d", "e", "f"}},
		{
			"data tables", "<table><caption>Flows</caption><tr><th>Name<th>Flow</tr><tr><td>A<br>B<td>1</tr><tr><td>C<td></table>", "",
			[]string{"Flows", "table:", "Name | Flow", "A B | 1", "C |"},
		},
		{"tables for layout are what they hold", "<table><tr><td><h2>x</h2><p>y</p></td><td>z</td></tr></table>", "", []string{"## x", "y", "z"}},
		{"preformatted text keeps its form", "<pre>\n  a\n    b<br>c\n</pre>", "", []string{"code:", "  a\n    b\nc"}},
		{"two line breaks end a paragraph, one does not", "a<br>b<br> <br>c", "", []string{"a b", "c"}},
		{"a charset in the content", "<meta charset=iso-8859-1><p>K\xf6ln", "", []string{"Köln"}},
		{"UTF-16 by its mark", "\xff\xfe<\x00p\x00>\x00\xf6\x00", "", []string{"ö"}},
		{"entities", "<p>a&nbsp;&amp;&#8211;b", "", []string{"a &–b"}},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			doc := mustParse(t, p, file("a.html", []byte(tc.content)))
			wantOutline(t, doc, tc.want...)
			if doc.Title != tc.title && (tc.title != "" || !strings.HasPrefix(outlineOf(doc), "#")) {
				t.Errorf("title %q, want %q", doc.Title, tc.title)
			}
		})
	}
}

func TestTableHeaderIsMarked(t *testing.T) {
	t.Parallel()
	p := sharedParser(t)
	for name, content := range map[string]string{
		"a.md":   "| a | b |\n|---|---|\n| 1 | 2 |\n",
		"a.html": "<table><thead><tr><td>a<td>b</thead><tr><td>1<td>2</table>",
	} {
		doc := mustParse(t, p, file(name, []byte(content)))
		if b := doc.Blocks[0]; b.Text[:b.Header] != "a | b" {
			t.Errorf("%s: header %q of %q", name, b.Text[:b.Header], b.Text)
		}
	}
}
