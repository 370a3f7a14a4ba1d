package control

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"

	"github.com/netpol-agent/netpol-agent/internal/compiler"
	"github.com/netpol-agent/netpol-agent/internal/render"
	"github.com/netpol-agent/netpol-agent/test/bench/cluster"
	"github.com/netpol-agent/netpol-agent/test/bench/rules"
	"github.com/netpol-agent/netpol-agent/test/bench/space"
)

// Memory is what each layer holds, in bytes of live heap.
type Memory struct {
	// Objects is the API objects as the caches keep them, trimmed to the fields in use.
	Objects int64
	// Compiled is the compiler's state with the rule program.
	Compiled int64
	// Rendered is the renderer's state: the rules as they should be and as the kernel has them.
	Rendered int64
	// Resident is the whole process.
	Resident int64
	// Installed is the counts of the rules, by family.
	Installed map[string]render.Counts
}

// Measure creates a cluster and takes it from objects to rules in the kernel, layer by layer.
func Measure(size cluster.Size, backend string) (m Memory, err error) {
	s, err := space.New()
	if err != nil {
		return m, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	r, err := rules.Open(s, backend)
	if err != nil {
		return m, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()

	empty := live()
	c, err := cluster.New(size)
	if err != nil {
		return m, err
	}
	objects := live()
	comp := Compile(c)
	compiled := live()
	if _, err := r.Sync(comp.Program()); err != nil {
		return m, err
	}
	rendered := live()
	m.Objects, m.Compiled, m.Rendered = objects-empty, compiled-objects, rendered-compiled
	m.Installed = r.Counts()
	m.Resident, err = resident()
	runtime.KeepAlive(c)
	runtime.KeepAlive(comp)
	return m, err
}

// Compile returns a compiler that knows a cluster.
func Compile(c *cluster.Cluster) *compiler.Compiler {
	comp := compiler.New(compiler.Options{Node: cluster.Node})
	for _, o := range c.Namespaces {
		comp.SetNamespace(o)
	}
	for _, o := range c.Pods {
		comp.SetPod(o)
	}
	for _, o := range c.Policies {
		comp.SetPolicy(o)
	}
	comp.TakeDelta()
	return comp
}

// live returns the bytes of the heap that are in use, without what a second collection frees.
func live() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// resident returns the resident memory of this process after it has returned unused memory, in bytes.
func resident() (int64, error) {
	debug.FreeOSMemory()
	b, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0, err
	}
	fields := bytes.Fields(b)
	if len(fields) < 2 {
		return 0, fmt.Errorf("/proc/self/statm: %q", b)
	}
	pages, err := strconv.ParseInt(string(fields[1]), 10, 64)
	return pages * int64(os.Getpagesize()), err
}
