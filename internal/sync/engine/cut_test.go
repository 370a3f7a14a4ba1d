package engine

import (
	"net/netip"
	"slices"
	"testing"

	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/netpol-agent/netpol-agent/internal/compiler"
	"github.com/netpol-agent/netpol-agent/internal/compiler/program"
	"github.com/netpol-agent/netpol-agent/internal/conntrack"
	"github.com/netpol-agent/netpol-agent/test/agenttest"
)

func TestTightened(t *testing.T) {
	web, x, y := map[string]string{"app": "web"}, map[string]string{"app": "x"}, map[string]string{"app": "y"}
	webOnly := func(np *networkingv1.NetworkPolicy) *networkingv1.NetworkPolicy {
		np.Spec.PodSelector.MatchLabels = web
		return np
	}
	// Two isolated pods and an open one here, two peers elsewhere.
	setup := func() *compiler.Compiler {
		c := compiler.New(compiler.Options{Node: agenttest.Node})
		c.SetPod(agenttest.Pod("w1", agenttest.Node, "10.0.0.1", web))
		c.SetPod(agenttest.Pod("w2", agenttest.Node, "10.0.0.2", web))
		c.SetPod(agenttest.Pod("open", agenttest.Node, "10.0.0.3", nil))
		c.SetPod(agenttest.Pod("x", "node-2", "10.1.0.1", x))
		c.SetPod(agenttest.Pod("y", "node-2", "10.1.0.2", y))
		c.SetPolicy(webOnly(agenttest.AllowFrom("web", x)))
		c.TakeDelta()
		return c
	}
	webs := []netip.Addr{agenttest.Addr("10.0.0.1"), agenttest.Addr("10.0.0.2")}
	for name, change := range map[string]struct {
		do   func(*compiler.Compiler)
		want []netip.Addr
	}{
		"a policy changes": {func(c *compiler.Compiler) { c.SetPolicy(webOnly(agenttest.AllowFrom("web", y))) }, webs},
		"a policy comes":   {func(c *compiler.Compiler) { c.SetPolicy(webOnly(agenttest.DenyAll("more"))) }, webs},
		"a policy goes": {func(c *compiler.Compiler) {
			c.DeletePolicy(types.NamespacedName{Namespace: "default", Name: "web"})
		}, nil},
		"a peer goes":  {func(c *compiler.Compiler) { c.SetPod(agenttest.Pod("x", "node-2", "10.1.0.1", y)) }, []netip.Addr{agenttest.Addr("10.1.0.1")}},
		"a peer comes": {func(c *compiler.Compiler) { c.SetPod(agenttest.Pod("y", "node-2", "10.1.0.2", x)) }, nil},
		"a pod is isolated": {func(c *compiler.Compiler) { c.SetPod(agenttest.Pod("open", agenttest.Node, "10.0.0.3", web)) },
			[]netip.Addr{agenttest.Addr("10.0.0.3")}},
		"a pod is opened":  {func(c *compiler.Compiler) { c.SetPod(agenttest.Pod("w1", agenttest.Node, "10.0.0.1", nil)) }, nil},
		"a stranger comes": {func(c *compiler.Compiler) { c.SetPod(agenttest.Pod("z", "node-2", "10.1.0.3", nil)) }, nil},
		"nothing":          {func(c *compiler.Compiler) { c.SetPod(agenttest.Pod("w1", agenttest.Node, "10.0.0.1", web)) }, nil},
	} {
		t.Run(name, func(t *testing.T) {
			c := setup()
			change.do(c)
			got := slices.SortedFunc(Change{Delta: c.TakeDelta()}.Tightened(c.Program()), netip.Addr.Compare)
			if !slices.Equal(slices.Compact(got), change.want) {
				t.Errorf("addresses %v, want %v", got, change.want)
			}
		})
	}
	t.Run("all", func(t *testing.T) {
		got := slices.SortedFunc(Change{Delta: program.NewDelta(), All: true}.Tightened(setup().Program()), netip.Addr.Compare)
		if !slices.Equal(got, webs) {
			t.Errorf("addresses %v, want %v", got, webs)
		}
		for range (Change{All: true}).Tightened(setup().Program()) {
			break // a caller that has enough must not be called again
		}
	})
}

// flow returns a connection through a Service: the client's packet goes to its address.
func flow(protocol uint8, src, dst string, port uint16) conntrack.Flow {
	return conntrack.Flow{
		Orig:  conntrack.Tuple{Src: agenttest.Addr(src), Dst: agenttest.Addr("10.96.0.1"), Protocol: protocol, SrcPort: 40000, DstPort: 1},
		Reply: conntrack.Tuple{Src: agenttest.Addr(dst), Dst: agenttest.Addr("10.0.0.254"), Protocol: protocol, SrcPort: port, DstPort: 50000},
	}
}

func TestForbidden(t *testing.T) {
	withRig(t, func(t *testing.T, r *rig) {
		np := agenttest.AllowFrom("web", map[string]string{"app": "x"})
		port := intstr.FromInt32(80)
		np.Spec.Ingress[0].Ports = []networkingv1.NetworkPolicyPort{{Port: &port}}
		r.put(np, []netip.Addr{agenttest.Addr("10.0.0.254")},
			agenttest.Pod("w", agenttest.Node, "10.0.0.1", map[string]string{"app": "web"}),
			agenttest.Pod("w6", agenttest.Node, "fd00::1", map[string]string{"app": "web"}),
			agenttest.Pod("x", "node-2", "10.1.0.1", map[string]string{"app": "x"}))
		r.sync()
		data := flow(program.TCP, "10.1.0.9", "10.0.0.1", 5000)
		announced, orphan := data, data
		announced.Master = &conntrack.Tuple{Src: agenttest.Addr("10.1.0.1"), Dst: agenttest.Addr("10.0.0.1"), Protocol: program.TCP, DstPort: 80}
		orphan.Master = &conntrack.Tuple{Src: agenttest.Addr("10.1.0.9"), Dst: agenttest.Addr("10.0.0.1"), Protocol: program.TCP, DstPort: 80}
		neighbours := conntrack.Flow{
			Orig:  conntrack.Tuple{Src: agenttest.Addr("fd00::9"), Dst: agenttest.Addr("fd00::1"), Protocol: program.ICMPv6, ICMPType: 135},
			Reply: conntrack.Tuple{Src: agenttest.Addr("fd00::1"), Dst: agenttest.Addr("fd00::9"), Protocol: program.ICMPv6, ICMPType: 136},
		}
		echo := neighbours
		echo.Orig.ICMPType, echo.Reply.ICMPType = 128, 129
		for name, c := range map[string]struct {
			flow conntrack.Flow
			want bool
		}{
			"allowed, through a Service":          {flow(program.TCP, "10.1.0.1", "10.0.0.1", 80), false},
			"another port":                        {flow(program.TCP, "10.1.0.1", "10.0.0.1", 81), true},
			"another protocol":                    {flow(program.UDP, "10.1.0.1", "10.0.0.1", 80), true},
			"another source":                      {flow(program.TCP, "10.1.0.9", "10.0.0.1", 80), true},
			"the node":                            {flow(program.TCP, "10.0.0.254", "10.0.0.1", 5000), false},
			"outwards":                            {flow(program.TCP, "10.0.0.1", "10.1.0.9", 5000), false},
			"nobody here":                         {flow(program.TCP, "10.1.0.1", "10.1.0.9", 80), false},
			"ping":                                {flow(program.ICMP, "10.1.0.9", "10.0.0.1", 0), true},
			"announced by an allowed connection":  {announced, false},
			"announced by a forbidden connection": {orphan, true},
			"IPv6 neighbour discovery":            {neighbours, false},
			"IPv6 ping":                           {echo, true},
		} {
			got, err := r.Forbidden(t.Context(), []conntrack.Flow{c.flow})
			if err != nil || (len(got) == 1) != c.want {
				t.Errorf("%s: forbidden %t, %v", name, len(got) == 1, err)
			}
		}
	})
}
