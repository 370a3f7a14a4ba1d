// Package probe finds out who reaches whom. Its server answers TCP connections and UDP datagrams with its name, and
// opens connections to others when asked to over HTTP. A harness asks from the pod's own node, which policies
// always let through.
//
// It reports what it saw. The harness decides whether that is correct.
package probe

import (
	"net"
	"strconv"
	"time"
)

// ControlPort is the default port on which a probe is asked to probe others.
const ControlPort = 9099

// Path is the URL path of such a question.
const Path = "/probe"

// Protocols of a target.
const (
	TCP = "tcp"
	UDP = "udp"
)

// DefaultTimeout is the timeout of a probe whose target sets none.
const DefaultTimeout = time.Second

// Target is an address to probe.
type Target struct {
	// Host is an address or a name, IPv6 without brackets.
	Host string `json:"host"`
	Port int    `json:"port"`
	// Protocol is TCP or UDP.
	Protocol string `json:"protocol"`
	// TimeoutMs is how long to wait for the answer, in milliseconds; DefaultTimeout if 0.
	TimeoutMs int `json:"timeoutMs,omitempty"`
}

// Address is the target's host and port, as net.Dial takes them.
func (t Target) Address() string { return net.JoinHostPort(t.Host, strconv.Itoa(t.Port)) }

func (t Target) timeout() time.Duration {
	if t.TimeoutMs <= 0 {
		return DefaultTimeout
	}
	return time.Duration(t.TimeoutMs) * time.Millisecond
}

// Result is the result of a probe.
type Result struct {
	// Open is true if the target answered.
	Open bool `json:"open"`
	// AnsweredBy is the name in the answer.
	AnsweredBy string `json:"answeredBy,omitempty"`
	// Error says why there was no answer.
	Error string `json:"error,omitempty"`
	// Micros is the time it took, in microseconds.
	Micros int64 `json:"micros"`
}

// Question asks a probe to probe all targets at once.
type Question struct {
	Targets []Target `json:"targets"`
}

// Answer holds a result for each target, in the same order.
type Answer struct {
	Results []Result `json:"results"`
}
