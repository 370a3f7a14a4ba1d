package cli

import (
	"cmp"
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// Version and Commit are set by the linker ("make build"). Without them, the module's build information is used.
var (
	Version string
	Commit  string
)

// buildVersion describes the binary.
type buildVersion struct {
	Version  string `json:"version"`
	Commit   string `json:"commit"`
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

func version() buildVersion {
	v := buildVersion{
		Version: Version, Commit: Commit,
		Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH,
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		v.Version = cmp.Or(v.Version, info.Main.Version)
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				v.Commit = cmp.Or(v.Commit, s.Value)
			}
		}
	}
	v.Version, v.Commit = cmp.Or(v.Version, "unknown"), cmp.Or(v.Commit, "unknown")
	return v
}

func newVersion() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Show the version",
		Long:  `version prints the version, the commit that it was built from, the Go release and the platform.`,
		Example: `  netpol-agent version
  netpol-agent version -o json`,
		Args: noArgs,
	}
	output := outputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		v := version()
		if output.value == outputJSON {
			return printJSON(cmd.OutOrStdout(), v)
		}
		fmt.Fprintf(cmd.OutOrStdout(), "netpol-agent %s, commit %s, %s, %s\n", v.Version, v.Commit, v.Go, v.Platform)
		return nil
	}
	return cmd
}
