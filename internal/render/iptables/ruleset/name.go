package ruleset

import (
	"encoding/base32"
	"strings"

	"github.com/netpol-agent/netpol-agent/internal/render/arrange"
)

const (
	// maxChainName is the length of the longest chain name that both variants of the binary accept.
	maxChainName = 28
	// maxComment is the length of the longest comment that the comment match accepts.
	maxComment = 255
)

// Name returns the name of a chain or set, made of a word that tells people what it is and a hash of parts. It is short
// enough for both if the word has at most four letters.
func Name(word string, parts ...string) string {
	digest := arrange.Digest(parts...)
	return Prefix + word + "-" + strings.ToLower(base32.StdEncoding.EncodeToString(digest[:]))
}

// Comment turns s into a comment that iptables-save prints and iptables-restore reads unchanged: printable ASCII without
// quotes and backslashes, at most 255 bytes. A comment that was too long ends in "...".
func Comment(s string) string {
	clean := strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' || r == '"' || r == '\'' || r == '\\' {
			return '?'
		}
		return r
	}, s)
	if len(clean) > maxComment {
		clean = clean[:maxComment-3] + "..."
	}
	return clean
}
