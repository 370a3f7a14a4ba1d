package iptables_test

import (
	"net/netip"
	"testing"

	"github.com/netpol-agent/netpol-agent/internal/compiler/program"
	"github.com/netpol-agent/netpol-agent/internal/render/iptables"
	"github.com/netpol-agent/netpol-agent/internal/render/iptables/kernel"
	"github.com/netpol-agent/netpol-agent/test/programs"
	"github.com/netpol-agent/netpol-agent/test/testns"
)

// BenchmarkKernel times what the renderer does on a node with some hundred pods.
func BenchmarkKernel(b *testing.B) {
	for _, v := range []kernel.Variant{kernel.Legacy, kernel.NFT} {
		k, err := openIn(testns.New(b), v)
		if err != nil {
			testns.Cannot(b, "%v", err)
		}
		p := everyWord()
		r := iptables.New(k, iptables.Options{FullCheck: 1 << 30})
		full := iptables.New(k, everyTime)
		for _, x := range []*iptables.Renderer{r, full} {
			if _, err := x.Sync(p); err != nil {
				b.Fatal(err)
			}
		}
		run := func(name string, f func(i int) error) {
			b.Run(string(v)+"/"+name, func(b *testing.B) {
				for i := 0; b.Loop(); i++ {
					if err := f(i); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
		run("remote pod", func(i int) error {
			d, m := program.NewDelta(), program.Member{Addr: netip.MustParseAddr("10.0.7.7")}
			d.Set("peers")[m] = struct{}{}
			if delete(p.Sets["peers"].Members, m); i%2 == 0 {
				p.Sets["peers"].Members[m] = struct{}{}
			}
			_, err := r.Apply(p, d)
			return err
		})
		run("policy", func(i int) error {
			d := program.NewDelta()
			d.Policies[programs.Ref("ns/p")] = struct{}{}
			p.Policies[programs.Ref("ns/p")].Ingress[0].Ports.Any = i%2 == 0
			_, err := r.Apply(p, d)
			return err
		})
		run("local pod", func(i int) error {
			d, a := program.NewDelta(), netip.MustParseAddr("10.244.0.201")
			d.Locals[a] = struct{}{}
			if delete(p.Locals, a); i%2 == 0 {
				p.Locals[a] = &program.Local{Pods: []string{"ns/new"}, Ingress: []program.StackID{"ingress"}}
			}
			_, err := r.Apply(p, d)
			return err
		})
		run("drift of jumps", func(int) error { _, err := r.Drifted(); return err })
		run("drift of everything", func(int) error { _, err := full.Drifted(); return err })
		run("start on what is there", func(int) error { _, err := iptables.New(k, everyTime).Sync(p); return err })
		run("removal and start", func(int) error {
			if _, err := iptables.Cleanup([]iptables.Kernel{k}, false); err != nil {
				return err
			}
			_, err := iptables.New(k, everyTime).Sync(p)
			return err
		})
	}
}
