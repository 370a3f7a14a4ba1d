package manifest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// syntaxError is a place in a chunk from which on it is not valid YAML.
type syntaxError struct {
	// line and column count from 1, inside the chunk.
	line, column int
	// good holds the YAML before the place, or nil. It serves to name the object.
	good *yaml.Node
	// field is the path of the entry that the line seems to set, or empty.
	field   string
	message string
}

// parse returns the documents of a chunk up to the first syntax error.
func parse(text []byte) ([]*yaml.Node, *syntaxError) {
	r := &lineReader{rest: text}
	dec := yaml.NewDecoder(r)
	var docs []*yaml.Node
	for {
		doc := new(yaml.Node)
		switch err := decodeNode(dec, doc); {
		case errors.Is(err, io.EOF):
			return docs, nil
		case err != nil:
			return docs, locate(text, r.lines, err)
		}
		docs = append(docs, doc)
	}
}

// decodeNode reads one document. The YAML library raises panics for some malformed input and recovers them itself. A
// panic that it misses must not end the program.
func decodeNode(dec *yaml.Decoder, doc *yaml.Node) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("yaml: the parser failed: %v", p)
		}
	}()
	return dec.Decode(doc)
}

// lineReader returns one line per Read and counts the lines. The number of lines read shows where the parser failed,
// which its error often does not.
type lineReader struct {
	rest  []byte
	lines int
}

func (r *lineReader) Read(p []byte) (int, error) {
	if len(r.rest) == 0 {
		return 0, io.EOF
	}
	n := len(r.rest)
	if i := bytes.IndexByte(r.rest, '\n'); i >= 0 {
		n = i + 1
	}
	if n > len(p) {
		n = len(p)
	}
	if r.rest[n-1] == '\n' || n == len(r.rest) {
		r.lines++
	}
	copy(p, r.rest[:n])
	r.rest = r.rest[n:]
	return n, nil
}

var yamlErrorLine = regexp.MustCompile(`^(?:yaml: )?(?:line (\d+): )?`)

// locate turns an error that the parser returned after it had read that many lines into a place. The parser reports
// where the construct began that it could not finish, which for a wrongly indented line is far above it. If all
// lines before the last one read are valid YAML by themselves, the last one is at fault. If not, something above is
// left open, and the place where it was opened is the better one.
func locate(text []byte, read int, err error) *syntaxError {
	lines := bytes.SplitAfter(text, []byte("\n"))
	message := err.Error()
	m := yamlErrorLine.FindStringSubmatch(message)
	reported := 1
	if m[1] != "" {
		reported, _ = strconv.Atoi(m[1]) // it has only digits; too many of them yield 0, which is clamped below
	}
	e := &syntaxError{line: reported, message: strings.TrimPrefix(message, m[0])}
	const lookahead = 2
	for good := min(read, len(lines)) - 1; good >= max(0, read-1-lookahead); good-- {
		if prefix, ok := parsePrefix(lines, good); ok {
			e.line, e.good = good+1, prefix
			break
		}
	}
	e.line = min(max(e.line, 1), len(lines))
	if e.good == nil {
		e.good, _ = parsePrefix(lines, e.line-1)
	}
	describe(e, string(lines[e.line-1]))
	return e
}

// parsePrefix parses the first n lines and returns the last document in them.
func parsePrefix(lines [][]byte, n int) (*yaml.Node, bool) {
	dec := yaml.NewDecoder(bytes.NewReader(bytes.Join(lines[:n], nil)))
	var last *yaml.Node
	for {
		doc := new(yaml.Node)
		switch err := decodeNode(dec, doc); {
		case errors.Is(err, io.EOF):
			return last, true
		case err != nil:
			return nil, false
		}
		last = doc
	}
}

var entryStart = regexp.MustCompile(`^(\s*(?:- +)*)([A-Za-z][A-Za-z0-9]*)(:?)(\s*)(.*)`)

// describe adds to e what the line at fault shows: the column, the field that it seems to set, and its text.
func describe(e *syntaxError, line string) {
	line = strings.TrimRight(line, "\r\n")
	e.column = len(line) - len(strings.TrimLeft(line, " \t")) + 1
	shown := strings.TrimSpace(line)
	const width = 60
	if len(shown) > width {
		shown = strings.ToValidUTF8(shown[:width], "") + "..."
	}
	if shown != "" {
		e.message = fmt.Sprintf("%s, at %s", e.message, strconv.Quote(shown))
	}
	m := entryStart.FindStringSubmatch(line)
	if m == nil {
		return
	}
	e.column = len(m[1]) + 1
	e.field = joinField(openPath(e.good, e.column), m[2])
	if m[3] == "" && m[4] != "" && strings.Contains(e.message, "expected ':'") {
		e.message += fmt.Sprintf(" (did you mean %q?)", m[2]+": "+m[5])
	}
}

// openPath returns the path of the mapping to which an entry that starts in the column would belong, if it came right
// after the document. It returns nothing if there is none.
func openPath(doc *yaml.Node, column int) string {
	if doc == nil || len(doc.Content) == 0 {
		return ""
	}
	path, n, above := "", doc.Content[0], 0
	for {
		switch {
		case scalarIsNull(n) && above < column: // a key whose value would start here
			return path
		case n.Kind == yaml.MappingNode && n.Column == column:
			return path
		case n.Kind == yaml.MappingNode && len(n.Content) > 0:
			path = joinField(path, n.Content[len(n.Content)-2].Value)
			above, n = n.Column, n.Content[len(n.Content)-1]
		case n.Kind == yaml.SequenceNode && len(n.Content) > 0:
			path += fmt.Sprintf("[%d]", len(n.Content)-1)
			n = n.Content[len(n.Content)-1]
		default:
			return ""
		}
	}
}

func joinField(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}
