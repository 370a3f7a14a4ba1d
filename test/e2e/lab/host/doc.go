// Package host checks that this machine can run the lab and installs the Debian packages it lacks. It says in one
// line what is missing. It changes nothing else: no sysctl, no file outside the package manager's own.
package host
