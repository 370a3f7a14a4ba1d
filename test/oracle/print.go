package oracle

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"
)

// GoString returns the state as YAML documents, node addresses as comments, for the message of a failed property.
func (s State) GoString() string {
	var b strings.Builder
	b.WriteByte('\n')
	for _, node := range slices.Sorted(maps.Keys(s.NodeAddrs)) {
		fmt.Fprintf(&b, "# node %s: %v\n", node, s.NodeAddrs[node])
	}
	for _, o := range s.Namespaces {
		document(&b, "v1", "Namespace", o)
	}
	for _, o := range s.Pods {
		document(&b, "v1", "Pod", o)
	}
	for _, o := range s.Policies {
		document(&b, "networking.k8s.io/v1", "NetworkPolicy", o)
	}
	return b.String()
}

// document appends one object as a YAML document; objects in memory do not carry their own type.
func document(b *strings.Builder, apiVersion, kind string, object any) {
	text, err := yaml.Marshal(object)
	if err != nil {
		text = fmt.Appendf(nil, "# cannot be printed: %v\n", err)
	}
	fmt.Fprintf(b, "---\napiVersion: %s\nkind: %s\n%s", apiVersion, kind, text)
}

// GoString returns the packet as one line, for the message of a failed property.
func (p Packet) GoString() string {
	if p.Bridge != "" {
		on := p.Bridge
		p.Bridge = ""
		return p.GoString() + " on " + on
	}
	switch p.Protocol {
	case TCP, UDP, SCTP:
		name := map[uint8]string{TCP: "tcp", UDP: "udp", SCTP: "sctp"}[p.Protocol]
		return fmt.Sprintf("%s -> %s %s/%d", p.Src, p.Dst, name, p.DstPort)
	case ICMPv6:
		return fmt.Sprintf("%s -> %s icmpv6 type %d", p.Src, p.Dst, p.ICMPv6Type)
	default:
		return fmt.Sprintf("%s -> %s ip protocol %d", p.Src, p.Dst, p.Protocol)
	}
}

// String returns the same as GoString.
func (p Packet) String() string { return p.GoString() }
