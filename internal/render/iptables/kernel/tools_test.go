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

// inside runs f in a new network namespace.
func inside(t *testing.T, f func() error) {
	t.Helper()
	ns := testns.New(t)
	if err := ns.Run(f); err != nil {
		t.Fatal(err)
	}
}

// needTools skips a test on a machine without the programs, or fails it in CI.
func needTools(t *testing.T) {
	t.Helper()
	for _, name := range []string{"iptables-legacy", "iptables-nft", "ip6tables-legacy", "ip6tables-nft", "ipset"} {
		if _, err := exec.LookPath(name); err != nil {
			testns.Cannot(t, "%v", err)
		}
	}
}

// TestKernelDetect detects which variant a node's other components use.
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

// TestOpenNamesWhatIsMissing removes one program after the other, or the right to run it.
func TestOpenNamesWhatIsMissing(t *testing.T) {
	needTools(t)
	dir := t.TempDir()
	t.Setenv("PATH", dir)
	for _, want := range []struct{ missing, pkg string }{
		{"iptables-legacy", "iptables"}, {"iptables-legacy-save", "iptables"},
		{"iptables-legacy-restore", "iptables"}, {"ipset", "ipset"},
	} {
		complains := func(what string) {
			t.Helper()
			_, err := Open(Legacy)
			if !errors.Is(err, ErrNoPrograms) || !strings.HasSuffix(err.Error(), what+" (Debian package "+want.pkg+")") {
				t.Errorf("without %s: %v", want.missing, err)
			}
		}
		path := filepath.Join(dir, want.missing)
		complains(want.missing + " is not in $PATH")
		if err := os.WriteFile(path, nil, 0o644); err != nil {
			t.Fatal(err)
		}
		complains(path + " may not be executed")
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		link(t, dir, want.missing)
	}
}

// TestKernelOpenNamesTheSetType: a kernel without hash:net is reported before anything is written.
func TestKernelOpenNamesTheSetType(t *testing.T) {
	needTools(t)
	ipset, err := exec.LookPath("ipset")
	if err != nil {
		testns.Cannot(t, "%v", err)
	}
	dir := t.TempDir()
	script := "#!/bin/sh\ninput=$(cat)\ncase $input in *hash:net*) echo 'Kernel error received: set type not supported' >&2; exit 1;; esac\n" +
		"echo \"$input\" | " + ipset + " \"$@\"\n"
	if err := os.WriteFile(filepath.Join(dir, "ipset"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	inside(t, func() error {
		_, err := Open(NFT)
		if err == nil || !strings.Contains(err.Error(), "cannot do sets of type hash:net family inet (modprobe ip_set_hash_net, or build it with CONFIG_IP_SET_HASH_NET)") {
			t.Errorf("%v", err)
		}
		out, err := run("", ipset, "save")
		if out != "" {
			t.Errorf("left behind: %s", out)
		}
		return err
	})
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

// TestKernelLockIsWaitedFor holds the xtables lock, in a file of its own. A program waits for the lock, but not for ever.
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
	var waits []time.Duration
	failed := 0
	inside(t, func() error {
		tools, err := Open(Legacy, WithLockObserver(func(took time.Duration, gaveUp bool) {
			waits = append(waits, took)
			if gaveUp {
				failed++
			}
		}))
		if err != nil {
			return err
		}
		const script = "*filter\n:NETPOL-X - [0:0]\nCOMMIT\n"
		if _, err := tools.Head(ruleset.V4, "FORWARD"); err != nil {
			t.Errorf("looking needs the lock: %v", err)
		}
		start := time.Now()
		err = tools.Restore(ruleset.V4, script)
		if took := time.Since(start); !errors.Is(err, ErrLocked) || took < lockWait || took > 2*lockWait {
			t.Errorf("with the lock held: after %v, %v", took, err)
		}
		released := make(chan struct{})
		time.AfterFunc(time.Second, func() {
			defer close(released)
			_ = syscall.Flock(int(held.Fd()), syscall.LOCK_UN)
		})
		defer func() { <-released }()
		if err := tools.Restore(ruleset.V4, script); err != nil {
			t.Errorf("with the lock held for a second: %v", err)
		}
		return tools.Restore(ruleset.V4, script)
	})
	if len(waits) != 3 || failed != 1 || waits[0] < lockWait || waits[1] < 900*time.Millisecond || waits[1] >= lockWait || waits[2] > lockWait/2 {
		t.Errorf("observed %v, %d gave up", waits, failed)
	}
}

// TestKernelErrorsQuoteTheLine shows what an operator reads when the kernel refuses a line.
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

// TestKernelWithoutIPv6: a kernel without IPv6 needs no programs for it.
func TestKernelWithoutIPv6(t *testing.T) {
	needTools(t)
	inside(t, func() error {
		for _, v := range Variants() {
			tools, err := Find(v)
			if err != nil {
				return err
			}
			if _, err := tools.Save(ruleset.V6); err != nil {
				t.Errorf("%s: %v", v, err)
			}
			tools.ipv6 = filepath.Join(t.TempDir(), "if_inet6")
			if _, err := tools.Save(ruleset.V6); !errors.Is(err, ErrNoFamily) {
				t.Errorf("%s: %v", v, err)
			}
			if _, err := tools.Save(ruleset.V4); err != nil {
				t.Errorf("%s: %v", v, err)
			}
		}
		return nil
	})
}
