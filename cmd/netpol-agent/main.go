// Netpol-agent enforces Kubernetes NetworkPolicy on one node, and shows what the policies decide.
package main

import (
	"os"

	"github.com/netpol-agent/netpol-agent/cmd/netpol-agent/internal/cli"
)

func main() { os.Exit(cli.Main(os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) }
