// Package progress prints what the lab is doing, one line for each step, with the seconds since the beginning. It
// decides nothing.
package progress

import (
	"fmt"
	"io"
	"sync"
	"time"
)

// Printer prints steps. It may be used by several goroutines at once.
type Printer struct {
	mu    sync.Mutex
	out   io.Writer
	start time.Time
}

// New returns a printer whose clock starts now.
func New(out io.Writer) *Printer {
	return &Printer{out: out, start: time.Now()}
}

// Step prints one line.
func (p *Printer) Step(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, _ = fmt.Fprintf(p.out, "%6.1fs  %s\n", p.Elapsed().Seconds(), fmt.Sprintf(format, args...))
}

// Elapsed returns the time since the beginning.
func (p *Printer) Elapsed() time.Duration {
	return time.Since(p.start)
}
