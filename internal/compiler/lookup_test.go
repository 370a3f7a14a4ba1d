package compiler

import (
	"maps"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// TestReadPod compares the reading of one object with how the program then judges it.
func TestReadPod(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(p *corev1.Pod)
		want   Pod
		judged bool
	}{
		"running":        {func(*corev1.Pod) {}, Pod{Addrs: addrs("10.0.0.1")}, true},
		"no phase":       {func(p *corev1.Pod) { p.Status.Phase = "" }, Pod{Addrs: addrs("10.0.0.1")}, true},
		"succeeded":      {func(p *corev1.Pod) { p.Status.Phase = corev1.PodSucceeded }, Pod{Over: true, Addrs: addrs("10.0.0.1")}, false},
		"failed":         {func(p *corev1.Pod) { p.Status.Phase = corev1.PodFailed }, Pod{Over: true, Addrs: addrs("10.0.0.1")}, false},
		"terminating":    {func(p *corev1.Pod) { p.DeletionTimestamp = &metav1.Time{} }, Pod{Addrs: addrs("10.0.0.1")}, true},
		"host network":   {func(p *corev1.Pod) { p.Spec.HostNetwork = true }, Pod{HostNetwork: true, Addrs: addrs("10.0.0.1")}, false},
		"podIPs as well": {podIPs("10.0.0.1", "fd00::1"), Pod{Addrs: addrs("10.0.0.1", "fd00::1")}, true},
		"podIPs differ":  {podIPs("10.0.0.2"), Pod{Addrs: addrs("10.0.0.1", "10.0.0.2")}, true},
		"mapped":         {podIPs("::ffff:10.0.0.1"), Pod{Addrs: addrs("10.0.0.1")}, true},
		"with a zone":    {podIPs("fd00::1%eth0"), Pod{Addrs: addrs("10.0.0.1", "fd00::1")}, true},
		"no address":     {func(p *corev1.Pod) { p.Status.PodIP = "none" }, Pod{}, true},
		"addresses of node": {func(p *corev1.Pod) {
			p.Status.HostIP, p.Status.HostIPs = "192.0.2.1", []corev1.HostIP{{IP: "2001:db8::1"}}
		}, Pod{Addrs: addrs("10.0.0.1"), NodeAddrs: addrs("192.0.2.1", "2001:db8::1")}, true},
	} {
		t.Run(name, func(t *testing.T) {
			obj := podAt("x", "a", "10.0.0.1", nil)
			tt.change(obj)
			tt.want.Name, tt.want.Node = types.NamespacedName{Namespace: "ns", Name: "x"}, "a"
			got := ReadPod(obj)
			if diff := cmp.Diff(tt.want, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b }), cmpopts.IgnoreUnexported(Pod{})); diff != "" {
				t.Errorf("ReadPod (-want +got):\n%s", diff)
			}
			c := New(Options{Node: "a"})
			c.SetPod(obj)
			var judged []netip.Addr
			if tt.judged {
				judged = got.Addrs
			}
			if locals := slices.SortedFunc(maps.Keys(c.Program().Locals), netip.Addr.Compare); !slices.Equal(locals, judged) {
				t.Errorf("the program judges %v, the reading has %v", locals, judged)
			}
			for _, a := range got.Addrs {
				if at := c.PodsAt(a); slices.Contains(at, got.Name) != tt.judged {
					t.Errorf("pods at %s: %v", a, at)
				}
			}
		})
	}
}

func addrs(texts ...string) []netip.Addr {
	out := make([]netip.Addr, len(texts))
	for i, s := range texts {
		out[i] = netip.MustParseAddr(s)
	}
	return out
}

func podIPs(texts ...string) func(p *corev1.Pod) {
	return func(p *corev1.Pod) {
		for _, s := range texts {
			p.Status.PodIPs = append(p.Status.PodIPs, corev1.PodIP{IP: s})
		}
	}
}

// TestPodsAt passes an address from one pod to another, with both sharing it for a while.
func TestPodsAt(t *testing.T) {
	c := New(Options{Node: "a"})
	a := netip.MustParseAddr("10.0.0.1")
	old, successor := podAt("old", "b", "10.0.0.1", nil), podAt("successor", "a", "10.0.0.1", nil)
	for _, step := range []struct {
		do   func()
		want []string
	}{
		{func() {}, nil},
		{func() { c.SetPod(successor) }, []string{"ns/successor"}},
		{func() { c.SetPod(old) }, []string{"ns/old", "ns/successor"}},
		{func() { old.Status.Phase = corev1.PodSucceeded; c.SetPod(old) }, []string{"ns/successor"}},
		{func() { c.DeletePod(types.NamespacedName{Namespace: "ns", Name: "successor"}) }, nil},
	} {
		step.do()
		var got []string
		for _, name := range c.PodsAt(netip.MustParseAddr("::ffff:10.0.0.1")) {
			got = append(got, name.String())
		}
		if !slices.Equal(got, step.want) {
			t.Errorf("pods at %s: %v, want %v", a, got, step.want)
		}
	}
}

// TestPodPort looks ports up as named ports of policies do.
func TestPodPort(t *testing.T) {
	always := corev1.ContainerRestartPolicyAlways
	p := podAt("x", "a", "10.0.0.1", nil)
	p.Spec.Containers = []corev1.Container{{Ports: []corev1.ContainerPort{
		{Name: "http", ContainerPort: 8080}, {Name: "http", ContainerPort: 8081}, {Name: "dns", ContainerPort: 53, Protocol: corev1.ProtocolUDP},
		{Name: "none", ContainerPort: 0}, {Name: "far", ContainerPort: 70_000}, {Name: "odd", ContainerPort: 1, Protocol: "tcp"}, {ContainerPort: 9},
	}}}
	p.Spec.InitContainers = []corev1.Container{
		{RestartPolicy: &always, Ports: []corev1.ContainerPort{{Name: "sidecar", ContainerPort: 9000}, {Name: "none", ContainerPort: 9001}}},
		{Ports: []corev1.ContainerPort{{Name: "init", ContainerPort: 9002}}},
	}
	pod := ReadPod(p)
	for _, tt := range []struct {
		name     string
		protocol corev1.Protocol
		want     uint16
	}{
		{"http", "TCP", 8080},
		{"http", "UDP", 0},
		{"dns", "UDP", 53},
		{"sidecar", "TCP", 9000},
		{"none", "TCP", 0}, // the first port of a name counts, even if its number is invalid
		{"far", "TCP", 0},
		{"odd", "TCP", 0},
		{"init", "TCP", 0},
		{"", "TCP", 0},
		{"http", "ICMP", 0},
	} {
		if got, ok := pod.Port(tt.name, tt.protocol); got != tt.want || ok != (tt.want != 0) {
			t.Errorf("port %s/%s: %d, %v; want %d", tt.name, tt.protocol, got, ok, tt.want)
		}
	}
	if got, want := pod.PortNames(), []string{"dns/UDP", "http/TCP", "sidecar/TCP"}; !slices.Equal(got, want) {
		t.Errorf("names %v, want %v", got, want)
	}
}
