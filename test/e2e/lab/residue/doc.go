// Package residue finds what a lab left behind on this machine: processes, mounts, cgroups. It removes
// cgroups, which nothing else removes; it ends no process.
//
// Namespaces are not looked for by their numbers, which the kernel gives out again at once: a namespace is
// held by a process or by a mount, and those are.
package residue

// Trace is by what a lab's remains are known.
type Trace struct {
	// StateDir is the lab's folder: mounts below it are the lab's, and processes that are marked with it.
	StateDir string
	// Cgroup is the path, in every hierarchy, of the cgroup that holds all of the lab's machines.
	Cgroup string
}
