package e2e_test

import (
	"archive/zip"
	"bytes"
	"compress/flate"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// sentences returns n sentences that no other seed yields, so that what was made of them can be told apart.
func sentences(seed uint64, n int) []string {
	words := strings.Fields("lease epoch worker journal vector passage tenant dispatch broker record commit stream answer token " +
		"budget ledger harbor meadow copper lantern orchard violin glacier thunder saddle compass marble thicket pebble canyon")
	random := rand.New(rand.NewPCG(seed, 1))
	all := make([]string, n)
	for i := range all {
		picked := make([]string, 12)
		for j := range picked {
			picked[j] = words[random.IntN(len(words))]
		}
		all[i] = fmt.Sprintf("Entry %d-%d says %s.", seed, i, strings.Join(picked, " "))
	}
	return all
}

// bigText is a plain text of n paragraphs.
func bigText(seed uint64, n int) file {
	return file{
		name: fmt.Sprintf("ledger-%d.txt", seed), media: "text/plain", data: []byte(strings.Join(sentences(seed, n), "\n\n")),
	}
}

// bigPDF is a PDF of n pages with thirty lines of text each.
func bigPDF(seed uint64, n int) file {
	const linesPerPage = 30
	all := sentences(seed, n*linesPerPage)
	objects := []string{
		"<< /Type /Catalog /Pages 2 0 R >>",
		"", // the page tree, known at the end
		"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
	}
	var kids strings.Builder
	for page := range n {
		var text strings.Builder
		text.WriteString("BT /F1 9 Tf 50 780 Td 22 TL\n")
		for _, line := range all[page*linesPerPage : (page+1)*linesPerPage] {
			fmt.Fprintf(&text, "(%s) Tj T*\n", line)
		}
		text.WriteString("ET")
		objects = append(objects,
			fmt.Sprintf("<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Resources << /Font << /F1 3 0 R >> >> /Contents %d 0 R >>",
				len(objects)+2),
			fmt.Sprintf("<< /Length %d >>\nstream\n%s\nendstream", text.Len(), text.String()))
		fmt.Fprintf(&kids, "%d 0 R ", len(objects)-1)
	}
	objects[1] = fmt.Sprintf("<< /Type /Pages /Count %d /Kids [%s] >>", n, kids.String())
	return file{name: fmt.Sprintf("ledger-%d.pdf", seed), media: "application/pdf", data: writePDF(objects, "")}
}

// lockedPDF is a PDF that opens with a password only: the check of the empty one cannot succeed.
func lockedPDF() file {
	objects := []string{
		"<< /Type /Catalog /Pages 2 0 R >>",
		"<< /Type /Pages /Count 1 /Kids [3 0 R] >>",
		"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] >>",
		fmt.Sprintf("<< /Filter /Standard /V 1 /R 2 /P -4 /O <%064x> /U <%064x> >>", 1, 2),
	}
	return file{
		name: "locked.pdf", media: "application/pdf",
		data: writePDF(objects, "/Encrypt 4 0 R /ID [<00112233445566778899aabbccddeeff> <00112233445566778899aabbccddeeff>]"),
	}
}

// writePDF numbers the objects from 1 and adds the table of where each of them is.
func writePDF(objects []string, trailer string) []byte {
	var b bytes.Buffer
	b.WriteString("%PDF-1.4\n%\xe2\xe3\xcf\xd3\n")
	offsets := make([]int, len(objects))
	for i, o := range objects {
		offsets[i] = b.Len()
		fmt.Fprintf(&b, "%d 0 obj\n%s\nendobj\n", i+1, o)
	}
	table := b.Len()
	fmt.Fprintf(&b, "xref\n0 %d\n0000000000 65535 f \n", len(objects)+1)
	for _, offset := range offsets {
		fmt.Fprintf(&b, "%010d 00000 n \n", offset)
	}
	fmt.Fprintf(&b, "trailer\n<< /Size %d /Root 1 0 R %s >>\nstartxref\n%d\n%%%%EOF\n", len(objects)+1, trailer, table)
	return b.Bytes()
}

// zipBomb is a small DOCX file whose text unpacks to n MiB. Its directory says so, or with a claim says that size instead.
func zipBomb(t *testing.T, mebibytes int, claim uint64) file {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for name, text := range map[string]string{
		"[Content_Types].xml": `<?xml version="1.0"?><Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">` +
			`<Override PartName="/word/document.xml" ContentType="application/vnd.openxmlformats-officedocument.wordprocessingml.` +
			`document.main+xml"/></Types>`,
		"_rels/.rels": `<?xml version="1.0"?><Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">` +
			`<Relationship Id="rId1" Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/officeDocument" ` +
			`Target="word/document.xml"/></Relationships>`,
	} {
		w, err := z.Create(name)
		if err == nil {
			_, err = io.WriteString(w, text)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	packed, header := deflateMonotone(t, mebibytes,
		`<?xml version="1.0"?><w:document xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"><w:body><w:p><w:r><w:t>`,
		`</w:t></w:r></w:p></w:body></w:document>`)
	header.Name = "word/document.xml"
	if claim > 0 {
		header.UncompressedSize64 = claim
	}
	w, err := z.CreateRaw(header)
	if err == nil {
		_, err = w.Write(packed)
	}
	if err == nil {
		err = z.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return file{name: "bomb.docx", media: docxMedia, data: b.Bytes()}
}

// deflateMonotone packs many MiB of one letter between a head and a foot without going through them: each MiB but the first
// packs to the same bytes.
func deflateMonotone(t *testing.T, mebibytes int, head, foot string) (packed []byte, header *zip.FileHeader) {
	t.Helper()
	var b bytes.Buffer
	w, err := flate.NewWriter(&b, flate.BestCompression)
	if err != nil {
		t.Fatal(err)
	}
	letters := bytes.Repeat([]byte("a"), 1<<20)
	sum := crc32.NewIEEE()
	write := func(text []byte) []byte {
		b.Reset()
		_, err := w.Write(text)
		if err = errors.Join(err, w.Flush()); err != nil {
			t.Fatal(err)
		}
		return slices.Clone(b.Bytes())
	}
	sum.Write([]byte(head))
	packed = append(write([]byte(head)), write(letters)...)
	again := write(letters)
	for range mebibytes {
		sum.Write(letters)
	}
	packed = append(packed, bytes.Repeat(again, mebibytes-1)...)
	sum.Write([]byte(foot))
	packed = append(packed, write([]byte(foot))...)
	b.Reset()
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	packed = append(packed, b.Bytes()...)
	return packed, &zip.FileHeader{
		Method: zip.Deflate, CRC32: sum.Sum32(), CompressedSize64: uint64(len(packed)),
		UncompressedSize64: uint64(len(head) + mebibytes<<20 + len(foot)),
	}
}

// monotone reads as its letter for ever.
type monotone byte

// Read implements io.Reader.
func (m monotone) Read(p []byte) (int, error) {
	copy(p, bytes.Repeat([]byte{byte(m)}, len(p)))
	return len(p), nil
}
