package kernel

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/netpol-agent/netpol-agent/internal/render/iptables/ruleset"
	"github.com/netpol-agent/netpol-agent/test/testns"
)

// inside runs f in a network namespace of its own.
func inside(t *testing.T, f func() error) {
	t.Helper()
	ns := testns.New(t)
	if err := ns.Run(f); err != nil {
		t.Fatal(err)
	}
}

// needTools ends a test on a machine without the programs.
func needTools(t *testing.T) {
	t.Helper()
	for _, name := range []string{"iptables-legacy", "iptables-nft", "ip6tables-legacy", "ip6tables-nft", "ipset"} {
		if _, err := exec.LookPath(name); err != nil {
			testns.Cannot(t, "%v", err)
		}
	}
}

// TestKernelDetect asks which variant a node's other components use.
func TestKernelDetect(t *testing.T) {
	needTools(t)
	for _, c := range []struct {
		name string
		// scripts are commands for sh.
		scripts []string
		want    Variant
		why     string
	}{
		{"nobody there", nil, plainVariant("iptables"), "others have no rules"},
		{"rules in legacy", []string{"iptables-legacy -w 10 -A FORWARD -j ACCEPT"}, Legacy, "1 rules in iptables-legacy"},
		{"rules in nft", []string{"ip6tables-nft -A FORWARD -j ACCEPT"}, NFT, "1 rules in iptables-nft"},
		{"ours do not count", []string{
			"iptables-nft -N NETPOL-X", "iptables-nft -A NETPOL-X -j DROP", "iptables-nft -A FORWARD -j NETPOL-X",
			"iptables-legacy -w 10 -A FORWARD -j ACCEPT",
		}, Legacy, "1 rules in iptables-legacy and 0"},
		{"kubelet says so", []string{
			"iptables-nft -A FORWARD -j ACCEPT", "iptables-legacy -w 10 -t mangle -N KUBE-KUBELET-CANARY",
		}, Legacy, "KUBE-KUBELET-CANARY"},
	} {
		t.Run(c.name, func(t *testing.T) {
			inside(t, func() error {
				for _, s := range c.scripts {
					if _, err := run("", "sh", "-c", s); err != nil {
						return err
					}
				}
				v, why, err := Detect()
				if v != c.want || !strings.Contains(why, c.why) {
					t.Errorf("%s, %q, %v", v, why, err)
				}
				return nil
			})
		})
	}
}

// TestOpenNamesWhatIsMissing takes programs away, one after the other.
func TestOpenNamesWhatIsMissing(t *testing.T) {
	needTools(t)
	dir := t.TempDir()
	t.Setenv("PATH", dir)
	for _, want := range []struct{ missing, pkg string }{
		{"iptables-legacy", "package iptables"}, {"iptables-legacy-save", "package iptables"},
		{"iptables-legacy-restore", "package iptables"}, {"ipset", "package ipset"},
	} {
		_, err := Open(Legacy)
		if err == nil || !strings.Contains(err.Error(), want.pkg) || !strings.Contains(err.Error(), `"`+want.missing+`"`) && !strings.Contains(err.Error(), want.missing+`"`) {
			t.Errorf("without %s: %v", want.missing, err)
		}
		link(t, dir, want.missing)
	}
}

func link(t *testing.T, dir, name string) {
	t.Helper()
	for _, from := range []string{"/usr/sbin", "/sbin"} {
		if _, err := os.Stat(filepath.Join(from, name)); err == nil {
			if err := os.Symlink(filepath.Join(from, name), filepath.Join(dir, name)); err != nil {
				t.Fatal(err)
			}
			return
		}
	}
	testns.Cannot(t, "no %s", name)
}

// TestKernelLockIsWaitedFor holds the xtables lock, in a file of the test's own: a program waits for it, but not
// for ever.
func TestKernelLockIsWaitedFor(t *testing.T) {
	needTools(t)
	lock := filepath.Join(t.TempDir(), "lock")
	t.Setenv("XTABLES_LOCKFILE", lock)
	held, err := os.OpenFile(lock, os.O_CREATE|os.O_RDONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = held.Close() }()
	if err := syscall.Flock(int(held.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		t.Fatal(err)
	}
	inside(t, func() error {
		tools, err := Open(Legacy)
		if err != nil {
			return err
		}
		const script = "*filter\n:NETPOL-X - [0:0]\nCOMMIT\n"
		start := time.Now()
		if err := tools.Restore(ruleset.V4, script); !errors.Is(err, ErrLocked) {
			t.Errorf("with the lock held: %v", err)
		}
		if took := time.Since(start); took < (lockWait-1)*time.Second || took > 3*lockWait*time.Second {
			t.Errorf("waited %v", took)
		}
		_ = syscall.Flock(int(held.Fd()), syscall.LOCK_UN)
		return tools.Restore(ruleset.V4, script)
	})
}

// TestKernelErrorsQuoteTheLine shows what an operator reads when the kernel refuses.
func TestKernelErrorsQuoteTheLine(t *testing.T) {
	needTools(t)
	inside(t, func() error {
		for _, v := range []Variant{Legacy, NFT} {
			tools, err := Open(v)
			if err != nil {
				return err
			}
			err = tools.Restore(ruleset.V4, "*filter\n:NETPOL-X - [0:0]\n-A NETPOL-X -m set --match-set NETPOL-NONE src -j DROP\nCOMMIT\n")
			if err == nil || !strings.Contains(err.Error(), "NETPOL-NONE") {
				t.Errorf("%s: %v", v, err)
			}
			if save, err := tools.Save(ruleset.V4); err != nil || strings.Contains(save, "NETPOL-X") {
				t.Errorf("%s: a refused script had an effect: %v\n%s", v, err, save)
			}
			err = tools.RestoreSets("create NETPOL-Y hash:ip family inet\nadd NETPOL-Y fd00::1\n")
			if err == nil || !strings.Contains(err.Error(), "add NETPOL-Y fd00::1") {
				t.Errorf("%s: %v", v, err)
			}
		}
		return nil
	})
}
