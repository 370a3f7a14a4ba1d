package ruleset

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/netpol-agent/netpol-agent/internal/compiler/program"
)

// jumpComment tells an operator whose rule comes first in FORWARD and OUTPUT.
const jumpComment = "NetworkPolicy: netpol-agent keeps this rule first"

// jumpGuard begins that rule. It costs a packet of a known connection one match that fails. A jump, the match in our chain
// and a return, each with a counter, cost twice as much.
const jumpGuard = "-m conntrack ! --ctstate RELATED,ESTABLISHED "

// Text returns the table as scripts: first the sets, for ipset restore, then the chains, for iptables-restore --noflush.
// Equal tables have equal texts.
func (t *Table) Text() string {
	plan := Diff(t, NewState(), nil)
	return fmt.Sprintf("# %s: ipset restore\n%s# %s: iptables-restore --noflush\n%s", t.Family, plan.Before, t.Family, plan.Restore)
}

// Text returns the text of both families.
func (r *Ruleset) Text() string { return r.V4.Text() + "\n" + r.V6.Text() }

// Jumps returns the rules that lead from the built-in chains to ours, by built-in chain.
func (t *Table) Jumps() map[string]string {
	out := map[string]string{}
	for builtin, chain := range map[string]string{"FORWARD": ChainForward, "OUTPUT": ChainOutput} {
		if t.Chains[chain] != nil {
			out[builtin] = jumpGuard + Rule{Comment: jumpComment, Target: Target{Jump, chain}}.String()
		}
	}
	return out
}

// lines returns the rules of a chain as text, without the chain's name.
func (c *Chain) lines() []string {
	out := make([]string, len(c.Rules))
	for i, r := range c.Rules {
		out[i] = r.String()
	}
	return out
}

// String returns the rule as iptables-save writes it, without the chain's name.
func (r Rule) String() string {
	var w []string
	add := func(words ...string) { w = append(w, words...) }
	if r.Src.IsValid() {
		add("-s", r.Src.String())
	}
	if r.Dst.IsValid() {
		add("-d", r.Dst.String())
	}
	if r.Bridge != "" {
		add("-i", quote(r.Bridge), "-o", quote(r.Bridge))
	}
	if r.Protocol != 0 {
		add("-p", protocolName(r.Protocol))
	}
	w = append(w, r.transportWords()...)
	if r.Established {
		add("-m", "conntrack", "--ctstate", "RELATED,ESTABLISHED")
	}
	if r.LocalSource {
		add("-m", "addrtype", "--src-type", "LOCAL")
	}
	if r.NotUnicast {
		add("-m", "pkttype", "!", "--pkt-type", "unicast")
	}
	if r.BroadcastDst {
		add("-m", "addrtype", "--dst-type", "BROADCAST")
	}
	for _, s := range r.Sets {
		add("-m", "set", "--match-set", s.Set, s.End.String())
	}
	if r.Comment != "" {
		add("-m", "comment", "--comment", quote(r.Comment))
	}
	return strings.Join(append(w, r.Target.words()...), " ")
}

func (r Rule) transportWords() []string {
	name := protocolName(r.Protocol)
	switch {
	case r.NotSYN:
		return []string{"-m", "tcp", "!", "--tcp-flags", "FIN,SYN,RST,ACK", "SYN"}
	case r.ICMPv6Type != 0:
		return []string{"-m", "icmp6", "--icmpv6-type", fmt.Sprint(r.ICMPv6Type)}
	case len(r.Ports) == 1:
		return []string{"-m", name, "--dport", r.Ports[0].String()}
	case len(r.Ports) > 1:
		parts := make([]string, len(r.Ports))
		for i, p := range r.Ports {
			parts[i] = p.String()
		}
		return []string{"-m", "multiport", "--dports", strings.Join(parts, ",")}
	}
	return nil
}

// String returns the range as the tools write it: "80" or "80:90".
func (p PortRange) String() string {
	if p.First == p.Last {
		return fmt.Sprint(p.First)
	}
	return fmt.Sprintf("%d:%d", p.First, p.Last)
}

// String returns the word that the set match uses.
func (e End) String() string {
	return [...]string{Src: "src", Dst: "dst", DstPort: "dst,dst"}[e]
}

func (t Target) words() []string {
	switch t.Kind {
	case Return:
		return []string{"-j", "RETURN"}
	case Jump:
		return []string{"-j", t.Chain}
	case Goto:
		return []string{"-g", t.Chain}
	default:
		return []string{"-j", "DROP"}
	}
}

func protocolName(p uint8) string {
	switch p {
	case program.TCP:
		return "tcp"
	case program.UDP:
		return "udp"
	case program.SCTP:
		return "sctp"
	case program.ICMPv6:
		return "ipv6-icmp"
	default:
		return fmt.Sprint(p)
	}
}

// String returns the type as ipset writes it.
func (t SetType) String() string {
	return [...]string{HashIP: "hash:ip", HashNet: "hash:net", HashIPPort: "hash:ip,port"}[t]
}

// spec is what must not differ between the installed and the desired set.
func (s *Set) spec(f Family) string {
	return s.Type.String() + " " + setWords(f)
}

// setWords returns the words in which ipset states the family of a set.
func setWords(f Family) string {
	if f == V6 {
		return "family inet6"
	}
	return "family inet"
}

// text returns the member as ipset save writes it.
func (t SetType) text(m Member) string {
	addr := prefixText(m.Prefix)
	if t == HashIPPort {
		return fmt.Sprintf("%s,%s:%d", addr, protocolName(m.Protocol), m.Port)
	}
	return addr
}

// prefixText omits the length of a full-length prefix, as ipset does.
func prefixText(p netip.Prefix) string {
	if p.IsSingleIP() {
		return p.Addr().String()
	}
	return p.String()
}

func (s *Set) texts() map[string]struct{} {
	out := make(map[string]struct{}, len(s.Members))
	for m := range s.Members {
		out[s.Type.text(m)] = struct{}{}
	}
	return out
}

// quote quotes a word if the tools would otherwise not read it as one.
func quote(s string) string {
	plain := strings.IndexFunc(s, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("_-.,:/!+=", r))
	}) < 0
	if plain && s != "" {
		return s
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}
