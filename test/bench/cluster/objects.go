package cluster

import (
	"fmt"
	"maps"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Ports of HomeServer.
const (
	HomePort    = 8080
	HomeUDPPort = 8125
	// HomeClosedPort is one that no policy allows.
	HomeClosedPort = 2222
)

// app is one of the applications that every namespace runs.
type app struct {
	name   string
	common map[string]string
	ports  []corev1.ContainerPort
}

func tcp(name string, port int32) corev1.ContainerPort {
	return corev1.ContainerPort{Name: name, ContainerPort: port, Protocol: corev1.ProtocolTCP}
}

func udp(name string, port int32) corev1.ContainerPort {
	return corev1.ContainerPort{Name: name, ContainerPort: port, Protocol: corev1.ProtocolUDP}
}

var apps = []app{
	{"web", map[string]string{"tier": "frontend", "role": "frontend"}, []corev1.ContainerPort{tcp("http", 8080), tcp("metrics", 9090)}},
	{"api", map[string]string{"tier": "backend", "role": "api"}, []corev1.ContainerPort{tcp("http", 8080), tcp("metrics", 9090)}},
	{"worker", map[string]string{"tier": "backend", "role": "client"}, []corev1.ContainerPort{tcp("metrics", 9090)}},
	{"db", map[string]string{"tier": "data", "role": "db"}, []corev1.ContainerPort{tcp("postgres", 5432), tcp("metrics", 9187)}},
	{"cache", map[string]string{"tier": "data", "role": "cache"}, []corev1.ContainerPort{tcp("redis", 6379)}},
	{"myapp", map[string]string{"tier": "frontend", "role": "client"}, []corev1.ContainerPort{tcp("http", 80)}},
	{"prometheus", map[string]string{"tier": "ops"}, []corev1.ContainerPort{tcp("web", 9090)}},
	{"dns", map[string]string{"k8s-app": "kube-dns"}, []corev1.ContainerPort{udp("dns", 53), tcp("dns-tcp", 53)}},
	{"batch", map[string]string{"tier": "batch"}, nil},
	{"statsd", map[string]string{"tier": "ops"}, []corev1.ContainerPort{udp("statsd", 8125)}},
}

func appIndex(name string) int {
	for i, a := range apps {
		if a.name == name {
			return i
		}
	}
	return -1
}

// labels returns a pod's labels, including those that controllers add and no policy selects.
func (a app) labels(ns, serial int) map[string]string {
	out := maps.Clone(a.common)
	out["app"] = a.name
	out["version"] = fmt.Sprintf("v%d", 1+serial%3)
	out["pod-template-hash"] = fmt.Sprintf("%08x", ns*7919+serial%len(apps))
	out["app.kubernetes.io/instance"] = fmt.Sprintf("%s-%d", a.name, ns)
	return out
}

// NamespaceName returns the name of a namespace by its index.
func NamespaceName(i int) string { return fmt.Sprintf("ns-%03d", i) }

// namespace returns a namespace. Each label that policies select is on a third or a tenth of them.
func namespace(i int) *corev1.Namespace {
	labels := map[string]string{
		corev1.LabelMetadataName: NamespaceName(i),
		"env":                    []string{"production", "staging", "development"}[i%3],
		"project":                fmt.Sprintf("project-%d", i%10),
		"user":                   []string{"alice", "bob", "carol", "dave"}[i%4],
	}
	return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: NamespaceName(i), Labels: labels}}
}
