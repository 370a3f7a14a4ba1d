// Package machine makes the lab's machines: a process with PID, mount, network, UTS, IPC and cgroup namespaces of
// its own, on the files of this machine, with private /run, /proc, /sys, /var/lib and /var/log. It connects them
// with a bridge and runs commands in them.
//
// Only a machine's processes and their cgroups are visible from outside. Its mounts, interfaces, addresses and
// sysctls live in its namespaces and disappear with the last of its processes. All of them die with the first.
// Callers decide what runs on a machine.
package machine
