package cli

import (
	"cmp"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/netpol-agent/netpol-agent/internal/compiler"
	"github.com/netpol-agent/netpol-agent/internal/compiler/evaluator"
	"github.com/netpol-agent/netpol-agent/internal/compiler/program"
	"github.com/netpol-agent/netpol-agent/internal/manifest"
)

// explainFlags are the flags of explain: the question.
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
		Short: "Show whether a connection would pass, and which policies decide that",
		Long: `explain judges a new connection as the agents of both ends would: the egress of the source and the ingress of the
destination must both allow it. The answer names the rule that allows it, or the policies that isolate the pod and
why none of their rules matches.

Each end is a pod, written namespace/name, or an IP address. To ask about a Service, name a pod behind it and the port
on the pod: policies see the packet after kube-proxy has replaced the Service's address.

The objects come from the cluster that the kubeconfig names, or from files with -f.

Exit status: 0 if there is an answer; with --exit-code, 3 if it is not "allowed". 1 if there is no answer, or if files
could not be read completely.`,
		Example: `  # does web reach api, in the cluster of the current context?
  netpol-agent explain --from shop/web --to shop/api --port 8080

  # does an address outside the cluster reach it?
  netpol-agent explain --from 203.0.113.7 --to shop/api --port 8080

  # the same for objects in files, and a port that api names
  netpol-agent explain --from shop/web --to shop/api --port http -f policies/ -f pods.yaml

  # in a script
  netpol-agent explain --exit-code --from shop/web --to shop/db --port 5432 -f . && echo the database is open`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd) },
	}
	f.files.add(cmd, "file or directory with Kubernetes objects, - for standard input; may be repeated")
	flags := cmd.Flags()
	flags.StringVar(&f.kubeconfig, "kubeconfig", "", "kubeconfig file of the cluster to ask")
	flags.StringVar(&f.context, "context", "", "context of the kubeconfig")
	flags.DurationVar(&f.timeout, "request-timeout", 30*time.Second, "time limit for each request to the cluster")
	flags.StringVar(&f.from, "from", "", "source: namespace/pod or IP address")
	flags.StringVar(&f.to, "to", "", "destination: namespace/pod or IP address")
	flags.StringVar(&f.port, "port", "", "destination port: a number, or its name on the destination pod")
	flags.BoolVar(&f.exitCode, "exit-code", false, "exit with status 3 if the connection is not allowed")
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
		return usagef("--from is missing: give the pod or IP address that connects")
	case f.to == "":
		return usagef("--to is missing: give the pod or IP address to connect to")
	case f.port == "" && f.protocol.value != "ICMP":
		return usagef("--port is missing: give the destination port, or use --protocol ICMP")
	case f.port != "" && f.protocol.value == "ICMP":
		return usagef("ICMP has no ports: leave out --port, or use another --protocol")
	case len(f.files.paths) > 0 && f.kubeconfig+f.context != "":
		return usagef("use either files (-f) or a cluster (--kubeconfig, --context), not both")
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
	// partly is the verdict if some pairs of addresses are allowed and others are denied.
	partly = "partly allowed"
)

// answer is what explain prints.
type answer struct {
	// Verdict is that of all pairs: allowed, denied, or partly allowed.
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
	// Egress and Ingress name the policies that isolate the source and the destination, and the rules that allow the
	// connection. They are absent for an end that no agent judges.
	Egress  *side `json:"egress,omitempty"`
	Ingress *side `json:"ingress,omitempty"`
	// Reasons say the same in words.
	Reasons []string `json:"reasons"`
}

// side is one end's part of an answer.
type side struct {
	Allowed    bool                `json:"allowed"`
	IsolatedBy []program.PolicyRef `json:"isolatedBy"`
	AllowedBy  []string            `json:"allowedBy"`
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
	s := &side{Allowed: j.Accepts(), IsolatedBy: []program.PolicyRef{}, AllowedBy: []string{}}
	for _, st := range j.Stacks {
		s.IsolatedBy = append(s.IsolatedBy, st.Policies...)
		if st.By != nil && st.Verdict == program.Accept {
			s.AllowedBy = append(s.AllowedBy, st.By.String())
		}
	}
	return s
}

// policies returns the policies that isolate either end, in the order in which the answer names them.
func (a *answer) policies() []program.PolicyRef {
	var out []program.PolicyRef
	for _, p := range a.Pairs {
		for _, s := range []*side{p.Egress, p.Ingress} {
			if s == nil {
				continue
			}
			for _, ref := range s.IsolatedBy {
				if !slices.Contains(out, ref) {
					out = append(out, ref)
				}
			}
		}
	}
	return out
}

// relevant returns the diagnostics of policies that isolate either end.
func (a *answer) relevant(all []compiler.Diagnostic) []compiler.Diagnostic {
	policies := a.policies()
	return slices.DeleteFunc(all, func(d compiler.Diagnostic) bool { return !slices.Contains(policies, d.Policy) })
}

// write prints the answer as text.
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

// writePlaces prints the files and lines of the policies that isolate either end.
func (a *answer) writePlaces(w io.Writer, objs *objects) {
	heading := "  the policies are defined in\n"
	for _, ref := range a.policies() {
		if place := objs.place(ref); place != "" {
			fmt.Fprintf(w, "%s    %s: %s\n", heading, ref, place)
			heading = ""
		}
	}
}

// place returns the file and line of a policy, or nothing if it came from a cluster.
func (o *objects) place(ref program.PolicyRef) string {
	if o.source == nil {
		return ""
	}
	file, line, _, ok := o.source.Find(manifest.PolicyRef(ref.Namespace, ref.Name), "")
	if !ok {
		return ""
	}
	return fmt.Sprintf("%s:%d", file, cmp.Or(line, 1))
}
