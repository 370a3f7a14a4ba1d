package iptfake

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/netpol-agent/netpol-agent/internal/compiler/program"
	"github.com/netpol-agent/netpol-agent/internal/render/iptables/ruleset"
)

// Table returns as a value what the namespace has of ours in one family, so that packets can be traced through what is
// installed at any moment. The error names what this project does not write.
func (m *Model) Table(f ruleset.Family) (*ruleset.Table, error) {
	t := ruleset.NewTable(f)
	for name, lines := range m.tables[f] {
		if !strings.HasPrefix(name, ruleset.Prefix) {
			continue
		}
		c := &ruleset.Chain{Name: name}
		for _, line := range lines {
			r, err := ParseRule(line)
			if err != nil {
				return nil, fmt.Errorf("chain %s: %w", name, err)
			}
			c.Rules = append(c.Rules, r)
		}
		t.Chains[name] = c
	}
	for name, s := range m.sets {
		if !strings.HasSuffix(s.Spec, " family "+inet(f)) {
			continue
		}
		set, err := parseSet(name, s)
		if err != nil {
			return nil, fmt.Errorf("set %s: %w", name, err)
		}
		t.Sets[name] = set
	}
	return t, nil
}

func parseSet(name string, s *ruleset.SetState) (*ruleset.Set, error) {
	word, _, _ := strings.Cut(s.Spec, " ")
	typ, known := map[string]ruleset.SetType{
		"hash:ip": ruleset.HashIP, "hash:net": ruleset.HashNet, "hash:ip,port": ruleset.HashIPPort,
	}[word]
	if !known {
		return nil, fmt.Errorf("type %q is not known here", word)
	}
	set := &ruleset.Set{Name: name, Type: typ, Members: map[ruleset.Member]struct{}{}}
	for text := range s.Members {
		m, err := parseMember(text)
		if err != nil {
			return nil, err
		}
		set.Members[m] = struct{}{}
	}
	return set, nil
}

func parseMember(text string) (ruleset.Member, error) {
	addr, rest, named := strings.Cut(text, ",")
	var m ruleset.Member
	var err error
	if m.Prefix, err = parsePrefix(addr); err != nil || !named {
		return m, err
	}
	protocol, port, _ := strings.Cut(rest, ":")
	if m.Protocol, err = parseProtocol(protocol); err != nil {
		return m, err
	}
	n, err := strconv.ParseUint(port, 10, 16)
	m.Port = uint16(n)
	return m, err
}

func parsePrefix(s string) (netip.Prefix, error) {
	if strings.Contains(s, "/") {
		return netip.ParsePrefix(s)
	}
	a, err := netip.ParseAddr(s)
	if err != nil {
		return netip.Prefix{}, err
	}
	return ruleset.Host(a), nil
}

func parseProtocol(s string) (uint8, error) {
	p, known := map[string]uint8{"tcp": program.TCP, "udp": program.UDP, "sctp": program.SCTP, "ipv6-icmp": program.ICMPv6}[s]
	if !known {
		return 0, fmt.Errorf("protocol %q is not known here", s)
	}
	return p, nil
}

// ParseRule reads what the String method of ruleset.Rule writes.
func ParseRule(line string) (ruleset.Rule, error) {
	words := split(line)
	var r ruleset.Rule
	for len(words) > 0 {
		n, err := parseOption(&r, words)
		if err != nil {
			return ruleset.Rule{}, fmt.Errorf("rule %q: %w", line, err)
		}
		words = words[n:]
	}
	if r.String() != line {
		return ruleset.Rule{}, fmt.Errorf("rule %q: read as %q", line, r)
	}
	return r, nil
}

// parseOption reads the option at the start of words, and returns how many words it has.
func parseOption(r *ruleset.Rule, words []string) (n int, err error) {
	words = append(words, "", "", "") // no option lacks its arguments
	arg := words[1]
	switch words[0] {
	case "-m":
	case "-s":
		r.Src, err = parsePrefix(arg)
	case "-d":
		r.Dst, err = parsePrefix(arg)
	case "-p":
		r.Protocol, err = parseProtocol(arg)
	case "--dport", "--dports":
		r.Ports, err = parsePorts(arg)
	case "--icmpv6-type":
		var typ uint64
		typ, err = strconv.ParseUint(arg, 10, 8)
		r.ICMPv6Type = uint8(typ)
	case "--ctstate":
		r.Established = true
	case "--src-type":
		r.LocalSource = true
	case "--comment":
		r.Comment = arg
	case "!":
		if arg == "--pkt-type" {
			r.NotUnicast = true
			return 3, nil
		}
		r.NotSYN = true
		return 4, nil
	case "-i", "-o":
		r.Bridge = arg
	case "--dst-type":
		r.BroadcastDst = true
	case "--match-set":
		end := map[string]ruleset.End{"src": ruleset.Src, "dst": ruleset.Dst, "dst,dst": ruleset.DstPort}[words[2]]
		r.Sets = append(r.Sets, ruleset.SetMatch{Set: arg, End: end})
		return 3, nil
	case "-j", "-g":
		r.Target = parseTarget(words[0], arg)
	default:
		return 0, fmt.Errorf("%q is not known here", words[0])
	}
	return 2, err
}

func parsePorts(s string) ([]ruleset.PortRange, error) {
	var out []ruleset.PortRange
	for _, part := range strings.Split(s, ",") {
		first, last, isRange := strings.Cut(part, ":")
		if !isRange {
			last = first
		}
		a, err := strconv.ParseUint(first, 10, 16)
		if err != nil {
			return nil, err
		}
		b, err := strconv.ParseUint(last, 10, 16)
		if err != nil {
			return nil, err
		}
		out = append(out, ruleset.PortRange{First: uint16(a), Last: uint16(b)})
	}
	return out, nil
}

func parseTarget(option, chain string) ruleset.Target {
	switch {
	case option == "-g":
		return ruleset.Target{Kind: ruleset.Goto, Chain: chain}
	case chain == "DROP":
		return ruleset.Target{Kind: ruleset.Drop}
	case chain == "RETURN":
		return ruleset.Target{Kind: ruleset.Return}
	default:
		return ruleset.Target{Kind: ruleset.Jump, Chain: chain}
	}
}
