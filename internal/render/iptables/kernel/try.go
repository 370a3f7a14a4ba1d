package kernel

import (
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/netpol-agent/netpol-agent/internal/render/iptables/ruleset"
)

// try finds out whether the kernel and our rights suffice, before anything is written.
func (t *Tools) try() error {
	if err := rawSocket(); err != nil {
		return err
	}
	if t.variant == Legacy {
		if err := t.lock.usable(); err != nil {
			return err
		}
	}
	if _, err := run("", t.families[ruleset.V4].save, "-t", "filter"); err != nil {
		return explain(err)
	}
	return t.trySets()
}

// rawSocket opens what the programs open to name sets in rules.
func rawSocket() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
	switch {
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		return fmt.Errorf("%w: raw socket: %w", ErrPermission, err)
	case err != nil:
		return fmt.Errorf("raw socket: %w", err)
	}
	return unix.Close(fd)
}

// trySets makes a set of each type that we use, in a name that no rule knows, and removes it.
func (t *Tools) trySets() error {
	const name = ruleset.Prefix + "TRY"
	for _, typ := range []ruleset.SetType{ruleset.HashIP, ruleset.HashNet, ruleset.HashIPPort} {
		for _, family := range []string{"inet", "inet6"} {
			if err := t.RestoreSets(fmt.Sprintf("create %s %s family %s\ndestroy %s\n", name, typ, family, name)); err != nil {
				err = explain(err)
				if errors.Is(err, ErrPermission) {
					return err
				}
				return fmt.Errorf("this kernel cannot do sets of type %s family %s (modprobe ip_set_%s, or build it with CONFIG_IP_SET_%s): %w",
					typ, family, module(typ), strings.ToUpper(module(typ)), err)
			}
		}
	}
	return nil
}

// module gives the last part of the name of the kernel module of a set type: hash_ip for hash:ip.
func module(t ruleset.SetType) string {
	return strings.NewReplacer(":", "_", ",", "").Replace(t.String())
}

// explain adds what an administrator can do about a missing right.
func explain(err error) error {
	for _, word := range []string{"Permission denied", "Operation not permitted"} {
		if strings.Contains(err.Error(), word) {
			return fmt.Errorf("%w: %w", ErrPermission, err)
		}
	}
	return err
}
