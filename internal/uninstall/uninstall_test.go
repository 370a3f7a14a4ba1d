package uninstall

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
)

const namespace, set = "kube-system", "netpol-agent"

// cluster stands in for the controller and the kubelets. An agent ends a few looks after its DaemonSet lost its nodes,
// and cleanup pods succeed unless their node is dead.
type cluster struct {
	*fake.Clientset
	t     *testing.T
	dead  string
	mu    sync.Mutex
	looks int
	// cleaned holds the nodes whose cleanup ran, early those of them where an agent was still running.
	cleaned, early map[string]bool
}

func daemonSet() *appsv1.DaemonSet {
	return &appsv1.DaemonSet{
		ObjectMeta: metav1.ObjectMeta{Name: set, Namespace: namespace, UID: "ds"},
		Spec: appsv1.DaemonSetSpec{Template: corev1.PodTemplateSpec{Spec: corev1.PodSpec{
			HostNetwork:  true,
			NodeSelector: map[string]string{"os": "linux"},
			Containers: []corev1.Container{{
				Name: "netpol-agent", Image: "agent:1", Args: []string{"run"},
				Ports:          []corev1.ContainerPort{{HostPort: 9475}},
				ReadinessProbe: &corev1.Probe{},
			}},
		}}},
	}
}

func agentPod(node string) *corev1.Pod {
	yes := true
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Name: "agent-" + node, Namespace: namespace,
			OwnerReferences: []metav1.OwnerReference{{Kind: "DaemonSet", Name: set, UID: "ds", Controller: &yes}},
		},
		Spec: corev1.PodSpec{NodeName: node},
	}
}

func newCluster(t *testing.T, objects ...runtime.Object) *cluster {
	t.Helper()
	c := &cluster{t: t, cleaned: map[string]bool{}, early: map[string]bool{}}
	for node, os := range map[string]string{"a": "linux", "b": "linux", "w": "windows"} {
		objects = append(objects, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: node, Labels: map[string]string{"os": os}}})
	}
	c.Clientset = fake.NewClientset(objects...)
	c.PrependReactor("list", "pods", c.look)
	return c
}

// look lets the cluster make progress.
func (c *cluster) look(clienttesting.Action) (bool, runtime.Object, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.looks++
	pods := corev1.SchemeGroupVersion.WithResource("pods")
	for _, node := range []string{"a", "b", "w"} {
		if node == c.dead {
			continue
		}
		_, err := c.Tracker().Get(pods, namespace, "agent-"+node)
		running := err == nil
		if running && c.looks > 4 {
			_ = c.Tracker().Delete(pods, namespace, "agent-"+node)
		}
		obj, err := c.Tracker().Get(pods, namespace, cleanerPod(daemonSet(), node).Name)
		if p, ok := obj.(*corev1.Pod); err == nil && ok && p.Status.Phase != corev1.PodSucceeded {
			c.cleaned[node] = true
			c.early[node] = running
			p = p.DeepCopy()
			p.Status.Phase = corev1.PodSucceeded
			if err := c.Tracker().Update(pods, p, namespace); err != nil {
				c.t.Error(err)
			}
		}
	}
	return false, nil, nil
}

func run(t *testing.T, c *cluster, timeout time.Duration) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	defer cancel()
	return Run(ctx, Config{Client: c, Namespace: namespace, DaemonSet: set, Poll: time.Millisecond})
}

func TestEveryNodeIsCleanedAfterItsAgentEnded(t *testing.T) {
	stale := cleanerPod(daemonSet(), "a") // of an attempt long ago
	stale.Status.Phase = corev1.PodSucceeded
	c := newCluster(t, daemonSet(), agentPod("a"), agentPod("b"), stale)
	if err := run(t, c, 20*time.Second); err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(c.cleaned); got != "map[a:true b:true]" {
		t.Errorf("cleaned %s, want a and b: a's former cleanup does not count, w never had an agent", got)
	}
	if got := fmt.Sprint(c.early); got != "map[a:false b:false]" {
		t.Errorf("cleaned while an agent ran: %s", got)
	}
	list, err := c.CoreV1().Pods(namespace).List(t.Context(), metav1.ListOptions{})
	if err != nil || len(list.Items) != 0 {
		t.Errorf("pods are left: %v, %v", list.Items, err)
	}
	// Again, as after a timeout: there is nothing to stop, but the nodes are found all the same.
	c.cleaned = map[string]bool{}
	if err := run(t, c, 20*time.Second); err != nil || len(c.cleaned) != 2 {
		t.Errorf("the second time: %v, cleaned %v", err, c.cleaned)
	}
}

func TestNodeThatDoesNotAnswerIsNamed(t *testing.T) {
	for why, objects := range map[string][]runtime.Object{
		"its agent still runs":                {daemonSet(), agentPod("b")},
		"its kubelet has not run the cleanup": {daemonSet()},
	} {
		c := newCluster(t, objects...)
		c.dead = "b"
		err := run(t, c, 2*time.Second)
		if want := "1 of 2 nodes may still have rules: b (" + why + ")"; err == nil || err.Error() != want {
			t.Errorf("error %v, want %s", err, want)
		}
		if !c.cleaned["a"] {
			t.Errorf("%s: a waits for b", why)
		}
		// A remaining pod would run when b is back, even if an agent runs there by then.
		list, err := c.CoreV1().Pods(namespace).List(t.Context(), metav1.ListOptions{LabelSelector: cleanerLabel + "=true"})
		if err != nil || len(list.Items) != 0 {
			t.Errorf("%s: pods are left: %v, %v", why, list.Items, err)
		}
	}
}

func TestNoDaemonSetIsAnError(t *testing.T) {
	err := run(t, newCluster(t), time.Second)
	if err == nil || !strings.Contains(err.Error(), "DaemonSet kube-system/netpol-agent") {
		t.Errorf("error %v", err)
	}
}

func TestCleanerPodIsTheAgentsWithAnotherCommand(t *testing.T) {
	p := cleanerPod(daemonSet(), "a").Spec
	c := p.Containers[0]
	switch {
	case !p.HostNetwork, p.NodeName != "a", c.Image != "agent:1", fmt.Sprint(c.Args) != "[cleanup]":
		t.Errorf("%+v", p)
	case len(c.Ports) > 0, c.ReadinessProbe != nil, len(p.NodeSelector) > 0:
		t.Errorf("the pod keeps what only the agent needs: %+v", p)
	case p.RestartPolicy != corev1.RestartPolicyOnFailure:
		t.Errorf("a failure is final: %+v", p)
	}
}
