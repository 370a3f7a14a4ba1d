package ruleset

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

// inNetNS runs f on a thread in a network namespace of its own, which ends with the thread, so that the
// processes that f starts are in it too.
func inNetNS(t *testing.T, f func() error) {
	t.Helper()
	if _, err := exec.LookPath("nft"); err != nil {
		cannot(t, "no nft tool: %v", err)
	}
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			done <- fmt.Errorf("make a network namespace: %w", err)
			return
		}
		done <- f()
	}()
	if err := <-done; errors.Is(err, unix.EPERM) {
		cannot(t, "%v", err)
	} else if err != nil {
		t.Fatal(err)
	}
}

func cannot(t *testing.T, format string, args ...any) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatalf(format, args...)
	}
	t.Skipf(format, args...)
}

// nft runs the tool on a script.
func nft(script string, args ...string) error {
	cmd := exec.Command("nft", append(args, "-f", "-")...)
	cmd.Stdin = strings.NewReader(script)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("nft %v: %w: %s", args, err, out.String())
	}
	return nil
}

// What Text gives is a table to the nft tool and the kernel, and holds what it should: deleting all of it piece
// by piece succeeds only then.
func TestTextLoads(t *testing.T) {
	inNetNS(t, func() error {
		r := every()
		if err := nft(r.Text("t")); err != nil {
			return err
		}
		change, sweep := Diff("t", r, New(), nil)
		if err := nft(change.String()); err != nil {
			return err
		}
		if err := nft(sweep.String()); err != nil {
			return err
		}
		return nft("delete table inet t")
	})
}

func TestRandomTextLoads(t *testing.T) {
	inNetNS(t, func() error {
		gen := rapid.Custom(func(t *rapid.T) *Ruleset { return genRuleset(t, false) })
		for seed := range 40 {
			text := gen.Example(seed).Text("t")
			if err := nft(text, "-c"); err != nil {
				return fmt.Errorf("%w\n%s", err, text)
			}
		}
		return nil
	})
}

// A difference written for the nft tool leads the kernel from one ruleset to another; the kernel accepts both
// transactions. Afterwards a difference to nothing finds every object there.
func TestDiffLoads(t *testing.T) {
	inNetNS(t, func() error {
		gen := rapid.Custom(func(t *rapid.T) *Ruleset { return genRuleset(t, false) })
		if err := nft("create table inet t"); err != nil {
			return err
		}
		have := New()
		for seed := range 40 {
			want := gen.Example(seed)
			if seed == 39 {
				want = New()
			}
			change, sweep := Diff("t", have, want, nil)
			for _, tx := range []*Tx{change, sweep} {
				if err := nft(tx.String()); err != nil {
					return fmt.Errorf("step %d: %w\n%s", seed, err, tx)
				}
			}
			have = want
		}
		return nft("delete table inet t")
	})
}
