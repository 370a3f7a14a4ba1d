package clustergen

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/netpol-agent/netpol-agent/test/oracle"
)

// packetsPerCase is how many packets a property test draws for one cluster; all benchmarks are per cluster.
const packetsPerCase = 20

func BenchmarkStateRapid(b *testing.B) {
	n := b.N
	done := 0
	for done < n {
		rapid.Check(b, func(t *rapid.T) {
			s := State().Draw(t, "state")
			packets := Packet(s)
			for range packetsPerCase {
				oracle.Allowed(s, packets.Draw(t, "packet"))
			}
			done++
		})
	}
}

func BenchmarkStateSeed(b *testing.B) {
	seed := uint64(0)
	for b.Loop() {
		seed++
		s := StateFromSeed(seed)
		for _, p := range PacketsFromSeed(s, seed, packetsPerCase) {
			oracle.Allowed(s, p)
		}
	}
}

func BenchmarkStateSeedOnly(b *testing.B) {
	seed := uint64(0)
	for b.Loop() {
		seed++
		StateFromSeed(seed)
	}
}

func BenchmarkEventsSeed(b *testing.B) {
	seed := uint64(0)
	for b.Loop() {
		seed++
		EventsFromSeed(seed)
	}
}
