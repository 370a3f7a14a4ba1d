package manifest

import "bytes"

// chunk is a part of a file that is parsed on its own, so that a syntax error in one document does not affect the
// others.
type chunk struct {
	text []byte
	// before is the number of lines in the file before the chunk.
	before int
}

// split cuts a file before each line that starts with "---". A document cannot contain such a line: block scalars are
// indented, and YAML forbids it in quoted ones. A chunk can still hold several documents (after "..."), or none.
func split(data []byte) []chunk {
	var chunks []chunk
	start, startLine := 0, 0
	line, pos := 0, 0
	prologue := true // nothing but comments, directives and blank lines since start
	for pos < len(data) {
		end := pos + len(data[pos:])
		if i := bytes.IndexByte(data[pos:], '\n'); i >= 0 {
			end = pos + i + 1
		}
		text := data[pos:end]
		if isSeparator(text) {
			// Directives (%YAML) belong to the document that the separator opens.
			if !prologue {
				chunks = append(chunks, chunk{text: data[start:pos], before: startLine})
				start, startLine = pos, line
			}
			prologue = false
		} else if prologue {
			prologue = isPrologue(text)
		}
		pos = end
		line++
	}
	if start < len(data) {
		chunks = append(chunks, chunk{text: data[start:], before: startLine})
	}
	return chunks
}

// isSeparator reports whether the line opens a document: "---" and then a blank or the end of the line.
func isSeparator(line []byte) bool {
	rest, ok := bytes.CutPrefix(line, []byte("---"))
	return ok && (len(rest) == 0 || bytes.IndexByte([]byte(" \t\r\n"), rest[0]) >= 0)
}

// isPrologue reports whether the line may come before the first separator of a document.
func isPrologue(line []byte) bool {
	line = bytes.TrimSpace(line)
	return len(line) == 0 || line[0] == '#' || line[0] == '%'
}
