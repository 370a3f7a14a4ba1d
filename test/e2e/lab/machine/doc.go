// Package machine makes the lab's machines: a process with PID, mount, network, UTS, IPC and cgroup namespaces of
// its own, on the files of this machine, with private /run, /proc, /sys, /var/lib and /var/log. It joins them by
// a bridge and runs commands in them.
//
// Nothing of a machine is visible from outside but its processes and their cgroups: its mounts, interfaces,
// addresses and sysctls live in its namespaces and are gone with the last of its processes, which dies with
// the first. What runs on a machine is none of this package's business.
package machine
