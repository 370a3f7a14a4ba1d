package evaluator

import (
	"fmt"
	"strings"

	"github.com/netpol-agent/netpol-agent/internal/compiler/program"
)

// String returns the place of the rule as an operator finds it in the object:
// "production/allow-frontend ingress[0]".
func (r RuleRef) String() string { return fmt.Sprintf("%s %s[%d]", r.Policy, r.Direction, r.Index) }

// String describes which part of the rule did not match.
func (m Miss) String() string {
	what := "peer and port do not match"
	switch {
	case !m.Port:
		what = "the port matches, the peer does not"
	case !m.Peer:
		what = "the peer matches, the port does not"
	}
	return m.RuleRef.String() + ": " + what
}

// Reasons returns the reasons for the verdict, one line each, the source's end first.
func (r Result) Reasons() []string {
	if r.Exempt != "" {
		return []string{r.Exempt}
	}
	if r.Nameless != "" {
		return []string{r.Nameless}
	}
	var out []string
	for _, j := range []*Judgement{r.Egress, r.Ingress} {
		if j != nil {
			out = append(out, j.reasons()...)
		}
	}
	if len(out) == 0 {
		out = append(out, "neither end is a pod that this node judges")
	}
	return out
}

func (j *Judgement) reasons() []string {
	who := strings.Join(j.Pods, " and ")
	if !j.Isolated() {
		return []string{fmt.Sprintf("%s of %s: no policy isolates it", j.Direction, who)}
	}
	var out []string
	for _, s := range j.Stacks {
		out = append(out, s.reasons(j.Direction, who)...)
	}
	return out
}

func (s *StackAnswer) reasons(d program.Direction, who string) []string {
	prefix := fmt.Sprintf("%s of %s: ", d, who)
	if s.By != nil {
		return []string{fmt.Sprintf("%s%sed by %s", prefix, verb(s.Verdict), s.By)}
	}
	if s.Verdict == program.Accept {
		return []string{prefix + "every tier passes it on"}
	}
	names := make([]string, len(s.Policies))
	for i, p := range s.Policies {
		names[i] = p.String()
	}
	out := []string{fmt.Sprintf("%sdenied: isolated by %s, and no rule allows it", prefix, strings.Join(names, ", "))}
	for _, m := range s.Misses {
		out = append(out, "  "+m.String())
	}
	if len(s.Misses) == 0 {
		they := "they have"
		if len(s.Policies) == 1 {
			they = "it has"
		}
		out = append(out, fmt.Sprintf("  %s no %s rule at all", they, d))
	}
	return out
}

func verb(v program.Verdict) string {
	if v == program.Accept {
		return "allow"
	}
	return "deni"
}
