package manifest

import "bytes"

// chunk is a part of a file that is parsed on its own, so that a syntax error in one document does not take
// the others with it.
type chunk struct {
	text []byte
	// before is the number of lines of the file in front of the chunk.
	before int
}

// split cuts a file in front of each line that starts with "---". Inside a document no such line can stand:
// block scalars are indented, and YAML forbids it in quoted ones. A chunk can still hold several documents
// (after "..."), or none.
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

// isSeparator says whether the line opens a document: "---" and then a blank or the line's end.
func isSeparator(line []byte) bool {
	rest, ok := bytes.CutPrefix(line, []byte("---"))
	return ok && (len(rest) == 0 || bytes.IndexByte([]byte(" \t\r\n"), rest[0]) >= 0)
}

// isPrologue says whether the line is one that may stand in front of a document's first separator.
func isPrologue(line []byte) bool {
	line = bytes.TrimSpace(line)
	return len(line) == 0 || line[0] == '#' || line[0] == '%'
}
