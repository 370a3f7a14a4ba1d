package cluster

import (
	"fmt"
	"math/rand/v2"
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Node is the node whose agent is measured.
const Node = "node-0"

// Size is the number of objects of each kind.
type Size struct {
	Namespaces, Pods, Policies int
	// Local is how many of the pods run on Node; every other node gets as many.
	Local int
	// LocalNamespaces is how many namespaces the pods of Node belong to.
	LocalNamespaces int
}

// Validate returns an error that names what does not fit together.
func (s Size) Validate() error {
	switch {
	case s.Namespaces < 2, s.LocalNamespaces < 1:
		return fmt.Errorf("a cluster needs at least 2 namespaces, 1 of them with local pods, not %+v", s)
	case s.LocalNamespaces >= s.Namespaces:
		return fmt.Errorf("%d of %d namespaces have local pods; one without is needed", s.LocalNamespaces, s.Namespaces)
	case s.Local < s.LocalNamespaces+2:
		return fmt.Errorf("%d local pods are too few for %d namespaces", s.Local, s.LocalNamespaces)
	case s.Local > s.Pods/2:
		return fmt.Errorf("%d of %d pods are local; other nodes need some too", s.Local, s.Pods)
	case s.Policies < s.Namespaces:
		return fmt.Errorf("%d policies are fewer than one for each of %d namespaces", s.Policies, s.Namespaces)
	case s.Pods < s.Namespaces*len(apps):
		return fmt.Errorf("%d pods are fewer than %d for each of %d namespaces", s.Pods, len(apps), s.Namespaces)
	}
	return nil
}

// Cluster is the state of a cluster, as in the API.
type Cluster struct {
	Size       Size
	Namespaces []*corev1.Namespace
	Pods       []*corev1.Pod
	Policies   []*networkingv1.NetworkPolicy

	// stride is the number of addresses that each node has.
	stride int
	// used counts the assigned addresses, by node.
	used []int
}

// New creates a cluster.
func New(s Size) (*Cluster, error) {
	if err := s.Validate(); err != nil {
		return nil, err
	}
	c := &Cluster{Size: s, stride: 256, used: make([]int, s.Pods/s.Local+1)}
	for c.stride < 2*s.Local+16 {
		c.stride *= 2
	}
	for i := range s.Namespaces {
		c.Namespaces = append(c.Namespaces, namespace(i))
	}
	c.addPods()
	for i := range s.Policies {
		c.Policies = append(c.Policies, Policy(i%s.Namespaces, i/s.Namespaces))
	}
	return c, nil
}

// Home is the index of the namespace in which HomeClient and HomeServer are.
const Home = 2

// addPods spreads the pods of each namespace over its applications. Those of Node are in few namespaces, as the
// replicas of a few applications are; one of these is the home of a client and a server.
func (c *Cluster) addPods() {
	rng := rand.New(rand.NewPCG(1, 2))
	local := c.pickLocal(rng)
	remotes := len(c.used) - 1
	for i := range c.Size.Pods {
		node := 1 + i%remotes
		if local[i] {
			node = 0
		}
		ns := i % c.Size.Namespaces
		c.Pods = append(c.Pods, c.NewPod(ns, i/c.Size.Namespaces, node))
	}
}

// pickLocal returns the indexes of the pods that run on Node.
func (c *Cluster) pickLocal(rng *rand.Rand) map[int]bool {
	out := map[int]bool{
		Home + appIndex("web")*c.Size.Namespaces: true,
		Home + appIndex("api")*c.Size.Namespaces: true,
	}
	for n := 0; len(out) < c.Size.Local; n++ {
		ns := c.localNamespace(rng.IntN(c.Size.LocalNamespaces))
		if n < c.Size.LocalNamespaces {
			ns = c.localNamespace(n)
		}
		out[ns+rng.IntN(c.Size.Pods/c.Size.Namespaces)*c.Size.Namespaces] = true
	}
	return out
}

// localNamespace returns the i-th namespace with pods on Node. They are consecutive and begin with Home.
func (c *Cluster) localNamespace(i int) int { return (Home + i) % c.Size.Namespaces }

// LocalNamespaces returns the indexes of the namespaces that have pods on Node.
func (c *Cluster) LocalNamespaces() []int {
	var out []int
	for i := range c.Size.LocalNamespaces {
		out = append(out, c.localNamespace(i))
	}
	return out
}

// RemoteNamespaces returns the indexes of the others.
func (c *Cluster) RemoteNamespaces() []int {
	var out []int
	for i := c.Size.LocalNamespaces; i < c.Size.Namespaces; i++ {
		out = append(out, c.localNamespace(i))
	}
	return out
}

// Nodes returns the number of nodes, Node included.
func (c *Cluster) Nodes() int { return len(c.used) }

// NewPod returns one more pod, with an address of its node. Serial determines the application and the name.
func (c *Cluster) NewPod(ns, serial, node int) *corev1.Pod {
	a := apps[serial%len(apps)]
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: NamespaceName(ns),
			Name:      fmt.Sprintf("%s-%d-%d", a.name, serial, c.used[node]),
			UID:       types.UID(fmt.Sprintf("%08x-%04x-%04x", serial, ns, c.used[node])),
			Labels:    a.labels(ns, serial),
		},
		Spec: corev1.PodSpec{
			NodeName:   fmt.Sprintf("node-%d", node),
			Containers: []corev1.Container{{Name: a.name, Ports: a.ports}},
		},
		Status: corev1.PodStatus{Phase: corev1.PodRunning},
	}
	SetAddr(p, c.address(node))
	return p
}

// SetAddr assigns an address to a pod, or removes it if addr is not valid.
func SetAddr(p *corev1.Pod, addr netip.Addr) {
	p.Status.PodIP, p.Status.PodIPs = "", nil
	if addr.IsValid() {
		p.Status.PodIP = addr.String()
		p.Status.PodIPs = []corev1.PodIP{{IP: p.Status.PodIP}}
	}
}

// AddrOf returns a pod's address.
func AddrOf(p *corev1.Pod) netip.Addr {
	a, _ := netip.ParseAddr(p.Status.PodIP)
	return a
}

// address returns the next address of a node, from 10.244.0.0 upwards. A node's addresses wrap around once more pods
// have come and gone than it has addresses.
func (c *Cluster) address(node int) netip.Addr {
	n := uint32(node*c.stride + 1 + c.used[node]%(c.stride-2))
	c.used[node]++
	base := uint32(10)<<24 + uint32(244)<<16 + n
	return netip.AddrFrom4([4]byte{byte(base >> 24), byte(base >> 16), byte(base >> 8), byte(base)})
}

// HomeClient and HomeServer are pods of Node in namespace Home between which TCP port HomePort and UDP port
// HomeUDPPort are allowed, by policies that isolate both in both directions.
func (c *Cluster) HomeClient() *corev1.Pod { return c.home("web") }

// HomeServer is the other end of HomeClient's connections.
func (c *Cluster) HomeServer() *corev1.Pod { return c.home("api") }

func (c *Cluster) home(app string) *corev1.Pod {
	return c.Pods[Home+appIndex(app)*c.Size.Namespaces]
}

// HomePolicies returns the policies of namespace Home: all that isolate HomeClient and HomeServer.
func (c *Cluster) HomePolicies() []*networkingv1.NetworkPolicy {
	var out []*networkingv1.NetworkPolicy
	for _, np := range c.Policies {
		if np.Namespace == NamespaceName(Home) {
			out = append(out, np)
		}
	}
	return out
}
