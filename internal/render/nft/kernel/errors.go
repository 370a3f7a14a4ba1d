package kernel

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

var (
	// ErrPermission means that this process may not change netfilter.
	ErrPermission = errors.New("needs CAP_NET_ADMIN (run as root, or add it to the container's securityContext.capabilities.add)")

	// ErrNoNFTables means that the kernel has no nf_tables.
	ErrNoNFTables = errors.New("the kernel has no nf_tables (modprobe nf_tables, or build it with CONFIG_NF_TABLES and CONFIG_NF_TABLES_INET)")

	// ErrUnknown means that the transaction's outcome did not arrive: the kernel has all of it or nothing.
	ErrUnknown = errors.New("kernel state unknown: read back")

	// ErrTooLarge means that the transaction does not fit into one message to the kernel; nothing was changed.
	ErrTooLarge = errors.New("transaction exceeds the socket's send buffer: split it, or raise net.core.wmem_max")

	// ErrForeignTable means that a table of our name exists that this package would not have made, such as a dormant one,
	// whose chains see no packets. It can only be deleted.
	ErrForeignTable = errors.New("table was not made by this program")

	// ErrUnstable means that the ruleset changed during each of many attempts to read it.
	ErrUnstable = errors.New("ruleset kept changing while it was read")

	// errInterrupted means that a dump mixes two generations.
	errInterrupted = errors.New("dump interrupted by a change")
)

// explain adds what an administrator can do to the error numbers that mean a missing right or a missing module. The kernel
// answers EINVAL if the nf_tables subsystem of nfnetlink is absent.
func explain(err error) error {
	switch {
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		return fmt.Errorf("%w: %w", ErrPermission, err)
	case errors.Is(err, unix.EINVAL), errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.EPROTONOSUPPORT),
		errors.Is(err, unix.EAFNOSUPPORT), errors.Is(err, unix.ECONNREFUSED):
		return fmt.Errorf("%w: %w", ErrNoNFTables, err)
	}
	return err
}
