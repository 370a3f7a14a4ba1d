package oracle

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"
)

// row is one row of the specification: the verdicts that the policies must yield in the fixture cluster.
type row struct {
	name string
	// change alters the fixture before the probes.
	change func(t *testing.T, s *State)
	// policies are specs in YAML, by namespace/name.
	policies map[string]string
	// probes have the form "a/web > a/api tcp/80: drop", with "at n1" after the packet to ask one node only. An end is a
	// pod (with ".6" after its name for its IPv6 address) or an address.
	probes []string
}

// fixture is a cluster of two nodes; a and b are known namespaces, ghost is not.
func fixture() State {
	pod := func(namespace, name, node, ip string, labels map[string]string, ports ...corev1.ContainerPort) *corev1.Pod {
		p := &corev1.Pod{}
		p.Namespace, p.Name, p.Labels = namespace, name, labels
		p.Spec.NodeName = node
		p.Spec.Containers = []corev1.Container{{Name: "c", Ports: ports}}
		p.Status.Phase, p.Status.PodIP = corev1.PodRunning, ip
		return p
	}
	web := pod("a", "web", "n1", "10.0.1.1", map[string]string{"app": "web"},
		corev1.ContainerPort{Name: "http", ContainerPort: 80}, corev1.ContainerPort{Name: "dns", ContainerPort: 53, Protocol: corev1.ProtocolUDP})
	web.Status.PodIPs = []corev1.PodIP{{IP: "10.0.1.1"}, {IP: "fd00:1::1"}}
	host := pod("a", "host", "n1", "192.168.0.1", map[string]string{"app": "host"})
	host.Spec.HostNetwork = true
	client := pod("b", "client", "n2", "10.0.2.4", map[string]string{"app": "client"})
	client.Status.PodIPs = []corev1.PodIP{{IP: "10.0.2.4"}, {IP: "fd00:2::4"}}
	namespace := func(name string, labels map[string]string) *corev1.Namespace {
		return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}}
	}
	return State{
		Pods: []*corev1.Pod{
			web,
			pod("a", "api", "n1", "10.0.1.2", map[string]string{"app": "api", "tier": "back"}, corev1.ContainerPort{Name: "http", ContainerPort: 8080}),
			pod("a", "db", "n2", "10.0.2.3", map[string]string{"app": "db", "tier": ""}),
			host,
			client,
			pod("b", "web", "n2", "10.0.2.5", map[string]string{"app": "web"}),
			pod("ghost", "web", "n2", "10.0.2.6", map[string]string{"app": "web"}),
		},
		Namespaces: []*corev1.Namespace{namespace("a", map[string]string{"team": "a"}), namespace("b", map[string]string{"team": "b", "env": "prod"})},
		NodeAddrs: map[string][]netip.Addr{
			"n1": {netip.MustParseAddr("192.168.0.1"), netip.MustParseAddr("10.0.1.254"), netip.MustParseAddr("fd00:1::fe")},
			"n2": {netip.MustParseAddr("192.168.0.2")},
		},
	}
}

// find returns a pod of the state by namespace/name.
func find(t *testing.T, s *State, name string) *corev1.Pod {
	t.Helper()
	for _, p := range s.Pods {
		if p.Namespace+"/"+p.Name == name {
			return p
		}
	}
	t.Fatalf("the fixture has no pod %s", name)
	return nil
}

// set returns a change that edits one pod.
func set(name string, edit func(*corev1.Pod)) func(*testing.T, *State) {
	return func(t *testing.T, s *State) { edit(find(t, s, name)) }
}

// check runs every probe of a row.
func (r row) check(t *testing.T) {
	s := fixture()
	if r.change != nil {
		r.change(t, &s)
	}
	for name, text := range r.policies {
		p := &networkingv1.NetworkPolicy{}
		if err := yaml.UnmarshalStrict([]byte(text), &p.Spec); err != nil {
			t.Fatalf("policy %s: %v", name, err)
		}
		p.Namespace, p.Name, _ = strings.Cut(name, "/")
		s.Policies = append(s.Policies, p)
	}
	if len(r.probes) == 0 {
		t.Fatal("a row without probes proves nothing")
	}
	for _, probe := range r.probes {
		question, want, ok := strings.Cut(probe, ": ")
		if !ok || want != "pass" && want != "drop" {
			t.Fatalf("probe %q has no verdict", probe)
		}
		question, node, one := strings.Cut(question, " at ")
		p, err := packet(t, &s, question)
		if err != nil {
			t.Fatalf("probe %q: %v", probe, err)
		}
		got, why := Allowed(s, p), append(JudgeAt(s, "n1", p), JudgeAt(s, "n2", p)...)
		if one {
			got, why = AllowedAt(s, node, p), JudgeAt(s, node, p)
		}
		if got != (want == "pass") {
			t.Errorf("%s\nwant %s, judgments: %+v", probe, want, why)
		}
	}
}

// packet reads "a/web > 10.0.0.1 tcp/80"; the last word can also be icmp, icmp6/TYPE or ip/PROTOCOL.
func packet(t *testing.T, s *State, text string) (Packet, error) {
	t.Helper()
	words := strings.Fields(text)
	if len(words) != 4 || words[1] != ">" {
		return Packet{}, fmt.Errorf("not of the form SOURCE > DESTINATION PROTOCOL")
	}
	p := Packet{Src: end(t, s, words[0]), Dst: end(t, s, words[2])}
	name, number, _ := strings.Cut(words[3], "/")
	n := 0
	if number != "" {
		var err error
		if n, err = strconv.Atoi(number); err != nil {
			return Packet{}, err
		}
	}
	switch name {
	case "tcp", "udp", "sctp":
		p.Protocol, p.DstPort = map[string]uint8{"tcp": TCP, "udp": UDP, "sctp": SCTP}[name], uint16(n)
	case "icmp":
		p.Protocol = ICMP
	case "icmp6":
		p.Protocol, p.ICMPv6Type = ICMPv6, uint8(n)
	case "ip":
		p.Protocol = uint8(n)
	default:
		return Packet{}, fmt.Errorf("unknown protocol %q", name)
	}
	return p, nil
}

// end reads one end of a probe.
func end(t *testing.T, s *State, text string) netip.Addr {
	t.Helper()
	if addr, err := netip.ParseAddr(text); err == nil {
		return addr
	}
	name, six := strings.CutSuffix(text, ".6")
	pod := find(t, s, name)
	if six {
		return netip.MustParseAddr(pod.Status.PodIPs[1].IP)
	}
	return netip.MustParseAddr(pod.Status.PodIP)
}

// run runs a table of rows.
func run(t *testing.T, rows []row) {
	t.Helper()
	for _, r := range rows {
		t.Run(r.name, r.check)
	}
}
