package kernel

import (
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/netpol-agent/netpol-agent/internal/render/iptables/ruleset"
)

// try returns an error if the kernel or our rights do not suffice. It is called before anything is written.
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

// rawSocket opens a socket of the kind that the programs need for rules that name sets.
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

// trySets creates a set of each type that we use, under a name that no rule uses, and destroys it.
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

// module returns the last part of the name of a set type's kernel module: hash_ip for hash:ip.
func module(t ruleset.SetType) string {
	return strings.NewReplacer(":", "_", ",", "").Replace(t.String())
}

// explain adds to an error what an administrator can do about a missing right.
func explain(err error) error {
	for _, word := range []string{"Permission denied", "Operation not permitted"} {
		if strings.Contains(err.Error(), word) {
			return fmt.Errorf("%w: %w", ErrPermission, err)
		}
	}
	return err
}
