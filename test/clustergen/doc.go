// Package clustergen draws random small clusters, packets and event sequences for property tests.
//
// It decides what is worth trying: every row of the policy semantics, objects that API validation refuses but that
// exist anyway, and packets near the boundaries of the rules at hand. It does not decide what any of it means; that
// is the oracle's part.
//
// Everything is drawn as small integers that choose from tables whose first entry is the plainest one, and lists are
// drawn element by element, so that a failing case shrinks to a few plain objects. Collisions are frequent on purpose:
// there are few labels, names, addresses and ports. All objects of one draw are distinct and shared with nothing else.
//
// The same draws can come from package rapid (State, Packet, Events, Orders) or, faster but without shrinking, from a
// seed (StateFromSeed, PacketsFromSeed, EventsFromSeed).
package clustergen

import (
	"pgregory.net/rapid"

	"github.com/netpol-agent/netpol-agent/test/oracle"
)

// State generates clusters of up to three nodes, twelve pods and twelve policies.
func State() *rapid.Generator[oracle.State] {
	return rapid.Custom(func(t *rapid.T) oracle.State { return state(drawn{t}) })
}

// Packet generates packets that have something to do with the state: mostly between its pods, nodes and the edges of
// its ipBlocks, on and beside the ports that its policies and containers name.
func Packet(s oracle.State) *rapid.Generator[oracle.Packet] {
	tables := newPacketTables(s)
	return rapid.Custom(func(t *rapid.T) oracle.Packet { return tables.packet(drawn{t}) })
}

// Events generates sequences of events that start at an empty cluster.
func Events() *rapid.Generator[History] {
	return rapid.Custom(func(t *rapid.T) History { return history(drawn{t}) })
}

// Orders generates histories that end in exactly the pods, namespaces and policies of s: its objects arrive in random
// order, after random detours over other objects and other versions of the same ones. The objects in the events are
// copies.
func Orders(s oracle.State) *rapid.Generator[History] {
	return rapid.Custom(func(t *rapid.T) History { return detour(drawn{t}, s) })
}

// StateFromSeed returns a cluster as State does, the same one for the same seed.
func StateFromSeed(seed uint64) oracle.State { return state(newSeeded(seed)) }

// PacketsFromSeed returns n packets as Packet does, the same ones for the same state and seed.
func PacketsFromSeed(s oracle.State, seed uint64, n int) []oracle.Packet {
	tables, source := newPacketTables(s), newSeeded(seed)
	packets := make([]oracle.Packet, 0, n)
	for range n {
		packets = append(packets, tables.packet(source))
	}
	return packets
}

// EventsFromSeed returns a sequence of events as Events does, the same one for the same seed.
func EventsFromSeed(seed uint64) History { return history(newSeeded(seed)) }
