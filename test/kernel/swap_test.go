package kernel

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"

	"github.com/netpol-agent/netpol-agent/test/kernel/lab"
)

// swapChanges is how many policy changes are made under traffic. KERNEL_CHANGES overrides it.
func swapChanges(t *testing.T) int {
	t.Helper()
	text := os.Getenv("KERNEL_CHANGES")
	if text == "" {
		if testing.Short() {
			return 1000
		}
		return 10000
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("KERNEL_CHANGES: %v", err)
	}
	return n
}

// fewestChanges is how many changes are made even if the time limit is reached.
const fewestChanges = 300

// swapTime limits the time of the changes; 0 means no limit. With iptables a change takes two to four processes, each
// of which loads its extensions and reads the existing chains before it writes: under this traffic, on two cores that
// do nothing else, 18 ms in the legacy variant and 42 ms in the nft one, where nftables needs a few. So the legacy
// variant makes all 10,000 changes within three minutes. The nft variant would take seven minutes, so it is limited to
// what fits into 90 seconds: some 2,000. Correspondingly more packets flow during each of its changes. KERNEL_SWAP_TIME
// shortens both.
func swapTime(t *testing.T) time.Duration {
	t.Helper()
	bound := map[string]time.Duration{backendLegacy: 200 * time.Second, backendIPTNFT: 90 * time.Second}[os.Getenv(backendVariable)]
	if bound == 0 || os.Getenv("KERNEL_CHANGES") != "" {
		return 0
	}
	if text := os.Getenv("KERNEL_SWAP_TIME"); text != "" {
		shorter, err := time.ParseDuration(text)
		if err != nil {
			t.Fatalf("KERNEL_SWAP_TIME: %v", err)
		}
		bound = min(bound, shorter)
	}
	return bound
}

// restarts is how many changes lie between two starts.
func restarts(t *testing.T) int {
	t.Helper()
	if swapTime(t) > 0 {
		return 100
	}
	return min(500, swapChanges(t)/5)
}

// The policy that decides over the traffic, in forms that differ in everything but their effect on it: pods of "shop"
// with app=client reach the open ports, nobody else reaches any, and nobody reaches the closed one.
func servingForms(t *testing.T) []*networkingv1.NetworkPolicy {
	t.Helper()
	const ports = "ports: [{port: 8080}, {port: 9000, endPort: 9001, protocol: UDP}]"
	blocks := "{ipBlock: {cidr: 10.244.1.12/32}}, {ipBlock: {cidr: 10.244.2.0/24, except: [10.244.2.11/32]}}"
	world := "{ipBlock: {cidr: 0.0.0.0/0, except: [10.244.1.13/32, 10.244.1.14/31, 10.244.1.11/32, 10.244.1.128/25, 10.244.2.11/32, 192.0.2.0/24]}}"
	var out []*networkingv1.NetworkPolicy
	for _, rules := range []string{
		"{from: [{podSelector: {matchLabels: {app: client}}}], " + ports + "}",
		"{from: [{podSelector: {matchLabels: {app: nobody}}}]}, {from: [{podSelector: {matchLabels: {app: client}}, namespaceSelector: {matchLabels: {team: shop}}}], " + ports + "}",
		"{from: [" + blocks + "], " + ports + "}",
		"{from: [" + world + "], " + ports + "}",
		"{from: [{podSelector: {matchExpressions: [{key: app, operator: In, values: [client, other]}]}}], ports: [{port: http}, {port: 9000, protocol: UDP}, {port: 9001, protocol: UDP}]}, " +
			"{from: [{podSelector: {matchLabels: {app: churn}}}], ports: [{port: 9002, protocol: UDP}]}",
		"{from: [{namespaceSelector: {matchLabels: {team: blog}}}], ports: [{port: 1}, {port: 3}, {port: 5}]}, {from: [{podSelector: {matchLabels: {app: churn}}}, {podSelector: {matchLabels: {app: client}}}, " + blocks + "], " + ports + "}",
	} {
		out = append(out, read(t, policy("shop/serve", "podSelector: {matchLabels: {app: web}}\npolicyTypes: [Ingress]\ningress: ["+rules+"]")).Policies[0])
	}
	return out
}

// companions are policies that are added and removed without any effect on the traffic.
func companions(t *testing.T) []*networkingv1.NetworkPolicy {
	t.Helper()
	return read(t, policy("shop/deny", "podSelector: {}\npolicyTypes: [Ingress]")+
		policy("shop/deny-web", "podSelector: {matchLabels: {app: web}}\npolicyTypes: [Ingress, Egress]\negress: [{}]")+
		policy("shop/other-port", "podSelector: {matchLabels: {app: web}}\ningress: [{from: [{namespaceSelector: {}}], ports: [{port: 7000}]}]")+
		policy("shop/client-out", "podSelector: {matchLabels: {app: client}}\npolicyTypes: [Egress]\negress: [{to: [{podSelector: {matchLabels: {app: web}}}]}]")+
		policy("shop/all-out", "podSelector: {}\npolicyTypes: [Egress]\negress: [{to: [{ipBlock: {cidr: 0.0.0.0/0}}]}]")+
		policy("blog/in", "podSelector: {}\ningress: [{from: [{namespaceSelector: {matchLabels: {team: shop}}}]}]")+
		policy("blog/out", "podSelector: {}\npolicyTypes: [Egress]\negress: [{to: [{namespaceSelector: {}}], ports: [{protocol: TCP}, {protocol: UDP}]}]")).Policies
}

// changer makes one change after another. None of them affects what the traffic may do.
type changer struct {
	*world
	rng        *rand.Rand
	forms      []*networkingv1.NetworkPolicy
	companions []*networkingv1.NetworkPolicy
	// restarts is how many changes lie between two starts.
	restarts int
	// commits counts the transactions that changed something.
	commits, swaps int
}

// change makes one change and commits it.
func (c *changer) change(t *testing.T, i int) {
	t.Helper()
	if i%c.restarts == c.restarts-1 {
		// The agent restarts. With nftables it finds too many differences, and replaces the old table with a new one; with
		// iptables it adopts what it finds.
		c.renderer = c.backend.renderer(smallTransaction)
		for range 3 {
			c.toggle()
		}
	}
	switch c.rng.IntN(8) {
	case 0, 1, 2:
		c.toggle()
	case 3, 4:
		c.setPolicy(c.forms[c.rng.IntN(len(c.forms))].DeepCopy())
	case 5:
		c.replace(t)
	case 6:
		c.churn()
	default:
		c.relabel()
	}
	c.apply(t)
}

func (c *changer) apply(t *testing.T) {
	t.Helper()
	stats, err := c.renderer.Apply(c.comp.Program(), c.comp.TakeDelta())
	if err != nil {
		t.Fatal(err)
	}
	if stats.Ops > 0 {
		c.commits++
	}
	if stats.Full {
		c.swaps++
	}
}

// toggle adds a companion policy, or removes it.
func (c *changer) toggle() {
	p := c.companions[c.rng.IntN(len(c.companions))]
	if c.policies[p.Namespace+"/"+p.Name] != nil {
		c.deletePolicy(p.Namespace, p.Name)
		return
	}
	c.setPolicy(p.DeepCopy())
}

// replace replaces the policy that decides over the traffic with one of another name. It adds the successor first and
// deletes the predecessor in the same transaction or, at random, in the next one.
func (c *changer) replace(t *testing.T) {
	t.Helper()
	old, next := "serve", "serve-2"
	if c.policies["shop/serve"] == nil {
		old, next = next, old
	}
	p := c.forms[c.rng.IntN(len(c.forms))].DeepCopy()
	p.Name = next
	c.setPolicy(p)
	if c.rng.IntN(2) == 0 {
		c.apply(t)
	}
	c.deletePolicy("shop", old)
}

// churn adds, changes or deletes a pod, on this node or on another.
func (c *changer) churn() {
	n := c.rng.IntN(12)
	name := fmt.Sprintf("churn-%d", n)
	if c.pods["shop/"+name] != nil && c.rng.IntN(2) == 0 {
		c.deletePod("shop", name)
		return
	}
	p := &corev1.Pod{}
	p.Namespace, p.Name = "shop", name
	p.Labels = map[string]string{"app": []string{"churn", "web", "other"}[c.rng.IntN(3)], "tier": strconv.Itoa(c.rng.IntN(3))}
	p.Spec.NodeName = []string{thisNode, "node-2"}[n%2]
	p.Status.Phase = corev1.PodRunning
	p.Status.PodIP = fmt.Sprintf("10.244.1.%d", 200+n)
	p.Status.PodIPs = []corev1.PodIP{{IP: p.Status.PodIP}, {IP: fmt.Sprintf("fd00:10:244:1::%d", 200+n)}}
	c.setPod(p)
}

// relabel gives the traffic's pods labels that move them in and out of sets that do not affect it.
func (c *changer) relabel() {
	name := []string{"shop/client", "shop/web", "shop/far", "blog/client"}[c.rng.IntN(4)]
	c.world.change(name, func(p *corev1.Pod) {
		p.Labels["round"] = strconv.Itoa(c.rng.IntN(3))
		if name == "blog/client" {
			p.Labels["app"] = []string{"client", "churn", "web"}[c.rng.IntN(3)]
		}
	})
}

// swapWorld is a world in which the permitted traffic never changes.
func swapWorld(t *testing.T) *changer {
	t.Helper()
	l := lab.New(t)
	w := &world{lab: l, agent: newAgent(t, l), witness: l.Witness()}
	c := &changer{world: w, restarts: restarts(t), rng: rand.New(rand.NewPCG(1, 2)), forms: servingForms(t), companions: companions(t)}
	w.restart()
	w.tell(baseYAML)
	c.setPolicy(c.forms[0].DeepCopy())
	w.settle(t)
	return c
}

// TestKernelSwapUnderTraffic makes thousands of policy changes while permitted and forbidden packets flow: no permitted
// packet is lost, and no forbidden one passes.
func TestKernelSwapUnderTraffic(t *testing.T) {
	c := swapWorld(t)
	wanted, limit := swapChanges(t), swapTime(t)
	tr := newTraffic(t, c.world)
	c.witness.Close(t)
	start := time.Now()
	n := 0
	for ; n < wanted && (limit == 0 || n < fewestChanges || time.Since(start) < limit); n++ {
		tr.change.Store(int32(n))
		c.change(t, n)
	}
	took := time.Since(start)
	r := tr.end()
	t.Logf("%d changes, %d of them with an effect, %d tables swapped, in %v\n%s", n, c.commits, c.swaps, took, r.text)
	if r.lost+r.leaked+r.broken > 0 {
		t.Errorf("%d permitted packets lost, %d forbidden ones delivered, %d exchanges broken", r.lost, r.leaked, r.broken)
	}
	_, swaps := c.backend.(nftBackend)
	if c.commits < n*2/3 || swaps && n >= 1000 && c.swaps < n/1000 {
		t.Errorf("the changes prove nothing: %d had an effect, %d tables were swapped", c.commits, c.swaps)
	}
	for _, s := range tr.streams {
		if s.sent.Load() < uint32(n/50) {
			t.Errorf("the stream from %s proves nothing: %d sent", s.name, s.sent.Load())
		}
	}
}

// gaps is how many gaps are made. With iptables each takes several processes.
func (c *changer) gaps() int {
	if _, is := c.backend.(nftBackend); is {
		return 100
	}
	return 10
}

// TestKernelSwapCheckerSeesGaps shows that the previous test can fail: its report shows changes that are not atomic.
func TestKernelSwapCheckerSeesGaps(t *testing.T) {
	t.Run("open window", func(t *testing.T) {
		c := swapWorld(t)
		tr := newTraffic(t, c.world)
		c.witness.Close(t)
		for range c.gaps() {
			if err := c.backend.remove(); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Millisecond)
			if _, err := c.renderer.Sync(c.comp.Program()); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Millisecond)
		}
		if r := tr.end(); r.leaked == 0 || r.lost > 0 {
			t.Errorf("a table that is briefly missing: %d lost, %d leaked\n%s", r.lost, r.leaked, r.text)
		}
	})
	t.Run("closed window", func(t *testing.T) {
		c := swapWorld(t)
		tr := newTraffic(t, c.world)
		c.witness.Close(t)
		deny := read(t, policy("shop/serve", "podSelector: {matchLabels: {app: web}}\npolicyTypes: [Ingress]")).Policies[0]
		for i := range c.gaps() {
			// Not atomic: first every rule is removed, then the allowed traffic is added back.
			c.setPolicy(deny.DeepCopy())
			c.apply(t)
			time.Sleep(time.Millisecond)
			c.setPolicy(c.forms[i%2].DeepCopy())
			c.apply(t)
			time.Sleep(time.Millisecond)
		}
		if r := tr.end(); r.lost == 0 || r.leaked > 0 {
			t.Errorf("rules that are briefly missing: %d lost, %d leaked\n%s", r.lost, r.leaked, r.text)
		}
	})
}
