// Package tool runs the nft tool in a network namespace, for tests.
package tool

import (
	"bytes"
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"github.com/netpol-agent/netpol-agent/test/testns"
)

// NFT runs the nft tool on a script.
type NFT func(script string, args ...string) error

// New returns an NFT in a network namespace that vanishes with the test. It skips the test if that is impossible.
func New(t testing.TB) NFT {
	t.Helper()
	if _, err := exec.LookPath("nft"); err != nil {
		testns.Cannot(t, "needs the nft tool: %v", err)
	}
	ns := testns.New(t)
	return func(script string, args ...string) error {
		return ns.Run(func() error {
			cmd := exec.Command("nft", append(args, "-f", "-")...)
			cmd.Stdin = strings.NewReader(script)
			var out bytes.Buffer
			cmd.Stdout, cmd.Stderr = &out, &out
			if err := cmd.Run(); err != nil {
				return fmt.Errorf("nft %v: %w: %s", args, err, out.String())
			}
			return nil
		})
	}
}
