package kernel

import (
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/netpol-agent/netpol-agent/internal/compiler/program"
	"github.com/netpol-agent/netpol-agent/internal/render"
	"github.com/netpol-agent/netpol-agent/internal/render/iptables"
	iptools "github.com/netpol-agent/netpol-agent/internal/render/iptables/kernel"
	iprules "github.com/netpol-agent/netpol-agent/internal/render/iptables/ruleset"
	"github.com/netpol-agent/netpol-agent/internal/render/nft"
	"github.com/netpol-agent/netpol-agent/internal/render/nft/kernel"
	"github.com/netpol-agent/netpol-agent/internal/render/nft/ruleset"
	"github.com/netpol-agent/netpol-agent/test/iptfake"
	"github.com/netpol-agent/netpol-agent/test/kernel/lab"
	"github.com/netpol-agent/netpol-agent/test/nft/trace"
	"github.com/netpol-agent/netpol-agent/test/testns"
	"github.com/netpol-agent/netpol-agent/test/testns/xtables"
)

// The backends that these tests run for. KERNEL_BACKEND names one; the default is the first.
const (
	backendNFT       = "nftables"
	backendLegacy    = "iptables-legacy"
	backendIPTNFT    = "iptables-nft"
	backendVariable  = "KERNEL_BACKEND"
	smallTransaction = 10
)

// renderer is what the tests need from a backend's renderer.
type renderer interface {
	Sync(p *program.Program) (render.Stats, error)
	Apply(p *program.Program, d *program.Delta) (render.Stats, error)
}

// backend creates renderers on one node's kernel.
type backend interface {
	// renderer returns a new one, as a process has when it starts. maxCost limits the transactions of a start, where there
	// is such a limit; 0 means the default.
	renderer(maxCost int) renderer
	// remove removes all rules, which opens everything.
	remove() error
	// trace returns what the rules of a program do to a packet that opens a connection, and why.
	trace(p *program.Program, pkt tracedPacket) (pass bool, why string)
	// text returns the rules of a program.
	text(p *program.Program) string
}

// tracedPacket is the first packet of a connection.
type tracedPacket struct {
	src, dst netip.Addr
	protocol uint8
	dstPort  uint16
	icmpType uint8
	// output means that the packet leaves through the output hook, local that its source is an address of the node.
	output, local bool
}

// openBackend opens the backend under test in a namespace.
func openBackend(t testing.TB, ns *lab.Namespace) backend {
	t.Helper()
	name := os.Getenv(backendVariable)
	if name == "" {
		name = backendNFT
	}
	return openNamed(t, ns, name)
}

func openNamed(t testing.TB, ns *lab.Namespace, name string) backend {
	t.Helper()
	switch name {
	case backendNFT:
		conn, err := kernel.Open(kernel.WithNetNS(ns.FD()))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		return nftBackend{conn}
	case backendLegacy, backendIPTNFT:
		programs, err := xtables.Within(ns.Do, iptools.Open, iptools.Variant(strings.TrimPrefix(name, "iptables-")))
		if err != nil {
			testns.Cannot(t, "%v", err)
		}
		return iptBackend{programs}
	}
	t.Fatalf("%s: no backend %q", backendVariable, name)
	return nil
}

type nftBackend struct{ conn *kernel.Conn }

func (b nftBackend) renderer(maxCost int) renderer {
	return nft.New(b.conn, nft.Options{MaxCost: maxCost})
}

func (b nftBackend) remove() error {
	_, err := nft.Cleanup(b.conn, false)
	return err
}

func (nftBackend) text(p *program.Program) string { return nft.Render(p).Text("netpol-agent") }

func (nftBackend) trace(p *program.Program, pkt tracedPacket) (bool, string) {
	hook := ruleset.Forward
	if pkt.output {
		hook = ruleset.Output
	}
	v, steps := trace.Trace(nft.Render(p), hook, trace.Packet{
		Src: pkt.src, Dst: pkt.dst, Protocol: pkt.protocol, DstPort: pkt.dstPort, ICMPType: pkt.icmpType, SYN: true, LocalSource: pkt.local,
	})
	why := ""
	for _, s := range steps {
		why += s.String() + "\n"
	}
	return v.Kind == ruleset.Accept, why
}

// iptBackend runs the programs inside the namespace.
type iptBackend struct{ xtables.Programs }

func (b iptBackend) renderer(int) renderer {
	return iptables.New(b, iptables.Options{})
}

func (iptBackend) text(p *program.Program) string { return iptables.Render(p).Text() }

func (b iptBackend) remove() error {
	_, err := iptables.Cleanup([]iptables.Kernel{b}, false)
	return err
}

func (iptBackend) trace(p *program.Program, pkt tracedPacket) (bool, string) {
	chain := iprules.ChainForward
	if pkt.output {
		chain = iprules.ChainOutput
	}
	pass, steps := iptfake.Trace(iptables.Render(p).Table(program.FamilyOf(pkt.src)), chain, iptfake.Packet{
		Src: pkt.src, Dst: pkt.dst, Protocol: pkt.protocol, DstPort: pkt.dstPort, ICMPv6Type: pkt.icmpType, SYN: true, LocalSource: pkt.local,
	})
	return pass, strings.Join(steps, "\n")
}
