package conntrack

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Numbers from the kernel's linux/netfilter/nfnetlink_conntrack.h.
const (
	subsystem = 1 << 8 // NFNL_SUBSYS_CTNETLINK

	msgGet    = 1
	msgDelete = 2

	attrTupleOrig   = 1
	attrTupleReply  = 2
	attrID          = 12
	attrTupleMaster = 14
	attrZone        = 18
	attrFilter      = 25

	attrTupleIP    = 1
	attrTupleProto = 2

	attrIPv4Src = 1
	attrIPv4Dst = 2
	attrIPv6Src = 3
	attrIPv6Dst = 4

	attrProtoNum     = 1
	attrProtoSrcPort = 2
	attrProtoDstPort = 3
	attrICMPType     = 5
	attrICMPv6Type   = 8

	attrFilterOrig  = 1
	attrFilterReply = 2
	filterSrc       = 1 << 0
)

const headerLen = 4 // struct nfgenmsg

// request returns a message of the conntrack subsystem.
func request(msg uint16, flags netlink.HeaderFlags, family uint8, attrs []netlink.Attribute) (netlink.Message, error) {
	body, err := netlink.MarshalAttributes(attrs)
	if err != nil {
		return netlink.Message{}, fmt.Errorf("encode conntrack request: %w", err)
	}
	return netlink.Message{
		Header: netlink.Header{Type: netlink.HeaderType(subsystem | msg), Flags: netlink.Request | flags},
		Data:   append([]byte{family, 0, 0, 0}, body...),
	}, nil
}

// filter returns the attributes that make the kernel dump only entries whose tuple, original or reply, has the source src.
// Kernels before 5.8 ignore them and dump everything.
func filter(tuple uint16, src netip.Addr) ([]netlink.Attribute, error) {
	ip := netlink.Attribute{Type: attrIPv6Src, Data: src.AsSlice()}
	if src.Is4() {
		ip.Type = attrIPv4Src
	}
	tupleIP, err := nest(attrTupleIP, ip)
	if err != nil {
		return nil, err
	}
	tupleAttr, err := nest(tuple, tupleIP)
	if err != nil {
		return nil, err
	}
	which := uint16(attrFilterOrig)
	if tuple == attrTupleReply {
		which = attrFilterReply
	}
	flags, err := nest(attrFilter, netlink.Attribute{Type: which, Data: binary.NativeEndian.AppendUint32(nil, filterSrc)})
	if err != nil {
		return nil, err
	}
	return []netlink.Attribute{tupleAttr, flags}, nil
}

func nest(typ uint16, inner ...netlink.Attribute) (netlink.Attribute, error) {
	b, err := netlink.MarshalAttributes(inner)
	if err != nil {
		return netlink.Attribute{}, fmt.Errorf("encode conntrack request: %w", err)
	}
	return netlink.Attribute{Type: typ | unix.NLA_F_NESTED, Data: b}, nil
}

// deletion returns the message that deletes exactly this entry.
func (f *Flow) deletion() (netlink.Message, error) {
	if len(f.key.orig) == 0 {
		// To the kernel, a deletion that names no entry means all entries.
		return netlink.Message{}, errNoIdentity
	}
	attrs := []netlink.Attribute{{Type: attrTupleOrig | unix.NLA_F_NESTED, Data: f.key.orig}}
	if f.key.zone != nil {
		attrs = append(attrs, netlink.Attribute{Type: attrZone, Data: f.key.zone})
	}
	if f.key.id != nil {
		attrs = append(attrs, netlink.Attribute{Type: attrID, Data: f.key.id})
	}
	return request(msgDelete, netlink.Acknowledge, f.key.family, attrs)
}

// errNoIdentity is for flows that do not come from a dump.
var errNoIdentity = errors.New("the flow does not identify a conntrack entry")

// parseFlow reads one entry of a dump. It does not retain data.
func parseFlow(data []byte) (Flow, error) {
	var f Flow
	if len(data) < headerLen {
		return f, fmt.Errorf("conntrack entry of %d bytes", len(data))
	}
	f.key.family = data[0]
	ad, err := netlink.NewAttributeDecoder(data[headerLen:])
	if err != nil {
		return f, fmt.Errorf("conntrack entry: %w", err)
	}
	for ad.Next() {
		switch ad.Type() {
		case attrTupleOrig:
			f.key.orig = bytes.Clone(ad.Bytes())
			ad.Nested(f.Orig.parse)
		case attrTupleReply:
			ad.Nested(f.Reply.parse)
		case attrTupleMaster:
			f.Master = &Tuple{}
			ad.Nested(f.Master.parse)
		case attrID:
			f.key.id = bytes.Clone(ad.Bytes())
		case attrZone:
			f.key.zone = bytes.Clone(ad.Bytes())
		}
	}
	if err := ad.Err(); err != nil {
		return f, fmt.Errorf("conntrack entry: %w", err)
	}
	return f, nil
}

func (t *Tuple) parse(ad *netlink.AttributeDecoder) error {
	for ad.Next() {
		switch ad.Type() {
		case attrTupleIP:
			ad.Nested(t.parseIP)
		case attrTupleProto:
			ad.Nested(t.parseProto)
		}
	}
	return ad.Err()
}

func (t *Tuple) parseIP(ad *netlink.AttributeDecoder) error {
	for ad.Next() {
		switch ad.Type() {
		case attrIPv4Src, attrIPv6Src:
			t.Src = parseAddr(ad.Bytes())
		case attrIPv4Dst, attrIPv6Dst:
			t.Dst = parseAddr(ad.Bytes())
		}
	}
	return ad.Err()
}

func parseAddr(b []byte) netip.Addr {
	a, _ := netip.AddrFromSlice(b)
	return a.Unmap()
}

func (t *Tuple) parseProto(ad *netlink.AttributeDecoder) error {
	ad.ByteOrder = binary.BigEndian
	for ad.Next() {
		switch ad.Type() {
		case attrProtoNum:
			t.Protocol = ad.Uint8()
		case attrProtoSrcPort:
			t.SrcPort = ad.Uint16()
		case attrProtoDstPort:
			t.DstPort = ad.Uint16()
		case attrICMPType, attrICMPv6Type:
			t.ICMPType = ad.Uint8()
		}
	}
	return ad.Err()
}
