package neighbour

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/mdlayher/netlink"
	rtnetlink "github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// Kernel reads names from a network namespace.
type Kernel struct {
	// netns is the namespace's file descriptor, or 0 for that of the thread.
	netns int
}

// Option changes what NewKernel does.
type Option func(*Kernel)

// WithNetNS reads the network namespace of an open file descriptor instead of the current one.
func WithNetNS(fd int) Option { return func(k *Kernel) { k.netns = fd } }

// NewKernel returns a reader. It keeps nothing open between two reads. Reading requires CAP_NET_ADMIN.
func NewKernel(opts ...Option) *Kernel {
	k := &Kernel{}
	for _, o := range opts {
		o(k)
	}
	return k
}

// Read returns the names of all chains, ipsets and interfaces. If some cannot be read, it returns the others and an error.
func (k *Kernel) Read() (Names, error) {
	var n Names
	var errs []error
	note := func(what string, err error) {
		if err != nil {
			errs = append(errs, fmt.Errorf("list %s: %w", what, err))
		}
	}
	conn, err := netlink.Dial(unix.NETLINK_NETFILTER, &netlink.Config{NetNS: k.netns})
	if err != nil {
		return n, fmt.Errorf("netfilter netlink: %w", err)
	}
	defer conn.Close() //nolint:errcheck // nothing was written
	n.Chains, err = chains(conn)
	note("chains", err)
	n.IPSets, err = ipsets(conn)
	note("ipsets", err)
	n.Links, err = k.links()
	note("interfaces", err)
	return n, errors.Join(errs...)
}

func chains(conn *netlink.Conn) ([]Chain, error) {
	var out []Chain
	err := dump(conn, unix.NFNL_SUBSYS_NFTABLES, unix.NFT_MSG_GETCHAIN, nil, func(family uint8, attrs *netlink.AttributeDecoder) {
		c := Chain{Family: familyName(family)}
		for attrs.Next() {
			switch attrs.Type() {
			case unix.NFTA_CHAIN_TABLE:
				c.Table = attrs.String()
			case unix.NFTA_CHAIN_NAME:
				c.Name = attrs.String()
			}
		}
		out = append(out, c)
	})
	return out, err
}

func familyName(family uint8) string {
	switch family {
	case unix.NFPROTO_IPV4:
		return "ip"
	case unix.NFPROTO_IPV6:
		return "ip6"
	case unix.NFPROTO_INET:
		return "inet"
	case unix.NFPROTO_BRIDGE:
		return "bridge"
	case unix.NFPROTO_ARP:
		return "arp"
	case unix.NFPROTO_NETDEV:
		return "netdev"
	}
	return fmt.Sprintf("family %d", family)
}

// Numbers from the kernel's linux/netfilter/ipset/ip_set.h.
const (
	ipsetList     = 7
	ipsetProtocol = 6 // that of kernels since 2.6.39, which newer ones still support

	ipsetAttrProtocol = 1
	ipsetAttrName     = 2
	ipsetAttrFlags    = 6

	ipsetFlagNamesOnly = 1 << 1
)

// ipsetModule exists if the kernel has ipset.
const ipsetModule = "/sys/module/ip_set"

func ipsets(conn *netlink.Conn) ([]string, error) {
	// Without this check, the request itself would make the kernel load the module.
	if _, err := os.Stat(ipsetModule); errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	request, err := netlink.MarshalAttributes([]netlink.Attribute{
		{Type: ipsetAttrProtocol, Data: []byte{ipsetProtocol}},
		{Type: ipsetAttrFlags | unix.NLA_F_NET_BYTEORDER, Data: binary.BigEndian.AppendUint32(nil, ipsetFlagNamesOnly)},
	})
	if err != nil {
		return nil, err
	}
	var out []string
	err = dump(conn, unix.NFNL_SUBSYS_IPSET, ipsetList, request, func(_ uint8, attrs *netlink.AttributeDecoder) {
		for attrs.Next() {
			if attrs.Type() == ipsetAttrName {
				out = append(out, attrs.String())
			}
		}
	})
	return out, err
}

const headerLen = 4 // struct nfgenmsg

// dumpAttempts is how often a list is requested that changes while it is read.
const dumpAttempts = 5

var errInterrupted = errors.New("changed while it was read")

// dump requests all objects of a kind, of every family, and calls each with the attributes of each object.
func dump(conn *netlink.Conn, subsystem, msg uint16, request []byte, each func(family uint8, attrs *netlink.AttributeDecoder)) error {
	var answers []netlink.Message
	err := errInterrupted
	for k := 0; k < dumpAttempts && errors.Is(err, errInterrupted); k++ {
		answers, err = ask(conn, subsystem, msg, request)
	}
	if err != nil {
		return err
	}
	for _, m := range answers {
		if len(m.Data) < headerLen {
			continue
		}
		attrs, err := netlink.NewAttributeDecoder(m.Data[headerLen:])
		if err != nil {
			return err
		}
		each(m.Data[0], attrs)
		if err := attrs.Err(); err != nil {
			return err
		}
	}
	return nil
}

func ask(conn *netlink.Conn, subsystem, msg uint16, request []byte) ([]netlink.Message, error) {
	answers, err := conn.Execute(netlink.Message{
		Header: netlink.Header{Type: netlink.HeaderType(subsystem<<8 | msg), Flags: netlink.Request | netlink.Dump},
		Data:   append([]byte{unix.NFPROTO_UNSPEC, unix.NFNETLINK_V0, 0, 0}, request...),
	})
	if err != nil {
		return nil, err
	}
	for _, m := range answers {
		if m.Header.Flags&netlink.DumpInterrupted != 0 {
			return nil, errInterrupted
		}
	}
	return answers, nil
}

func (k *Kernel) links() ([]string, error) {
	h, err := k.handle()
	if err != nil {
		return nil, err
	}
	defer h.Close()
	list, err := h.LinkList()
	if err != nil {
		return nil, err
	}
	out := make([]string, len(list))
	for i, l := range list {
		out[i] = l.Attrs().Name
	}
	return out, nil
}

func (k *Kernel) handle() (*rtnetlink.Handle, error) {
	if k.netns == 0 {
		return rtnetlink.NewHandle(unix.NETLINK_ROUTE)
	}
	return rtnetlink.NewHandleAt(netns.NsHandle(k.netns), unix.NETLINK_ROUTE)
}
