package kernel

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/netpol-agent/netpol-agent/internal/compiler/evaluator"
	"github.com/netpol-agent/netpol-agent/internal/compiler/program"
	"github.com/netpol-agent/netpol-agent/test/kernel/lab"
	"github.com/netpol-agent/netpol-agent/test/oracle"
)

//go:embed testdata/base.yaml
var baseYAML string

// patience is how long an allowed exchange may take before it counts as lost.
const patience = 10 * time.Second

// hosts are ends of packets that are not pods, by the names that the tests use.
var hosts = map[string][]netip.Addr{
	"node":       {lab.Bridge[0].Addr(), lab.Bridge[1].Addr()},
	"uplink":     {lab.Uplink[0].Addr(), lab.Uplink[1].Addr()},
	"tunnel":     {lab.Tunnel[0].Addr(), lab.Tunnel[1].Addr()},
	"other-node": {lab.OtherNode[0].Addr(), lab.OtherNode[1].Addr()},
	"internet":   addrs("192.0.2.10", "2001:db8::10"),
	"net-1":      addrs("172.17.1.5", "2001:db8:17:1::5"),
	"net-2":      addrs("172.17.2.5", "2001:db8:17:2::5"),
}

func addrs(texts ...string) []netip.Addr {
	out := make([]netip.Addr, len(texts))
	for i, s := range texts {
		out[i] = netip.MustParseAddr(s)
	}
	return out
}

// world is a lab whose node runs the agent.
type world struct {
	*agent
	lab     *lab.Lab
	witness *lab.Witness
}

func newWorld(t testing.TB) *world {
	t.Helper()
	l := lab.New(t)
	w := &world{lab: l, witness: l.Witness()}
	w.agent = newAgent(t, l)
	return w
}

// begin starts a row: the agent starts anew with the base objects and those of the row, and all packets and connections
// of earlier rows are forgotten.
func (w *world) begin(t testing.TB, objects string) {
	t.Helper()
	w.agent.t = t
	w.restart()
	w.tell(baseYAML)
	w.tell(objects)
	w.settle(t)
}

// settle commits what the agent was told, attaches pods that are not attached yet, and forgets packets and connections.
func (w *world) settle(t testing.TB) {
	t.Helper()
	w.commit()
	w.attach()
	w.lab.Node.FlushConntrack(t)
	w.witness.Reset()
}

// attach attaches every pod of this node to its bridge.
func (w *world) attach() {
	for name, p := range w.pods {
		list := podAddrs(p)
		if p.Spec.NodeName != thisNode || p.Spec.HostNetwork || len(list) == 0 || w.lab.Attached(list[0]) {
			continue
		}
		w.lab.Pod(name, list...)
	}
}

// row is one case: objects beside the base ones, and what happens to packets.
type row struct {
	name    string
	objects string
	probes  []probe
}

// runRows plays rows one after another in one world.
func runRows(t *testing.T, rows []row) {
	t.Helper()
	w := newWorld(t)
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			w.begin(t, r.objects)
			w.probe(t, r.probes...)
		})
	}
}

// policy returns a NetworkPolicy's YAML from "namespace/name" and the lines of its spec.
func policy(name, spec string) string {
	ns, name, _ := strings.Cut(name, "/")
	return fmt.Sprintf("apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: %s, namespace: %s}\nspec:\n  %s\n---\n",
		name, ns, strings.ReplaceAll(strings.TrimSpace(spec), "\n", "\n  "))
}

// probe is an attempt to open a flow, and whether it should succeed.
type probe struct {
	from, to, what string
	// via, if set, is where the source sends to; a Service turns it into "to".
	via  string
	pass bool
}

// allow and deny return probes. from and to are a pod's "namespace/name", a name of hosts, or an address. what is
// "tcp/80", "udp/53", "sctp/9999" or "icmp", for both families if both ends have both, or "tcp4/80" for one of them.
func allow(from, to, what string) probe { return probe{from: from, to: to, what: what, pass: true} }

func deny(from, to, what string) probe { return probe{from: from, to: to, what: what} }

// flow is a probe of one family.
type flow struct {
	probe
	protocol uint8
	// src has the number that identifies the flow; dst is judged, sent is where the source sends to.
	src, dst, sent netip.AddrPort
}

func (f flow) String() string {
	verb := "must not reach"
	if f.pass {
		verb = "must reach"
	}
	s := fmt.Sprintf("%s %s %s on %s (%s > %s)", f.from, verb, f.to, f.what, f.src.Addr(), f.dst)
	if f.via != "" {
		s += " via " + f.via
	}
	return s
}

func (f flow) is(p *lab.Packet) bool {
	return p.Src == f.src.Addr() && p.SrcPort == f.src.Port() && p.Protocol == f.protocol
}

// packet returns the flow's first packet as policies see it.
func (f flow) packet() oracle.Packet {
	p := oracle.Packet{Src: f.src.Addr(), Dst: f.dst.Addr(), Protocol: f.protocol, DstPort: f.dst.Port()}
	if f.protocol == lab.ICMPv6 {
		p.ICMPv6Type = 128
	}
	return p
}

// probe sends all probes at once and compares all readings with the expected verdicts.
func (w *world) probe(t *testing.T, probes ...probe) {
	t.Helper()
	var flows []flow
	for _, p := range probes {
		flows = append(flows, w.flows(t, p)...)
	}
	for _, f := range flows {
		w.compare(t, f)
	}
	var wg sync.WaitGroup
	for _, f := range flows {
		w.lab.Home(f.src.Addr())
		w.lab.Home(f.dst.Addr())
		if err := w.lab.Serve(f.protocol, f.dst); err != nil {
			t.Fatalf("%s: serve: %v", f, err)
		}
	}
	for _, f := range flows {
		wg.Go(func() {
			if err := w.play(t.Context(), f); err != nil {
				t.Errorf("%s: %v", f, err)
				w.witness.Dump(t, f.is)
			}
		})
	}
	wg.Wait()
	for _, f := range flows {
		if s, err := w.witness.Count(f.is); err != nil || !f.pass && s.After > 0 {
			t.Errorf("%s: in the end the witness saw %+v, %v", f, s, err)
		}
	}
}

// play sends a flow through the kernel.
func (w *world) play(ctx context.Context, f flow) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if f.pass {
		if err := w.lab.Exchange(ctx, f.protocol, f.src, f.sent); err != nil {
			return fmt.Errorf("no answer: %w", err)
		}
		return nil
	}
	done := make(chan error, 1)
	sending, stop := context.WithCancel(ctx)
	defer stop()
	go func() { done <- w.lab.Exchange(sending, f.protocol, f.src, f.sent) }()
	seen, err := w.witness.Await(ctx, 1, f.is)
	stop()
	switch answered := <-done; {
	case answered == nil:
		return errors.New("it was answered")
	case err != nil:
		return fmt.Errorf("%w; the sender reports: %w", err, answered)
	case seen.After > 0:
		return fmt.Errorf("%d of %d packets passed", seen.After, seen.Before)
	}
	return nil
}

// compare compares the readings that need no packet with the expected verdict.
func (w *world) compare(t *testing.T, f flow) {
	t.Helper()
	for name, got := range w.readings(f.packet()) {
		if got.pass != f.pass {
			t.Errorf("%s: the %s disagrees:\n%s", f, name, got.why)
		}
	}
}

// reading is what one of the readings says about a packet, and why.
type reading struct {
	pass bool
	why  string
}

func (w *world) readings(p oracle.Packet) map[string]reading {
	s := w.state()
	out := map[string]reading{"oracle": {oracle.AllowedAt(s, thisNode, p), fmt.Sprintf("%+v", oracle.JudgeAt(s, thisNode, p))}}
	res := evaluator.Evaluate(w.comp.Program(), evaluator.Packet(p))
	out["evaluator"] = reading{res.Verdict == program.Accept, strings.Join(res.Reasons(), "\n")}
	if w.isNode(p.Dst) {
		return out // such packets pass the input hook, where there are no rules
	}
	pass, why := w.backend.trace(w.comp.Program(), tracedPacket{
		src: p.Src, dst: p.Dst, protocol: p.Protocol, dstPort: p.DstPort, icmpType: p.ICMPv6Type,
		output: w.isNode(p.Src), local: w.isNode(p.Src),
	})
	out["trace"] = reading{pass, why}
	return out
}

func (w *world) isNode(a netip.Addr) bool {
	for _, n := range w.nodeAddrs {
		if n == a {
			return true
		}
	}
	return false
}

// flows returns a probe's flows, one for each family.
func (w *world) flows(t *testing.T, p probe) []flow {
	t.Helper()
	protocol, v4, v6, port := parseWhat(t, p.what)
	var out []flow
	for _, src := range w.end(t, p.from) {
		for _, dst := range w.end(t, p.to) {
			if src.Is4() != dst.Is4() || src.Is4() && !v4 || src.Is6() && !v6 {
				continue
			}
			f := flow{probe: p, protocol: protocol, src: netip.AddrPortFrom(src, w.lab.ID()), dst: netip.AddrPortFrom(dst, port)}
			if f.sent = f.dst; p.via != "" {
				f.sent = netip.MustParseAddrPort(p.via)
			}
			if protocol == lab.ICMP && src.Is6() {
				f.protocol = lab.ICMPv6
			}
			out = append(out, f)
		}
	}
	if len(out) == 0 {
		t.Fatalf("%+v: no address of a common family", p)
	}
	return out
}

// end returns the addresses of a probe's end.
func (w *world) end(t *testing.T, name string) []netip.Addr {
	t.Helper()
	if list, ok := hosts[name]; ok {
		return list
	}
	if p := w.pods[name]; p != nil {
		return podAddrs(p)
	}
	a, err := netip.ParseAddr(name)
	if err != nil {
		t.Fatalf("%q is neither pod, host nor address", name)
	}
	return []netip.Addr{a}
}

func parseWhat(t *testing.T, what string) (protocol uint8, v4, v6 bool, port uint16) {
	t.Helper()
	name, number, _ := strings.Cut(what, "/")
	if number != "" {
		n, err := strconv.ParseUint(number, 10, 16)
		if err != nil {
			t.Fatalf("%q: %v", what, err)
		}
		port = uint16(n)
	}
	v4, v6 = !strings.HasSuffix(name, "6"), !strings.HasSuffix(name, "4")
	protocol, ok := map[string]uint8{"tcp": lab.TCP, "udp": lab.UDP, "sctp": lab.SCTP, "icmp": lab.ICMP}[strings.TrimRight(name, "46")]
	if !ok || (port == 0) != (protocol == lab.ICMP) {
		t.Fatalf("%q: unknown kind of probe", what)
	}
	return protocol, v4, v6, port
}

// change tells the agent about a pod that differs from its current state.
func (w *world) change(name string, f func(*corev1.Pod)) {
	p := w.pods[name].DeepCopy()
	f(p)
	w.setPod(p)
}
