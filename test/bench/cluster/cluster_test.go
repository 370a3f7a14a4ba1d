package cluster

import (
	"net/netip"
	"testing"

	"github.com/netpol-agent/netpol-agent/internal/compiler"
	"github.com/netpol-agent/netpol-agent/internal/compiler/evaluator"
	"github.com/netpol-agent/netpol-agent/internal/compiler/program"
)

var standard = Size{Namespaces: 100, Pods: 10000, Policies: 1000, Local: 100, LocalNamespaces: 40}

func compile(c *Cluster) *compiler.Compiler {
	comp := compiler.New(compiler.Options{Node: Node})
	for _, ns := range c.Namespaces {
		comp.SetNamespace(ns)
	}
	for _, p := range c.Pods {
		comp.SetPod(p)
	}
	for _, np := range c.Policies {
		comp.SetPolicy(np)
	}
	return comp
}

func mustNew(t *testing.T, s Size) *Cluster {
	t.Helper()
	c, err := New(s)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestClusterHasTheSizeAskedFor(t *testing.T) {
	c := mustNew(t, standard)
	comp := compile(c)
	p := comp.Program()
	if len(c.Pods) != 10000 || len(c.Policies) != 1000 || len(c.Namespaces) != 100 {
		t.Errorf("%d pods, %d policies, %d namespaces", len(c.Pods), len(c.Policies), len(c.Namespaces))
	}
	if len(p.Locals) != 100 {
		t.Errorf("%d addresses of this node, want 100", len(p.Locals))
	}
	addrs := map[netip.Addr]bool{}
	names := map[string]bool{}
	for _, pod := range c.Pods {
		addrs[AddrOf(pod)] = true
		names[pod.Namespace+"/"+pod.Name] = true
	}
	if len(addrs) != 10000 || len(names) != 10000 {
		t.Errorf("%d addresses and %d names of 10000 pods", len(addrs), len(names))
	}
	if d := comp.Diagnostics(); len(d) > 0 {
		t.Errorf("the compiler does not understand a policy: %v", d)
	}
	largest := 0
	for _, s := range p.Sets {
		largest = max(largest, len(s.Members))
	}
	if largest != 10000 {
		t.Errorf("the largest set has %d members, want every pod", largest)
	}
}

func TestLocalPodsLieInTheNamespacesTold(t *testing.T) {
	c := mustNew(t, standard)
	local := map[string]bool{}
	for _, pod := range c.Pods {
		if pod.Spec.NodeName == Node {
			local[pod.Namespace] = true
		}
	}
	for _, i := range c.RemoteNamespaces() {
		if local[NamespaceName(i)] {
			t.Errorf("namespace %d has local pods", i)
		}
	}
	for _, i := range c.LocalNamespaces() {
		if !local[NamespaceName(i)] {
			t.Errorf("namespace %d has no local pod", i)
		}
	}
}

// The connection that the data path benchmark opens must be judged at both ends, allowed on its ports and forbidden on
// another one, both in the large cluster and with the policies of the home namespace alone.
func TestHomePairIsJudged(t *testing.T) {
	c := mustNew(t, standard)
	all := c.Policies
	for _, policies := range [][]int{{1000}, {10}} {
		c.Policies = all
		if policies[0] == 10 {
			c.Policies = c.HomePolicies()
		}
		if len(c.Policies) != policies[0] {
			t.Fatalf("%d policies, want %d", len(c.Policies), policies[0])
		}
		p := compile(c).Program()
		for _, probe := range []struct {
			proto uint8
			port  uint16
			want  program.Verdict
		}{
			{program.TCP, HomePort, program.Accept},
			{program.UDP, HomeUDPPort, program.Accept},
			{program.TCP, HomeClosedPort, program.Deny},
		} {
			r := evaluator.Evaluate(p, evaluator.Packet{
				Src: AddrOf(c.HomeClient()), Dst: AddrOf(c.HomeServer()), Protocol: probe.proto, DstPort: probe.port,
			})
			if r.Verdict != probe.want {
				t.Errorf("%d policies: protocol %d port %d: %v, want %v", policies[0], probe.proto, probe.port, r.Verdict, probe.want)
			}
			if r.Egress == nil || !r.Egress.Isolated() || r.Ingress == nil || !r.Ingress.Isolated() {
				t.Errorf("%d policies: an end of the connection is not judged", policies[0])
			}
		}
	}
}

func TestSizesThatDoNotFitAreRefused(t *testing.T) {
	for _, change := range []func(*Size){
		func(s *Size) { s.Local = 6000 },
		func(s *Size) { s.Local = 30 },
		func(s *Size) { s.LocalNamespaces = 100 },
		func(s *Size) { s.Policies = 50 },
		func(s *Size) { s.Pods = 500 },
		func(s *Size) { s.Namespaces = 1 },
	} {
		s := standard
		change(&s)
		if _, err := New(s); err == nil {
			t.Errorf("%+v is accepted", s)
		}
	}
}
