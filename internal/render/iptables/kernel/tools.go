// Package kernel runs the programs that change the filter table and ipsets: iptables-save, iptables-restore and ipset.
//
// It decides which binaries those are, which variant of them the node's other components use, and what their failures
// mean. It does not decide what is written.
package kernel

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"github.com/coreos/go-iptables/iptables"

	"github.com/netpol-agent/netpol-agent/internal/render/iptables/ruleset"
)

// Variant is one of the two kinds of the iptables binary. Each sees only its own rules.
type Variant string

const (
	// Legacy speaks to the kernel's xtables.
	Legacy Variant = "legacy"
	// NFT speaks to nf_tables.
	NFT Variant = "nft"
)

// Variants lists both.
func Variants() []Variant { return []Variant{NFT, Legacy} }

// Name returns the name by which operators know the variant, as in "iptables-nft".
func (v Variant) Name() string { return "iptables-" + string(v) }

const (
	// lockWait bounds how long a program waits for the xtables lock.
	lockWait = 5 * time.Second
	// timeout bounds how long a program runs.
	timeout = 60 * time.Second
	// exitLocked is the exit status of iptables if it did not get the lock.
	exitLocked = 4
)

// Tools is the programs of one variant. They act on the network namespace of the calling thread.
type Tools struct {
	variant  Variant
	families map[ruleset.Family]*family
	lock     *lock
	// ipv6 is a file that every network namespace has if the kernel has IPv6, even if IPv6 is disabled there.
	ipv6 string
}

type family struct {
	list                *iptables.IPTables
	path, save, restore string
	// missing is the reason why the family has no programs, or nil.
	missing error
}

// Option changes what Open does.
type Option func(*Tools)

// WithLockObserver makes the programs call f after each wait for the xtables lock, with how long it took and whether it
// timed out. The nft variant has no such lock.
func WithLockObserver(f func(took time.Duration, failed bool)) Option {
	return func(t *Tools) { t.lock.observe = f }
}

// Find finds the programs of a variant, and does not try them. The error names what is missing and the package that has it.
// A node without ip6tables can be used if its kernel has no IPv6, or as long as none of its pods has an IPv6 address or is
// attached to a bridge.
func Find(v Variant, opts ...Option) (*Tools, error) {
	t := &Tools{variant: v, lock: newLock(), ipv6: "/proc/thread-self/net/if_inet6", families: map[ruleset.Family]*family{
		ruleset.V4: find("iptables", v, iptables.ProtocolIPv4),
		ruleset.V6: find("ip6tables", v, iptables.ProtocolIPv6),
	}}
	for _, o := range opts {
		o(t)
	}
	if err := t.families[ruleset.V4].missing; err != nil {
		return nil, err
	}
	if _, err := lookPath("ipset"); err != nil {
		return nil, err
	}
	return t, nil
}

// Open finds the programs of a variant and tries what the kernel must be able to do. It leaves nothing behind.
func Open(v Variant, opts ...Option) (*Tools, error) {
	t, err := Find(v, opts...)
	if err != nil {
		return nil, err
	}
	return t, t.try()
}

// find returns the programs of a family: those that have the variant in their names, or else those with the plain name if
// they are of the variant.
func find(name string, v Variant, proto iptables.Protocol) *family {
	path, err := lookPath(name + "-" + string(v))
	if err != nil {
		plain, plainErr := exec.LookPath(name)
		if plainErr != nil || plainVariant(plain) != v {
			return &family{missing: err}
		}
		path = plain
	}
	f := &family{path: path, save: path + "-save", restore: path + "-restore"}
	for _, p := range []string{f.save, f.restore} {
		if _, err := lookPath(p); err != nil {
			return &family{missing: err}
		}
	}
	f.list, err = iptables.New(iptables.IPFamily(proto), iptables.Path(path), iptables.Timeout(int(lockWait/time.Second)))
	if err != nil {
		f.missing = fmt.Errorf("%w: %s: %w", ErrNoPrograms, path, err)
	}
	return f
}

// Variant returns the variant of the programs.
func (t *Tools) Variant() Variant { return t.variant }

// Save returns the filter table of a family as iptables-save prints it. It returns "" if there is no such table yet, which
// the legacy program would create in order to read it.
func (t *Tools) Save(f ruleset.Family) (string, error) {
	if f == ruleset.V6 {
		if _, err := os.Stat(t.ipv6); errors.Is(err, os.ErrNotExist) {
			return "", ErrNoFamily
		}
	}
	fam := t.families[f]
	if fam.missing != nil {
		return "", fam.missing
	}
	if t.variant == Legacy && noLegacyTable(f) {
		return "", nil
	}
	if t.variant == Legacy {
		return run("", fam.save, "-t", "filter")
	}
	// iptables-nft-save reads the rules of all tables, whichever it is asked for. With 10,000 rules of others in nat it
	// takes 70 ms, and this takes 2 ms.
	list, err := run("", fam.path, "-t", "filter", "-S")
	return asSaved(list), err
}

// asSaved turns the output of iptables -S into that of iptables-save.
func asSaved(list string) string {
	var out strings.Builder
	out.WriteString("*filter\n")
	for line := range strings.Lines(list) {
		verb, rest, _ := strings.Cut(line, " ")
		name, _, _ := strings.Cut(strings.TrimSpace(rest), " ")
		switch verb {
		case "-P", "-N":
			out.WriteString(":" + name + " - [0:0]\n")
		case "-A":
			out.WriteString(line)
		}
	}
	out.WriteString("COMMIT\n")
	return out.String()
}

// noLegacyTable reports whether the kernel certainly has no legacy filter table of a family.
func noLegacyTable(f ruleset.Family) bool {
	name := "/proc/thread-self/net/ip_tables_names"
	if f == ruleset.V6 {
		name = "/proc/thread-self/net/ip6_tables_names"
	}
	tables, err := os.ReadFile(name)
	return errors.Is(err, os.ErrNotExist) || err == nil && !strings.Contains("\n"+string(tables), "\nfilter\n")
}

// Restore commits a script for iptables-restore, without touching what it does not name. The script takes effect as a
// whole or not at all.
func (t *Tools) Restore(f ruleset.Family, script string) error {
	fam := t.families[f]
	if fam.missing != nil {
		return fam.missing
	}
	if t.variant == Legacy {
		if err := t.lock.await(); err != nil {
			return err
		}
	}
	_, err := run(script, fam.restore, "--noflush", "-w", strconv.Itoa(int(lockWait/time.Second)))
	return err
}

// SaveSets returns all sets as ipset save prints them.
func (t *Tools) SaveSets() (string, error) { return run("", "ipset", "save") }

// RestoreSets runs a script for ipset restore. The lines before one that is refused take effect.
func (t *Tools) RestoreSets(script string) error {
	_, err := run(script, "ipset", "-exist", "restore")
	return err
}

// Head returns the rules of a built-in chain of the filter table, in order, without the chain's name. It does not wait for
// the xtables lock: the legacy program takes the lock to list a chain, but not to save the table.
func (t *Tools) Head(f ruleset.Family, chain string) ([]string, error) {
	fam := t.families[f]
	if fam.missing != nil {
		return nil, fam.missing
	}
	var lines []string
	if t.variant == Legacy {
		save, err := t.Save(f)
		if err != nil {
			return nil, err
		}
		lines = strings.Split(save, "\n")
	} else {
		var err error
		if lines, err = fam.list.List("filter", chain); err != nil {
			return nil, fmt.Errorf("list %s of %s: %w", chain, f, err)
		}
	}
	var out []string
	for _, line := range lines {
		if rule, is := strings.CutPrefix(line, "-A "+chain+" "); is {
			out = append(out, rule)
		}
	}
	return out, nil
}

// run runs a program with an input and returns its output. The error includes what the program printed.
func run(input, name string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stdin = strings.NewReader(input)
	var out, complaint bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &complaint
	err := cmd.Run()
	if err == nil {
		return out.String(), nil
	}
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() == exitLocked && strings.Contains(complaint.String(), "lock") {
		err = fmt.Errorf("%w: %w", ErrLocked, err)
	}
	return "", fmt.Errorf("%s %s: %w: %s%s", name, strings.Join(args, " "), err, strings.TrimSpace(complaint.String()), badLine(input, complaint.String()))
}

// badLine returns the line of the input about which a program complains, in brackets, or "".
func badLine(input, complaint string) string {
	for _, mark := range []string{"line: ", "line "} {
		_, rest, found := strings.Cut(complaint, mark)
		if !found {
			continue
		}
		digits := strings.IndexFunc(rest, func(r rune) bool { return r < '0' || r > '9' })
		if digits < 0 {
			digits = len(rest)
		}
		lines := strings.Split(input, "\n")
		if n, err := strconv.Atoi(rest[:digits]); err == nil && n >= 1 && n <= len(lines) {
			return fmt.Sprintf(" (%s)", lines[n-1])
		}
	}
	return ""
}
