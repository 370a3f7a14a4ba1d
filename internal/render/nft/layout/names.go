package layout

import (
	"crypto/sha256"
	"encoding/hex"

	"github.com/netpol-agent/netpol-agent/internal/compiler/program"
	"github.com/netpol-agent/netpol-agent/internal/render/nft/ruleset"
)

// digest shortens a canonical text to 80 bits, so that nobody who chooses labels or names can make two meet.
func digest(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:10])
}

// policyChain names the chain with one policy's rules of one direction.
func policyChain(d program.Direction, p *program.Policy) string {
	return ruleset.Name(d.String(), p.Namespace, p.Name)
}

// targetChain names the chain of the pods that one combination of policies isolates.
func targetChain(d program.Direction, key string) string {
	return ruleset.Name("pods", d.String(), digest(key))
}

// programSet names the kernel's set for one family of a program's set.
func programSet(id program.SetID, f ruleset.Family) string {
	return ruleset.Name("pods"+suffix(f), digest(string(id)))
}
