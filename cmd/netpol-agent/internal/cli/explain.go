package cli

import (
	"cmp"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/netpol-agent/netpol-agent/internal/compiler"
	"github.com/netpol-agent/netpol-agent/internal/compiler/evaluator"
	"github.com/netpol-agent/netpol-agent/internal/compiler/program"
)

// explainFlags are the question.
type explainFlags struct {
	files          fileFlags
	kubeconfig     string
	context        string
	timeout        time.Duration
	from, to, port string
	protocol       *choice
	output         *choice
	exitCode       bool
}

func newExplain() *cobra.Command {
	var f explainFlags
	cmd := &cobra.Command{
		Use:   "explain --from POD|IP --to POD|IP [--port PORT] [-f FILE|DIR|- ...]",
		Short: "Tell whether one end reaches another, and which policies decide that",
		Long: `explain judges a new connection as the nodes at both ends would: the source's egress and the destination's
ingress must both allow it. It tells which rule allows it, or which policies isolate the pod and why none of their
rules matches.

The objects come from files, or, without -f, from the cluster that the kubeconfig names. An end is a pod, written
namespace/name, or an IP address. To ask about a Service, name a pod behind it and the port on the pod: policies
see the packet after the Service's address was replaced.

Exit status: 0 whatever the answer is; with --exit-code, 3 if the connection is denied. 1 if there is no answer, or
if files could not be read completely.`,
		Example: `  # does web reach api on its port named http, by the policies of a directory?
  netpol-agent explain --from shop/web --to shop/api --port http -f policies/ -f pods.yaml

  # does an address outside reach it, in the cluster of the present context?
  netpol-agent explain --from 203.0.113.7 --to shop/api --port 8080

  # in a script
  netpol-agent explain --exit-code --from shop/web --to shop/db --port 5432 -f . && echo the database is open`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd) },
	}
	f.files.add(cmd, "file or directory with Kubernetes objects, - for standard input; may be repeated")
	flags := cmd.Flags()
	flags.StringVar(&f.kubeconfig, "kubeconfig", "", "kubeconfig file of the cluster to ask, if no -f is given")
	flags.StringVar(&f.context, "context", "", "context of the kubeconfig")
	flags.DurationVar(&f.timeout, "request-timeout", 30*time.Second, "longest time to wait for the cluster")
	flags.StringVar(&f.from, "from", "", "who connects: namespace/pod or IP address")
	flags.StringVar(&f.to, "to", "", "to whom: namespace/pod or IP address")
	flags.StringVar(&f.port, "port", "", "destination port: a number, or a name that the destination pod gives it")
	flags.BoolVar(&f.exitCode, "exit-code", false, "end with status 3 if the connection is denied")
	f.protocol = choiceFlag(cmd, "protocol", "", "protocol", "TCP", "UDP", "SCTP", "ICMP")
	f.output = outputFlag(cmd)
	for _, name := range []string{"from", "to", "port", "context"} {
		complete(cmd, name)
	}
	return cmd
}

func (f *explainFlags) run(cmd *cobra.Command) error {
	if err := f.validate(); err != nil {
		return err
	}
	objs, err := f.objects(cmd)
	if err != nil {
		return err
	}
	answer, err := f.answer(objs)
	if err != nil {
		return err
	}
	c := answer.compiler
	objs.tellDiagnostics(cmd, answer.relevant(c.Diagnostics()))
	if f.output.value == outputJSON {
		err = printJSON(cmd.OutOrStdout(), answer)
	} else {
		answer.write(cmd.OutOrStdout(), objs)
	}
	if err == nil {
		err = objs.incomplete()
	}
	if err == nil && f.exitCode && answer.Verdict != allowed {
		return statusError(exitDenied)
	}
	return err
}

func (f *explainFlags) validate() error {
	switch {
	case f.from == "":
		return usagef("say who connects, with --from")
	case f.to == "":
		return usagef("say to whom, with --to")
	case f.port == "" && f.protocol.value != "ICMP":
		return usagef("give the destination port with --port, or ask about --protocol ICMP")
	case f.port != "" && f.protocol.value == "ICMP":
		return usagef("ICMP has no ports")
	case len(f.files.paths) > 0 && f.kubeconfig+f.context != "":
		return usagef("either files (-f) or a cluster (--kubeconfig, --context)")
	}
	return nil
}

func (f *explainFlags) objects(cmd *cobra.Command) (*objects, error) {
	if len(f.files.paths) > 0 {
		return f.files.load(cmd)
	}
	return fromCluster(cmd.Context(), f.kubeconfig, f.context, f.timeout)
}

const (
	allowed = "allowed"
	denied  = "denied"
	// partly is the verdict on dual-stack pods whose address families differ.
	partly = "partly allowed"
)

// answer is what explain prints.
type answer struct {
	// Verdict over all pairs: allowed, denied, or partly allowed.
	Verdict  string `json:"verdict"`
	From     string `json:"from"`
	To       string `json:"to"`
	Protocol string `json:"protocol"`
	Port     uint16 `json:"port,omitempty"`
	Pairs    []pair `json:"pairs"`

	compiler *compiler.Compiler
}

// pair is the answer for one source and one destination address.
type pair struct {
	From    netip.Addr `json:"from"`
	To      netip.Addr `json:"to"`
	Verdict string     `json:"verdict"`
	// Egress and Ingress name the policies that isolate the source, or the destination, and the rules that
	// allow the connection; absent if nobody judges that end.
	Egress  *side `json:"egress,omitempty"`
	Ingress *side `json:"ingress,omitempty"`
	// Reasons say the same for people.
	Reasons []string `json:"reasons"`
}

// side is one end's part of an answer.
type side struct {
	Allowed    bool     `json:"allowed"`
	IsolatedBy []string `json:"isolatedBy"`
	AllowedBy  []string `json:"allowedBy"`
}

// answer judges each pair of addresses of one family.
func (f *explainFlags) answer(objs *objects) (*answer, error) {
	c := objs.compile("")
	from, err := objs.findEnd(c, f.from, f.files.namespace)
	if err != nil {
		return nil, fmt.Errorf("--from: %w", err)
	}
	to, err := objs.findEnd(c, f.to, f.files.namespace)
	if err != nil {
		return nil, fmt.Errorf("--to: %w", err)
	}
	a := &answer{From: from.name, To: to.name, Protocol: f.protocol.value, compiler: c}
	if a.Port, err = f.portOf(to); err != nil {
		return nil, err
	}
	c.SetNodeAddrs(append(objs.nodeAddrs(from), objs.nodeAddrs(to)...))
	for _, src := range from.addrs {
		for _, dst := range to.addrs {
			if src.Is4() == dst.Is4() {
				a.Pairs = append(a.Pairs, judgePair(c.Program(), f.packet(src, dst, a.Port)))
			}
		}
	}
	if len(a.Pairs) == 0 {
		return nil, fmt.Errorf("%s and %s have no IP family in common", from.name, to.name)
	}
	a.Verdict = a.Pairs[0].Verdict
	for _, p := range a.Pairs {
		if p.Verdict != a.Verdict {
			a.Verdict = partly
		}
	}
	return a, nil
}

func (f *explainFlags) packet(src, dst netip.Addr, port uint16) evaluator.Packet {
	pkt := evaluator.Packet{Src: src, Dst: dst, DstPort: port}
	switch f.protocol.value {
	case "UDP":
		pkt.Protocol = program.UDP
	case "SCTP":
		pkt.Protocol = program.SCTP
	case "ICMP":
		pkt.Protocol = program.ICMP
		if dst.Is6() {
			const echoRequest = 128
			pkt.Protocol, pkt.ICMPv6Type = program.ICMPv6, echoRequest
		}
	default:
		pkt.Protocol = program.TCP
	}
	return pkt
}

func judgePair(p *program.Program, pkt evaluator.Packet) pair {
	r := evaluator.Evaluate(p, pkt)
	out := pair{
		From: pkt.Src, To: pkt.Dst, Verdict: denied, Reasons: r.Reasons(),
		Egress: sideOf(r.Egress), Ingress: sideOf(r.Ingress),
	}
	if r.Verdict == program.Accept {
		out.Verdict = allowed
	}
	return out
}

func sideOf(j *evaluator.Judgement) *side {
	if j == nil {
		return nil
	}
	s := &side{Allowed: j.Accepts(), IsolatedBy: []string{}, AllowedBy: []string{}}
	for _, st := range j.Stacks {
		for _, p := range st.Policies {
			s.IsolatedBy = append(s.IsolatedBy, string(p))
		}
		if st.By != nil && st.Verdict == program.Accept {
			s.AllowedBy = append(s.AllowedBy, st.By.String())
		}
	}
	return s
}

// policies lists the policies that isolate either end, in order of first mention.
func (a *answer) policies() []string {
	var out []string
	seen := map[string]bool{}
	for _, p := range a.Pairs {
		for _, s := range []*side{p.Egress, p.Ingress} {
			if s == nil {
				continue
			}
			for _, name := range s.IsolatedBy {
				if !seen[name] {
					seen[name] = true
					out = append(out, name)
				}
			}
		}
	}
	return out
}

// relevant gives the diagnostics of policies that isolate either end.
func (a *answer) relevant(all []compiler.Diagnostic) []compiler.Diagnostic {
	names := map[string]bool{}
	for _, name := range a.policies() {
		names[name] = true
	}
	var out []compiler.Diagnostic
	for _, d := range all {
		if names[d.Namespace+"/"+d.Policy] {
			out = append(out, d)
		}
	}
	return out
}

// write prints the answer for people.
func (a *answer) write(w io.Writer, objs *objects) {
	port := ""
	if a.Protocol != "ICMP" {
		port = fmt.Sprintf(" %d", a.Port)
	}
	fmt.Fprintf(w, "%s: %s -> %s, %s%s\n", strings.ToUpper(a.Verdict), a.From, a.To, a.Protocol, port)
	for _, p := range a.Pairs {
		fmt.Fprintf(w, "  %s -> %s: %s\n", p.From, p.To, p.Verdict)
		for _, reason := range p.Reasons {
			fmt.Fprintf(w, "    %s\n", reason)
		}
	}
	a.writePlaces(w, objs)
}

// writePlaces tells in which files the policies stand that decided.
func (a *answer) writePlaces(w io.Writer, objs *objects) {
	heading := "  the policies stand in\n"
	for _, name := range a.policies() {
		if place := objs.place(name); place != "" {
			fmt.Fprintf(w, "%s    %s: %s\n", heading, name, place)
			heading = ""
		}
	}
}

// place gives file and line of a policy ("namespace/name"), or nothing if it came from a cluster.
func (o *objects) place(policy string) string {
	if o.source == nil {
		return ""
	}
	file, line, _, ok := o.source.Find(policyRef(policy), "")
	if !ok {
		return ""
	}
	return fmt.Sprintf("%s:%d", file, cmp.Or(line, 1))
}
