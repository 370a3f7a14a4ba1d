package check

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/netpol-agent/netpol-agent/test/e2e/lab"
	"github.com/netpol-agent/netpol-agent/test/e2e/probe"
)

// running is a pod with addresses, and its Service.
func running(podIPs, serviceIPs []string) (*corev1.Pod, *corev1.Service) {
	p := pod("a", "node1")
	p.Status.Phase = corev1.PodRunning
	for _, ip := range podIPs {
		p.Status.PodIPs = append(p.Status.PodIPs, corev1.PodIP{IP: ip})
	}
	s := service("a")
	s.Spec.ClusterIPs = serviceIPs
	return p, s
}

func TestEndNeedsEveryFamily(t *testing.T) {
	both := []string{"10.244.0.2", "fd00:10:244::2"}
	services := []string{"10.96.0.2", "fd00:10:96::2"}
	for _, c := range []struct {
		family        string
		pods, service []string
		wrong         string
	}{
		{lab.IPv4, both[:1], services[:1], ""},
		{lab.IPv6, both[1:], services[1:], ""},
		{lab.DualStack, both, services, ""},
		{lab.DualStack, both[:1], services, "want one of each"},
		{lab.DualStack, both, services[:1], "its Service"},
		{lab.DualStack, []string{both[1], both[0]}, services, "want one of 10.244.0.0/16"},
		{lab.IPv4, []string{"10.1.2.3"}, services[:1], "10.1.2.3"},
		{lab.IPv4, both, services[:1], "want one of each"},
	} {
		opts := lab.DefaultOptions()
		opts.IPFamily = c.family
		p, s := running(c.pods, c.service)
		_, err := newEnd(p, s, opts)
		if (err == nil) != (c.wrong == "") || err != nil && !strings.Contains(err.Error(), c.wrong) {
			t.Errorf("%s with pod %q, Service %q: %v, want %q", c.family, c.pods, c.service, err, c.wrong)
		}
	}
}

func TestEveryTargetOfAFamily(t *testing.T) {
	opts := lab.DefaultOptions()
	opts.IPFamily = lab.DualStack
	p, s := running([]string{"10.244.0.2", "fd00:10:244::2"}, []string{"10.96.0.2", "fd00:10:96::2"})
	e, err := newEnd(p, s, opts)
	if err != nil {
		t.Fatal(err)
	}
	for family, want := range []string{
		"tcp 10.244.0.2:80 udp 10.244.0.2:80 tcp 10.96.0.2:80 udp 10.96.0.2:80",
		"tcp [fd00:10:244::2]:80 udp [fd00:10:244::2]:80 tcp [fd00:10:96::2]:80 udp [fd00:10:96::2]:80",
	} {
		var got []string
		all, names := targets([]end{e}, family)
		for i, target := range all {
			got = append(got, target.Protocol, target.Address())
			if names[i] != "a" {
				t.Errorf("%s should be answered by %q", target.Address(), names[i])
			}
		}
		if strings.Join(got, " ") != want {
			t.Errorf("family %d: %q, want %s", family, got, want)
		}
	}
}

func TestCompareWantsTheRightPod(t *testing.T) {
	targets := []probe.Target{{Host: "10.0.0.1", Port: 80, Protocol: probe.TCP}}
	for _, c := range []struct {
		result probe.Result
		wrong  string
	}{
		{probe.Result{Open: true, AnsweredBy: "a"}, ""},
		{probe.Result{Open: true, AnsweredBy: "b"}, "b answers"},
		{probe.Result{Error: "timed out"}, "timed out"},
	} {
		err := compare(targets, []string{"a"}, []probe.Result{c.result})
		if (err == nil) != (c.wrong == "") || err != nil && !strings.Contains(err.Error(), c.wrong) {
			t.Errorf("%+v: %v, want %q", c.result, err, c.wrong)
		}
	}
}
