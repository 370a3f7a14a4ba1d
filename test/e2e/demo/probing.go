package demo

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/netpol-agent/netpol-agent/test/e2e/probe"
	"github.com/netpol-agent/netpol-agent/test/oracle"
)

const (
	// firstWait is how long a probe waits for an answer. Most answers take less than a millisecond.
	firstWait = 400 * time.Millisecond
	// secondWait is for probes that should have passed: on a busy machine an answer may be late. What should not
	// pass is never tried again.
	secondWait = 3 * time.Second
)

// place is a pod of the demo, or a node as the source of probes.
type place struct {
	name, node string
	direct     netip.Addr
	// service is the pod's cluster IP.
	service string
}

// attempt is one probe with its expected result.
type attempt struct {
	to        place
	portIndex int
	target    probe.Target
	expected  bool
}

// observe probes every pair and every port, directly and through Services.
func (d *Demo) observe(ctx context.Context, ports []port, s oracle.State) (*matrix, error) {
	m := newMatrix(names(append(d.nodePlaces(), d.pods...)), names(d.pods), ports)
	for _, from := range append(d.nodePlaces(), d.pods...) {
		attempts, err := d.attempts(ctx, from, ports, s)
		if err != nil {
			return nil, err
		}
		if err := d.run(ctx, from, attempts, m); err != nil {
			return nil, err
		}
	}
	return m, nil
}

func names(places []place) []string {
	var out []string
	for _, p := range places {
		out = append(out, p.name)
	}
	return out
}

// attempts returns the probes of one source. Nodes probe pods directly only, because kube-proxy chooses the source
// address of a node's packets to a Service.
func (d *Demo) attempts(ctx context.Context, from place, ports []port, s oracle.State) ([]attempt, error) {
	var out []attempt
	for _, to := range d.pods {
		src := from.direct
		if !src.IsValid() {
			var err error
			if src, err = d.sourceOf(ctx, from.node, to.direct); err != nil {
				return nil, err
			}
		}
		for i, p := range ports {
			expected := oracle.Allowed(s, oracle.Packet{Src: src, Dst: to.direct, Protocol: protocolNumber(p), DstPort: uint16(p.number)}) //nolint:gosec // ports of this package
			add := func(host string) {
				out = append(out, attempt{to: to, portIndex: i, expected: expected,
					target: probe.Target{Host: host, Port: p.number, Protocol: p.protocol, TimeoutMs: int(firstWait.Milliseconds())}})
			}
			add(to.direct.String())
			if from.direct.IsValid() {
				add(to.service)
			}
		}
	}
	return out, nil
}

func protocolNumber(p port) uint8 {
	if p.protocol == probe.UDP {
		return oracle.UDP
	}
	return oracle.TCP
}

// run carries out the probes of one source and records their outcomes.
func (d *Demo) run(ctx context.Context, from place, attempts []attempt, m *matrix) error {
	observed, err := d.ask(ctx, from, attempts)
	if err != nil {
		return err
	}
	var late []int
	for i, a := range attempts {
		if a.expected && !observed[i] {
			late = append(late, i)
		}
	}
	if len(late) > 0 {
		again := make([]attempt, len(late))
		for j, i := range late {
			again[j] = attempts[i]
			again[j].target.TimeoutMs = int(secondWait.Milliseconds())
		}
		second, err := d.ask(ctx, from, again)
		if err != nil {
			return err
		}
		for j, i := range late {
			observed[i] = second[j]
		}
	}
	for i, a := range attempts {
		m.put(from.name, a.to.name, a.portIndex, judge(a.expected, observed[i]))
		d.probes++
	}
	return nil
}

// ask has the probe of a place try all targets, in groups that do not overload a small machine.
func (d *Demo) ask(ctx context.Context, from place, attempts []attempt) ([]bool, error) {
	const group = 64
	out := make([]bool, len(attempts))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(2)
	for start := 0; start < len(attempts); start += group {
		end := min(start+group, len(attempts))
		g.Go(func() error {
			var targets []probe.Target
			for _, a := range attempts[start:end] {
				targets = append(targets, a.target)
			}
			results, err := d.probeClient(from).Ask(ctx, from.control(), targets)
			if err != nil {
				return fmt.Errorf("ask the probe of %s: %w", from.name, err)
			}
			for i, r := range results {
				// An answer from anybody else does not count.
				out[start+i] = r.Open && r.AnsweredBy == attempts[start+i].to.name
			}
			return nil
		})
	}
	return out, g.Wait()
}

// control returns the host at which the place's probe takes questions.
func (p place) control() string {
	if p.direct.IsValid() {
		return p.direct.String()
	}
	return "127.0.0.1"
}

// probeClient reaches a pod's probe from the pod's own node, which no policy can forbid.
func (d *Demo) probeClient(from place) *probe.Client {
	return probe.NewClient(d.cluster.DialContext(from.node))
}

// sourceOf returns the source address of a node's own packets to a destination.
func (d *Demo) sourceOf(ctx context.Context, node string, dst netip.Addr) (netip.Addr, error) {
	key := node + " " + dst.String()
	if a, ok := d.sources[key]; ok {
		return a, nil
	}
	out, err := d.cluster.NodeExec(ctx, node, "ip", "-j", "route", "get", dst.String())
	if err != nil {
		return netip.Addr{}, err
	}
	var routes []struct {
		PrefSrc netip.Addr `json:"prefsrc"`
	}
	if err := json.Unmarshal(out, &routes); err != nil || len(routes) != 1 {
		return netip.Addr{}, fmt.Errorf("node %s: route to %s: %q: %w", node, dst, out, err)
	}
	d.sources[key] = routes[0].PrefSrc
	return routes[0].PrefSrc, nil
}
