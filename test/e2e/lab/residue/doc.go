// Package residue finds what a lab left behind on this machine: processes, mounts, cgroups. It removes cgroups,
// which nothing else removes. It kills no process.
//
// It does not look for namespaces by their numbers, which the kernel reuses at once. A namespace is held by a
// process or a mount, and it finds those.
package residue

// Trace says how a lab's leftovers are recognized.
type Trace struct {
	// StateDir is the lab's folder: mounts below it are the lab's, and processes that are marked with it.
	StateDir string
	// Cgroup is the path, in every hierarchy, of the cgroup that holds all of the lab's machines.
	Cgroup string
}
