package compare

import (
	"net/netip"
	"testing"

	"github.com/netpol-agent/netpol-agent/internal/render/nft/ruleset"
	"github.com/netpol-agent/netpol-agent/test/nft/gen"
)

func TestDifferenceIsReadable(t *testing.T) {
	a, b := gen.Every(), gen.Every()
	if d := Difference(a, b); d != "" || !Equal(a, b) {
		t.Fatalf("difference between equal rulesets:\n%s", d)
	}
	delete(b.Sets["pods4"].Elems, ruleset.Elem{A: netip.MustParseAddr("10.0.0.9")})
	b.Sets["ingress4"].Elems[ruleset.Elem{A: netip.MustParseAddr("10.0.0.1")}] = ruleset.Verdict{Kind: ruleset.Drop}
	b.Sets["web6"].Type = ruleset.Addr6
	b.Chains["forward"].Rules = b.Chains["forward"].Rules[:1]
	b.Chains["output"].Hook.Priority = 0
	delete(b.Chains, "empty")
	want := `- set ingress4: 10.0.0.1 : jump ingress/shop
+ set ingress4: 10.0.0.1 : drop
- set pods4: 10.0.0.9
- set web6 (ipv6_addr . inet_service, interval false, verdicts false, 1 elements)
+ set web6 (ipv6_addr, interval false, verdicts false, 1 elements)
- chain empty (0 rules)
- chain forward rule 1: ip daddr vmap @ingress4
- chain output hook output priority -5 (0 rules)
+ chain output hook output priority 0 (0 rules)
`
	if got := Difference(a, b); got != want || Equal(a, b) {
		t.Errorf("difference:\n%s", got)
	}
}
