package ruleset

import (
	"crypto/sha256"
	"encoding/base32"
	"encoding/binary"
	"strings"
)

const (
	// maxChainName is the longest chain name that both variants of the binary take.
	maxChainName = 28
	// maxSetName is the longest set name that ipset takes.
	maxSetName = 31
	// maxComment is the longest comment that the comment match takes.
	maxComment = 255
	// hashDigits in base 32: 80 bits, so that nobody who chooses labels or names can make two of them meet.
	hashDigits = 16
)

// Name makes the name of a chain or set from a word that tells people what it is, and a hash of parts. It fits
// both if the word has no more than four letters.
func Name(word string, parts ...string) string {
	h := sha256.New()
	var size [8]byte
	for _, p := range parts {
		binary.BigEndian.PutUint64(size[:], uint64(len(p)))
		h.Write(size[:])
		h.Write([]byte(p))
	}
	text := strings.ToLower(base32.StdEncoding.EncodeToString(h.Sum(nil)))
	return Prefix + word + "-" + text[:hashDigits]
}

// Comment makes a comment of s that iptables-save prints and iptables-restore reads unchanged: printable ASCII
// without quotes and backslashes, at most 255 bytes. What is cut off shows as "...".
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
