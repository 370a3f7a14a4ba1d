package ruleset

import (
	"encoding/hex"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/netpol-agent/netpol-agent/internal/render/arrange"
)

const (
	// MaxComment is the longest comment in bytes that the nft tool reads back.
	MaxComment = 128
	// MaxName is the longest name in bytes that this project gives to a chain or set. The kernel's own limit is 255;
	// shorter names keep lists readable.
	MaxName = 128
	// hashDigits is the length of arrange.Digest in hexadecimal.
	hashDigits = 20
)

// Comment turns s into a comment that the nft tool can print and read again: one without quotes, control characters
// or invalid UTF-8, and of at most MaxComment bytes. A longer one is cut between characters and ends in "…".
func Comment(s string) string {
	clean := strings.Map(func(r rune) rune {
		switch {
		case r == '"':
			return '\''
		case r == utf8.RuneError:
			return '?'
		case unicode.IsControl(r), r == '\u2028', r == '\u2029':
			return ' '
		}
		return r
	}, s)
	if len(clean) <= MaxComment {
		return clean
	}
	const dots = "…"
	end := MaxComment - len(dots)
	for !utf8.RuneStart(clean[end]) {
		end--
	}
	return clean[:end] + dots
}

// Name joins parts with "/" to the name of a chain or set. Different parts have different names. If a part holds
// anything but ASCII letters, digits, "." and "-", or the name would be too long, the name shows the parts as far as
// possible, followed by "_" and a hash of all parts; no other name holds an underscore. The first part should begin
// with a letter, and there should be at least two parts, because a name of one part can be a keyword of the nft tool.
func Name(parts ...string) string {
	name := strings.Join(parts, "/")
	if len(name) <= MaxName && plainParts(parts) {
		return name
	}
	digest := arrange.Digest(parts...)
	shown := strings.Map(func(r rune) rune {
		if plainRune(r) || r == '/' {
			return r
		}
		return '.'
	}, name)
	if shown == "" || !letter(rune(shown[0])) {
		shown = "x" + shown
	}
	if limit := MaxName - hashDigits - 1; len(shown) > limit {
		shown = shown[:limit]
	}
	return shown + "_" + hex.EncodeToString(digest[:])
}

func plainParts(parts []string) bool {
	for i, p := range parts {
		if p == "" || i == 0 && !letter(rune(p[0])) {
			return false
		}
		if strings.IndexFunc(p, func(r rune) bool { return !plainRune(r) }) >= 0 {
			return false
		}
	}
	return len(parts) > 0
}

func letter(r rune) bool { return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' }

func plainRune(r rune) bool { return letter(r) || '0' <= r && r <= '9' || r == '.' || r == '-' }

// ValidName reports whether the nft tool can read name where it expects an identifier.
func ValidName(name string) bool {
	if name == "" || len(name) > MaxName || !letter(rune(name[0])) && name[0] != '_' {
		return false
	}
	return strings.IndexFunc(name, func(r rune) bool { return !plainRune(r) && r != '/' && r != '_' }) < 0
}
