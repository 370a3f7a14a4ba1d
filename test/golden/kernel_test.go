package golden

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/vishvananda/netns"

	"github.com/netpol-agent/netpol-agent/internal/render/nft/kernel"
	"github.com/netpol-agent/netpol-agent/internal/render/nft/ruleset"
)

// TestKernelTakesEveryGolden loads each case into a network namespace of its own, once through our netlink
// edge, which must read back exactly what it wrote, and once as text through the nft tool, after which our
// edge must read the very same rules: so the text that a person reviews is what the kernel enforces.
func TestKernelTakesEveryGolden(t *testing.T) {
	for _, path := range cases(t) {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txtar"), func(t *testing.T) {
			a := read(t, path)
			want, _ := render(t, file(a, policyFile), file(a, extraFile))
			conn := inNamespace(t, nil)
			load := &ruleset.Tx{Ops: []ruleset.Op{ruleset.AddTable{Table: table}}}
			body, _ := ruleset.Diff(table, ruleset.New(), want, nil)
			load.Add(body.Ops...)
			if err := conn.Commit(load); err != nil {
				t.Fatal(err)
			}
			same(t, conn, want)
			same(t, inNamespace(t, func() error { return nftLoad(file(a, rulesFile)) }), want)
		})
	}
}

func same(t *testing.T, conn *kernel.Conn, want *ruleset.Ruleset) {
	t.Helper()
	got, there, err := conn.Read(table)
	if err != nil || !there {
		t.Fatalf("read back: there %v, %v", there, err)
	}
	if d := want.Difference(got); d != "" {
		t.Errorf("the kernel has something else:\n%s", d)
	}
}

// inNamespace makes a network namespace, calls f inside it and gives a connection to its nf_tables.
func inNamespace(t *testing.T, f func() error) *kernel.Conn {
	t.Helper()
	if os.Geteuid() != 0 {
		if os.Getenv("CI") == "true" {
			t.Fatal("needs root")
		}
		t.Skip("needs root to make a network namespace")
	}
	type result struct {
		conn *kernel.Conn
		err  error
	}
	done := make(chan result)
	go func() {
		// The thread ends with the goroutine, and the namespace with the connection.
		runtime.LockOSThread()
		ns, err := netns.New()
		if err != nil {
			done <- result{err: err}
			return
		}
		defer func() { _ = ns.Close() }()
		if f != nil {
			if err := f(); err != nil {
				done <- result{err: err}
				return
			}
		}
		conn, err := kernel.Open(kernel.WithNetNS(int(ns)))
		done <- result{conn, err}
	}()
	r := <-done
	if r.err != nil {
		t.Fatal(r.err)
	}
	t.Cleanup(func() { _ = r.conn.Close() })
	return r.conn
}

func nftLoad(text string) error {
	cmd := exec.Command("nft", "-f", "-")
	cmd.Stdin = strings.NewReader(text)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return &nftError{string(out), err}
	}
	return nil
}

type nftError struct {
	output string
	err    error
}

func (e *nftError) Error() string { return "nft: " + e.err.Error() + ": " + e.output }
