// Command quick is agnhost with the two commands that Cyclonus uses, and no others: what agnhost imports beside
// them takes thirty milliseconds whenever it starts, and Cyclonus starts it a hundred thousand times.
package main

import (
	"os"

	"github.com/spf13/cobra"
	"k8s.io/kubernetes/test/images/agnhost/connect"
	servehostname "k8s.io/kubernetes/test/images/agnhost/serve-hostname"
)

func main() {
	root := &cobra.Command{Use: "agnhost"}
	root.AddCommand(connect.CmdConnect, servehostname.CmdServeHostname)
	if err := root.Execute(); err != nil {
		os.Exit(1)
	}
}
