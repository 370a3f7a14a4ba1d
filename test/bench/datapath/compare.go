package datapath

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"runtime/debug"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/netpol-agent/netpol-agent/test/bench/space"
	"github.com/netpol-agent/netpol-agent/test/bench/stat"
)

// Kind is a kind of packet that is timed.
type Kind int

// The kinds of packets.
const (
	// TCP is a new TCP connection from connect to close: four packets, of which the rules judge the first one.
	TCP Kind = iota
	// Connect is the connect alone.
	Connect
	// UDP is the first datagram of a flow.
	UDP
	// Established is a datagram of a known flow: one packet.
	Established
	// Exchange is a request and its answer, one byte each, on a known TCP connection: two packets.
	Exchange
)

// Kinds returns all kinds, in the order in which tables show them.
func Kinds() []Kind { return []Kind{TCP, Connect, UDP, Established, Exchange} }

// String returns the name of what is timed.
func (k Kind) String() string {
	return [...]string{"TCP connection", "TCP connect alone", "UDP new flow", "established, datagram", "established, TCP request and answer"}[k]
}

// Alternative is one of the things that a router may do with packets.
type Alternative struct {
	Name string
	// Load makes a router without rules do it.
	Load func(*Path) error
	// Closed means that a port without a policy that allows it must not be reachable.
	Closed bool
}

// Plan defines what is compared, and for how long.
type Plan struct {
	Alternatives   []Alternative
	Client, Server netip.Addr
	// TCPPort and UDPPort are reachable in every alternative, ClosedPort only in those that are not Closed.
	TCPPort, UDPPort, ClosedPort uint16
	// Trials is how often all paths are created anew, Rounds how often every alternative has a turn in each trial, Batch
	// how many connections it opens in one turn.
	Trials, Rounds, Batch int
}

// Result is what one alternative costs for one kind.
type Result struct {
	// Typical is the time of one connection, in seconds.
	Typical float64
	// Ratios is that time divided by the time of each other alternative, by its index.
	Ratios []Ratio
}

// Ratio is a quotient of times.
type Ratio struct {
	// Value is the median over all trials, on a logarithmic scale, of the median over the trial's rounds of the quotient
	// of the medians of the round's two turns. So an accidental advantage of one path counts little.
	Value float64
	// Low and High bound the median over all rounds with 95 % confidence.
	Low, High float64
	// Rounds is the number of quotients.
	Rounds int
}

// Compare runs a plan. The result is indexed by kind and then by alternative.
func Compare(p Plan) (out map[Kind][]Result, err error) {
	err = space.OnThread(func() error {
		if err := stay(); err != nil {
			return err
		}
		out, err = p.compare()
		return err
	})
	return out, err
}

// stay keeps the thread on its current processor, and blocks the signals with which Go's scheduler interrupts a
// goroutine: they would interrupt a connect.
func stay() error {
	var cpu uint32
	if _, _, errno := unix.RawSyscall(unix.SYS_GETCPU, uintptr(unsafe.Pointer(&cpu)), 0, 0); errno != 0 {
		return fmt.Errorf("getcpu: %w", errno)
	}
	var set unix.CPUSet
	set.Set(int(cpu))
	if err := unix.SchedSetaffinity(0, &set); err != nil {
		return fmt.Errorf("pin to processor %d: %w", cpu, err)
	}
	var signals unix.Sigset_t
	signals.Val[0] = 1 << (unix.SIGURG - 1)
	if err := unix.PthreadSigmask(unix.SIG_BLOCK, &signals, nil); err != nil {
		return fmt.Errorf("block signals: %w", err)
	}
	return nil
}

func (p Plan) compare() (out map[Kind][]Result, err error) {
	b := &bench{plan: p, samples: map[Kind][][][]float64{}}
	defer func() { err = errors.Join(err, b.close()) }()
	for range p.Trials {
		if err := b.trial(); err != nil {
			return nil, err
		}
	}
	return b.results(), nil
}

// bench is a running comparison.
type bench struct {
	plan Plan
	// paths and traffic are those of the current trial by alternative. closers has those of all trials, because the kernel
	// would take earlier ones apart while packets are timed.
	paths   []*Path
	traffic []*Traffic
	closers []func() error
	// samples holds the median times of turns by kind, trial, round and alternative.
	samples map[Kind][][][]float64
}

func (b *bench) close() error {
	var errs []error
	for i := len(b.closers) - 1; i >= 0; i-- {
		errs = append(errs, b.closers[i]())
	}
	return errors.Join(errs...)
}

// trial creates a path for every alternative, in random order, and lets each have its turns. A path serves only one
// alternative: once a namespace has the legacy iptables table it keeps it, with rules or without.
func (b *bench) trial() error {
	n := len(b.plan.Alternatives)
	b.paths, b.traffic = make([]*Path, n), make([]*Traffic, n)
	for _, i := range rand.Perm(n) {
		if err := b.prepare(i); err != nil {
			return fmt.Errorf("%s: %w", b.plan.Alternatives[i].Name, err)
		}
	}
	for _, k := range Kinds() {
		samples, err := b.rounds(k, max(1, b.plan.Rounds/b.plan.Trials))
		if err != nil {
			return fmt.Errorf("%s: %w", k, err)
		}
		b.samples[k] = append(b.samples[k], samples)
	}
	return nil
}

// prepare creates the path of an alternative, with its rules and ready for traffic.
func (b *bench) prepare(i int) error {
	a := b.plan.Alternatives[i]
	path, err := NewPath(b.plan.Client, b.plan.Server)
	if err != nil {
		return err
	}
	b.paths[i], b.closers = path, append(b.closers, path.Close)
	t, err := Listen(path, b.plan.TCPPort, b.plan.UDPPort)
	if err != nil {
		return err
	}
	b.traffic[i], b.closers = t, append(b.closers, func() error { t.Close(); return nil })
	if err := a.Load(path); err != nil {
		return fmt.Errorf("load: %w", err)
	}
	return b.check(a, i)
}

// check verifies that the path does what its alternative claims before it is timed.
func (b *bench) check(a Alternative, at int) error {
	if _, err := b.traffic[at].TCP(nil, 1, true); err != nil {
		return err
	}
	if n, err := b.paths[at].Tracked(); err != nil || n == 0 {
		return errors.Join(errors.New("the router follows no connections"), err)
	}
	wait := patience
	if a.Closed {
		wait = 300 * time.Millisecond
	}
	dropped, err := b.traffic[at].Drops(b.plan.ClosedPort, wait)
	if err != nil {
		return err
	}
	if dropped != a.Closed {
		return fmt.Errorf("port %d: dropped %t, want %t", b.plan.ClosedPort, dropped, a.Closed)
	}
	return nil
}

// rounds lets every alternative have its turn in every round, in random order.
func (b *bench) rounds(k Kind, rounds int) ([][]float64, error) {
	runtime.GC()
	// A collection in the middle of a turn would be counted against that alternative.
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	times := make([]time.Duration, 0, b.plan.Batch)
	out := make([][]float64, rounds)
	for r := range out {
		out[r] = make([]float64, len(b.plan.Alternatives))
		for _, i := range rand.Perm(len(b.plan.Alternatives)) {
			var err error
			if times, err = b.turn(k, i, times[:0]); err != nil {
				return nil, fmt.Errorf("%s: %w", b.plan.Alternatives[i].Name, err)
			}
			out[r][i] = stat.Median(times).Seconds()
		}
	}
	return out, nil
}

func (b *bench) turn(k Kind, at int, times []time.Duration) ([]time.Duration, error) {
	if err := b.paths[at].Forget(); err != nil {
		return times, fmt.Errorf("forget connections: %w", err)
	}
	switch k {
	case TCP, Connect:
		return b.traffic[at].TCP(times, b.plan.Batch, k == TCP)
	case UDP:
		return b.traffic[at].NewFlows(times, b.plan.Batch)
	case Exchange:
		return b.traffic[at].Exchanges(times, b.plan.Batch)
	default:
		return b.traffic[at].Established(times, b.plan.Batch)
	}
}

func (b *bench) results() map[Kind][]Result {
	out := map[Kind][]Result{}
	for k, trials := range b.samples {
		for i := range b.plan.Alternatives {
			var r Result
			var all []float64
			for _, rounds := range trials {
				for _, turns := range rounds {
					all = append(all, turns[i])
				}
			}
			r.Typical = stat.Median(all)
			for j := range b.plan.Alternatives {
				r.Ratios = append(r.Ratios, ratio(trials, i, j))
			}
			out[k] = append(out[k], r)
		}
	}
	return out
}

// ratio returns alternative i divided by alternative j.
func ratio(trials [][][]float64, i, j int) Ratio {
	var out Ratio
	var all []float64
	var logs []float64
	for _, rounds := range trials {
		var quotients []float64
		for _, turns := range rounds {
			quotients = append(quotients, turns[i]/turns[j])
		}
		all = append(all, quotients...)
		logs = append(logs, math.Log(stat.Median(quotients)))
	}
	out.Value = math.Exp(stat.Median(logs))
	out.Low, out.High = stat.Interval(all)
	out.Rounds = len(all)
	return out
}
