// Package render holds what its callers know of every backend: what a backend does, what it reports and how it is
// opened. The backends are its subpackages nft and iptables. Each renders the same rule program, so no policy decision is
// made twice. Package backend chooses between them.
//
// It decides nothing, and knows neither the backends nor who calls them.
package render

import (
	"time"

	"github.com/netpol-agent/netpol-agent/internal/compiler/program"
)

// Backend brings a rule program into the kernel. It is not safe for concurrent use.
type Backend interface {
	// Sync compares what the kernel has with the program and makes it equal. It is called at the start and periodically.
	Sync(p *program.Program) (Stats, error)
	// Apply writes what d names. After an error the kernel's rules are at most as open as the old or the new ones, and the
	// next Apply or Sync makes up for it.
	Apply(p *program.Program, d *program.Delta) (Stats, error)
	// Drifted reports, cheaply, whether the kernel's rules were changed by anybody else since the last commit. It may
	// also return true for changes of others' rules, unless PreciseDrift returns true.
	Drifted() (bool, error)
	// PreciseDrift reports whether Drifted detects changes of our own rules alone.
	PreciseDrift() bool
	// Counts returns how many objects are installed, by family ("ipv4", "ipv6", "inet").
	Counts() map[string]Counts
	// Table returns where in the kernel an operator finds the rules.
	Table() string
}

// Opened is a backend that is ready to write, with what its opening found out.
type Opened struct {
	Backend
	// Name is the backend's name ("nftables", "iptables-legacy" or "iptables-nft"), Reason why it was chosen.
	Name, Reason string
	// Sweep removes what the backends that are not in use left on the node, and nothing else. It returns what it removed.
	// Call it once Backend enforces, and again until it returns no error; it is safe to call while Backend works. Nil if
	// there is nothing to sweep.
	Sweep func() (removed []string, err error)
	// Close releases what opening acquired. The rules stay. May be nil.
	Close func() error
}

// Observer is told about a backend's work. Nil functions are not called.
type Observer struct {
	// LockWaited is called after each wait for a lock that the node's programs share, with whether the wait timed out. It
	// may be called from any goroutine.
	LockWaited func(took time.Duration, failed bool)
}

// Stats describes what one call of a Backend wrote.
type Stats struct {
	// Ops is the number of operations that were committed, elements not counted; 0 if the kernel had everything already.
	Ops int
	// Elements is the number of set and map elements that were added or deleted.
	Elements int
	// Full reports whether a whole new table replaced what was there.
	Full bool
	// Left is the reason why stale objects of ours could not be removed, or nil. They affect no packet: the program is
	// enforced, and the next full comparison tries again.
	Left error
}

// Counts is the number of objects of one IP family.
type Counts struct {
	Rules    int `json:"rules"`
	Chains   int `json:"chains"`
	Sets     int `json:"sets"`
	Elements int `json:"elements"`
}
