package clustergen

import (
	"math/rand/v2"

	"pgregory.net/rapid"
)

// source is where decisions come from.
type source interface {
	// intn returns a number from 0 to n-1; n is at least 1. 0 is the plainest choice, to which a failing case shrinks.
	intn(n int) int
}

// drawn takes decisions from a rapid test.
type drawn struct{ t *rapid.T }

func (d drawn) intn(n int) int { return rapid.IntRange(0, n-1).Draw(d.t, "") }

// seeded takes decisions from a pseudo-random sequence.
type seeded struct{ rng *rand.Rand }

func newSeeded(seed uint64) seeded { return seeded{rand.New(rand.NewPCG(seed, 0x9e3779b97f4a7c15))} }

func (s seeded) intn(n int) int { return s.rng.IntN(n) }

// oneIn returns true in about one of n cases, and false in the plainest one.
func oneIn(s source, n int) bool { return s.intn(n) == n-1 }

// pick returns one entry of a table that is not empty; the first one is the plainest.
func pick[T any](s source, table []T) T { return table[s.intn(len(table))] }

// many returns least to most elements: on average a little less than half of the possible length, and seldom more than
// five above least.
func many[T any](s source, least, most int, element func(source) T) []T {
	if d, ok := s.(drawn); ok {
		// The library's own list lets it remove single elements when it shrinks.
		one := rapid.Custom(func(t *rapid.T) T { return element(drawn{t}) })
		return rapid.SliceOfN(one, least, most).Draw(d.t, "")
	}
	// The same lengths as the library's: geometrically distributed, cut off at both ends.
	average := min(float64(most-least)/2, max(float64(least), 5))
	list := make([]T, 0, most)
	for len(list) < most && (len(list) < least || float64(s.intn(1000)) < 1000*average/(1+average)) {
		list = append(list, element(s))
	}
	return list
}

// shuffled returns the elements of list in random order. If every choice is the plainest, they keep their order.
func shuffled[T any](s source, list []T) []T {
	list = append([]T(nil), list...)
	for i := range len(list) - 1 {
		j := i + s.intn(len(list)-i)
		list[i], list[j] = list[j], list[i]
	}
	return list
}
