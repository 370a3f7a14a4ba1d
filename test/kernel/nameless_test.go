package kernel

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	corev1 "k8s.io/api/core/v1"

	"github.com/netpol-agent/netpol-agent/test/kernel/lab"
)

// namelessPort is where a pod listens for packets that name no pod.
const namelessPort = 9999

// TestKernelNamelessPackets sends a pod packets that its bridge delivers although they do not contain the pod's address
// in the cluster: to its link-local address, to all, and to the whole network. None of them passes while a pod of the
// node is isolated, neither to it nor from it, and all of them pass while none is.
func TestKernelNamelessPackets(t *testing.T) {
	w := newWorld(t)
	const web, client = "shop/web", "blog/client"
	rows := []struct {
		name, objects, from, to string
		pass                    bool
	}{
		{"nobody is isolated", "", client, web, true},
		{"the destination is isolated", policy("shop/deny", "podSelector: {matchLabels: {app: web}}"), client, web, false},
		{"the source is isolated", policy("shop/deny", "podSelector: {matchLabels: {app: web}}\npolicyTypes: [Egress]"), web, client, false},
		{"the source may reach every address", policy("shop/deny", "podSelector: {matchLabels: {app: web}}\npolicyTypes: [Egress]\negress: [{}]"), web, client, false},
		{"only a pod of another namespace is isolated", policy("shop/deny", "podSelector: {matchLabels: {app: api}}"), client, web, false},
		{"nobody is isolated any more", "", client, web, true},
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			w.begin(t, r.objects)
			from, to := w.lab.Home(w.end(t, r.from)[0]), w.lab.Home(w.end(t, r.to)[0])
			heard := listenToAll(t, to)
			for _, dst := range nameless(t, to) {
				t.Run(dst.String(), func(t *testing.T) {
					heard.expect(t, from, dst, r.pass)
				})
			}
			// Neighbour discovery still finds it.
			w.probe(t, allow("node", r.to, "udp/53"))
		})
	}
}

// TestKernelNamelessOnIPv4Alone: a cluster whose pods have no IPv6 address is judged in that family too, because their
// interfaces have link-local ones. Neighbour discovery passes all the same; no connection state covers its answers
// here.
func TestKernelNamelessOnIPv4Alone(t *testing.T) {
	l := lab.New(t)
	a := newAgent(t, l)
	ends := addrs("10.244.1.10", "10.244.1.11")
	from, to := l.Pod("client", ends[0]), l.Pod("web", ends[1])
	for i, name := range []string{"client", "web"} {
		p := &corev1.Pod{}
		p.Namespace, p.Name, p.Labels = "shop", name, map[string]string{"app": name}
		p.Spec.NodeName, p.Status.Phase, p.Status.PodIP = thisNode, corev1.PodRunning, ends[i].String()
		a.setPod(p)
	}
	heard := listenToAll(t, to)
	for _, isolated := range []bool{false, true, false} {
		if a.deletePolicy("shop", "deny"); isolated {
			a.tell(policy("shop/deny", "podSelector: {matchLabels: {app: web}}"))
		}
		a.commit()
		l.Node.FlushConntrack(t)
		for _, dst := range nameless(t, to) {
			t.Run(fmt.Sprintf("isolated %t, %s", isolated, dst), func(t *testing.T) { heard.expect(t, from, dst, !isolated) })
		}
		if out, err := from.Command("", "ip", "-6", "neighbour", "flush", "dev", "eth0"); err != nil {
			t.Fatal(err, out)
		}
		local := nameless(t, to)[4]
		if err := sendNameless(from, local, "who has it"); err != nil {
			t.Fatal(err)
		}
		waitFor(t, "neighbour discovery finds "+local.String(), func() bool {
			out, err := from.Command("", "ip", "-6", "neighbour", "show", local.String())
			return err == nil && strings.Contains(out, "lladdr")
		})
	}
}

// nameless returns destinations that the bridge delivers to a pod. None of them is its address in the cluster.
func nameless(t *testing.T, pod *lab.Namespace) []netip.Addr {
	t.Helper()
	all := addrs("224.0.0.1", "255.255.255.255", "10.244.1.255", "ff02::1")
	err := pod.Do(func() error {
		link, err := netlink.LinkByName("eth0")
		if err != nil {
			return err
		}
		list, err := netlink.AddrList(link, netlink.FAMILY_V6)
		for _, a := range list {
			if local, _ := netip.AddrFromSlice(a.IP); local.IsLinkLocalUnicast() {
				all = append(all, local)
			}
		}
		return err
	})
	if err != nil || len(all) != 5 {
		t.Fatalf("link-local address of %s: %v, %v", pod.Name, all, err)
	}
	return all
}

// ear counts the datagrams that reach a pod, by their content.
type ear struct{ last atomic.Value }

func listenToAll(t *testing.T, pod *lab.Namespace) *ear {
	t.Helper()
	e := &ear{}
	e.last.Store("")
	for network, addr := range map[string]string{"udp4": "0.0.0.0", "udp6": "[::]"} {
		var conn net.PacketConn
		err := pod.Do(func() (err error) {
			conn, err = net.ListenPacket(network, fmt.Sprintf("%s:%d", addr, namelessPort))
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		go func() {
			buf := make([]byte, 256)
			for {
				n, _, err := conn.ReadFrom(buf)
				if err != nil {
					return
				}
				e.last.Store(string(buf[:n]))
			}
		}()
	}
	return e
}

// expect sends datagrams until one arrives, or for a while if none may.
func (e *ear) expect(t *testing.T, from *lab.Namespace, dst netip.Addr, pass bool) {
	t.Helper()
	text := t.Name()
	patience := 300 * time.Millisecond
	if pass {
		patience = 10 * time.Second
	}
	for end := time.Now().Add(patience); time.Now().Before(end) && e.last.Load() != text; time.Sleep(20 * time.Millisecond) {
		if err := sendNameless(from, dst, text); err != nil {
			t.Fatal(err)
		}
	}
	if got := e.last.Load() == text; got != pass {
		t.Errorf("a datagram to %s arrived: %t, want %t", dst, got, pass)
	}
}

func sendNameless(from *lab.Namespace, dst netip.Addr, text string) error {
	return from.Do(func() error {
		to := &net.UDPAddr{IP: dst.AsSlice(), Port: namelessPort}
		network := "udp4"
		if dst.Is6() {
			link, err := netlink.LinkByName("eth0")
			if err != nil {
				return err
			}
			// By its number: the names that package net knows belong to another namespace.
			network, to.Zone = "udp6", fmt.Sprint(link.Attrs().Index)
		}
		conn, err := net.ListenPacket(network, ":0")
		if err != nil {
			return err
		}
		_, err = conn.WriteTo([]byte(text), to)
		return errors.Join(err, conn.Close())
	})
}
