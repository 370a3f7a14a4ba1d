package ranges

import (
	"slices"

	"github.com/netpol-agent/netpol-agent/internal/compiler/program"
)

// Ports returns the numeric entries of a list, sorted, as ranges that neither overlap nor touch.
func Ports(list []program.Port) []program.Port {
	var in, out []program.Port
	for _, p := range list {
		if p.Named == "" {
			in = append(in, p)
		}
	}
	slices.SortFunc(in, func(a, b program.Port) int {
		if a.Protocol != b.Protocol {
			return int(a.Protocol) - int(b.Protocol)
		}
		return int(a.First) - int(b.First)
	})
	for _, p := range in {
		if n := len(out); n > 0 && out[n-1].Protocol == p.Protocol && int(p.First) <= int(out[n-1].Last)+1 {
			out[n-1].Last = max(out[n-1].Last, p.Last)
			continue
		}
		out = append(out, p)
	}
	return out
}
