package ruleset

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/netpol-agent/netpol-agent/internal/compiler/program"
)

// Table gives what the namespace has of ours in one family as a value, so that packets can be traced through
// what is installed at any moment. The error names what this project does not write.
func (m *Model) Table(f Family) (*Table, error) {
	t := NewTable(f)
	for name, lines := range m.tables[f] {
		if !strings.HasPrefix(name, Prefix) {
			continue
		}
		c := &Chain{Name: name}
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
		set, err := s.parse(name, f)
		if err != nil {
			return nil, fmt.Errorf("set %s: %w", name, err)
		}
		if set != nil {
			t.Sets[name] = set
		}
	}
	return t, nil
}

// parse gives the set as a value, or nil if it is of the other family.
func (s *SetState) parse(name string, f Family) (*Set, error) {
	for _, typ := range []SetType{HashIP, HashNet, HashIPPort} {
		set := &Set{Name: name, Type: typ, Members: map[Member]struct{}{}}
		if set.spec(f) != s.Spec {
			continue
		}
		for text := range s.Members {
			m, err := parseMember(text)
			if err != nil {
				return nil, err
			}
			set.Members[m] = struct{}{}
		}
		return set, nil
	}
	return nil, nil //nolint:nilnil // a set of the other family is no error
}

func parseMember(text string) (Member, error) {
	addr, rest, named := strings.Cut(text, ",")
	var m Member
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
	return Host(a), nil
}

func parseProtocol(s string) (uint8, error) {
	for _, p := range []uint8{program.TCP, program.UDP, program.SCTP, program.ICMPv6} {
		if protocolName(p) == s {
			return p, nil
		}
	}
	return 0, fmt.Errorf("protocol %q is not known here", s)
}

// ParseRule reads what Rule.String writes.
func ParseRule(line string) (Rule, error) {
	words, err := split(line)
	if err != nil {
		return Rule{}, err
	}
	var r Rule
	for len(words) > 0 {
		n, err := r.parseOption(words)
		if err != nil {
			return Rule{}, fmt.Errorf("rule %q: %w", line, err)
		}
		words = words[n:]
	}
	if r.String() != line {
		return Rule{}, fmt.Errorf("rule %q: read as %q", line, r)
	}
	return r, nil
}

// parseOption reads the option that the words begin with and gives how many words it has.
func (r *Rule) parseOption(words []string) (n int, err error) {
	words = append(words, "", "", "") // so that no option lacks its arguments
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
		end := map[string]End{"src": Src, "dst": Dst, "dst,dst": DstPort}[words[2]]
		r.Sets = append(r.Sets, SetMatch{arg, end})
		return 3, nil
	case "-j", "-g":
		r.Target = parseTarget(words[0], arg)
	default:
		return 0, fmt.Errorf("%q is not known here", words[0])
	}
	return 2, err
}

func parsePorts(s string) ([]PortRange, error) {
	var out []PortRange
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
		out = append(out, PortRange{uint16(a), uint16(b)})
	}
	return out, nil
}

func parseTarget(option, chain string) Target {
	switch {
	case option == "-g":
		return Target{Goto, chain}
	case chain == "DROP":
		return Target{Kind: Drop}
	case chain == "RETURN":
		return Target{Kind: Return}
	default:
		return Target{Jump, chain}
	}
}
