package kernel

import (
	"fmt"
	"os/exec"
	"slices"
	"strings"

	"github.com/netpol-agent/netpol-agent/internal/render/iptables/ruleset"
)

// Detect returns the variant that the node's other components use, and the reason for the choice: the variant in which
// kubelet left a chain for this purpose; else the one in which others have more rules; else the one of the program with
// the plain name. Our own rules do not count. The candidates are all variants if none is given.
func Detect(candidates ...Variant) (Variant, string, error) {
	if len(candidates) == 0 {
		candidates = Variants()
	}
	rules := map[Variant]int{}
	for _, v := range candidates {
		for _, name := range []string{"iptables", "ip6tables"} {
			// Without -t the legacy program reads the tables that exist and creates none. A variant that the kernel or
			// the node does not have has no rules.
			out, err := run("", name+"-"+string(v)+"-save")
			if err != nil {
				continue
			}
			if hint := kubeletHint(out); hint != "" {
				return v, fmt.Sprintf("%s-%s has the chain %s of kubelet", name, v, hint), nil
			}
			rules[v] += foreignRules(out)
		}
	}
	switch {
	case rules[Legacy] > rules[NFT]:
		return Legacy, fmt.Sprintf("others have %d rules in iptables-legacy and %d in iptables-nft", rules[Legacy], rules[NFT]), nil
	case rules[NFT] > rules[Legacy]:
		return NFT, fmt.Sprintf("others have %d rules in iptables-nft and %d in iptables-legacy", rules[NFT], rules[Legacy]), nil
	}
	if v := plainVariant("iptables"); slices.Contains(candidates, v) {
		return v, "others have no rules, and iptables is iptables-" + string(v), nil
	}
	for _, v := range candidates {
		if _, err := exec.LookPath("iptables-" + string(v)); err == nil {
			return v, "the only one there is", nil
		}
	}
	name := "iptables"
	if len(candidates) == 1 {
		name = candidates[0].Name()
	}
	_, err := lookPath(name)
	return "", "", err
}

// kubeletHint returns the name of the chain by which kubelet shows its variant, or "".
func kubeletHint(save string) string {
	for _, line := range strings.Split(save, "\n") {
		for _, chain := range []string{"KUBE-IPTABLES-HINT", "KUBE-KUBELET-CANARY"} {
			if strings.HasPrefix(line, ":"+chain+" ") {
				return chain
			}
		}
	}
	return ""
}

func foreignRules(save string) int {
	n := 0
	for _, line := range strings.Split(save, "\n") {
		if strings.HasPrefix(line, "-A ") && !strings.Contains(line, ruleset.Prefix) {
			n++
		}
	}
	return n
}

// plainVariant asks a program which variant it is. It returns "" if there is no such program.
func plainVariant(path string) Variant {
	out, err := run("", path, "--version")
	switch {
	case err != nil:
		return ""
	case strings.Contains(out, "nf_tables"):
		return NFT
	default: // programs from before there were two variants do not name theirs
		return Legacy
	}
}
