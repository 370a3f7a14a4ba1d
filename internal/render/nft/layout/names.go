package layout

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	"github.com/netpol-agent/netpol-agent/internal/compiler/program"
	"github.com/netpol-agent/netpol-agent/internal/render/arrange"
	"github.com/netpol-agent/netpol-agent/internal/render/nft/ruleset"
)

// digest shortens a canonical text to 80 bits, so that nobody can choose labels or names to make two collide.
func digest(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:10])
}

// policyChain names the chain with the rules of one direction of a policy.
func policyChain(d program.Direction, ref program.PolicyRef) string {
	return ruleset.Name(d.String(), ref.Namespace, ref.Name)
}

// tierParts returns the parts of the names of a tier's chain and of the chains that belong to it.
func tierParts(at arrange.Position) []string {
	c := at.Combination
	return []string{"pods", c.Direction.String(), digest(c.Meaning), fmt.Sprintf("%d.%d", at.Stack, at.Tier)}
}

// tierChain names the chain of a tier by its parts. The one where a combination begins is named after the combination
// alone.
func tierChain(at arrange.Position, parts []string) string {
	if at.Entry() {
		parts = parts[:3]
	}
	return ruleset.Name(parts...)
}

// programSet names the kernel's set for one family of a program's set.
func programSet(id program.SetID, f ruleset.Family) string {
	return ruleset.Name("pods"+suffix(f), digest(string(id)))
}
