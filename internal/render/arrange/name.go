package arrange

import (
	"crypto/sha256"
	"encoding/binary"
)

// Digest returns a hash of parts for the name of a chain or set. Parts that differ in their borders alone have different
// hashes. It has 80 bits, so that nobody can choose labels or names whose hashes collide.
func Digest(parts ...string) [10]byte {
	h := sha256.New()
	var size [8]byte
	for _, p := range parts {
		binary.BigEndian.PutUint64(size[:], uint64(len(p)))
		h.Write(size[:])
		h.Write([]byte(p))
	}
	return [10]byte(h.Sum(nil))
}
