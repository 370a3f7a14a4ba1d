package lab

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"net/netip"

	"golang.org/x/sys/unix"
)

// IP protocol numbers.
const (
	ICMP   uint8 = 1
	TCP    uint8 = 6
	UDP    uint8 = 17
	ICMPv6 uint8 = 58
	SCTP   uint8 = 132
)

// TCP flags.
const (
	SYN uint8 = 0x02
	PSH uint8 = 0x08
	ACK uint8 = 0x10
)

// Packet is an IP packet, sent by hand or seen by the witness.
type Packet struct {
	Src, Dst netip.Addr
	Protocol uint8
	// ID is the identification of an IPv4 packet, or the flow label of an IPv6 packet. Zero lets the kernel choose.
	ID uint16
	// SrcPort and DstPort apply to TCP, UDP and SCTP. SrcPort is the identifier of an ICMP or ICMPv6 echo.
	SrcPort, DstPort uint16
	// Flags of a TCP packet.
	Flags uint8
	// Type and Code apply to ICMP and ICMPv6.
	Type, Code uint8
	// Chunk is the type of the first chunk of an SCTP packet; 1 is INIT, 2 INIT ACK.
	Chunk uint8
	// Payload follows the header of TCP, UDP, ICMP (after its eight bytes) or of IP itself.
	Payload []byte
}

// String returns the packet as one line.
func (p Packet) String() string {
	s := fmt.Sprintf("%s > %s protocol %d", p.Src, p.Dst, p.Protocol)
	switch p.Protocol {
	case TCP, UDP, SCTP:
		s += fmt.Sprintf(" ports %d > %d", p.SrcPort, p.DstPort)
	case ICMP, ICMPv6:
		s += fmt.Sprintf(" type %d code %d id %d", p.Type, p.Code, p.SrcPort)
	}
	return s
}

// Bytes returns the packet as it is on the wire, with the checksums that conntrack checks.
func (p Packet) Bytes() []byte {
	body := p.body()
	if p.Src.Is4() {
		h := make([]byte, 20, 20+len(body))
		h[0], h[8], h[9] = 0x45, 64, p.Protocol
		binary.BigEndian.PutUint16(h[2:], uint16(20+len(body)))
		binary.BigEndian.PutUint16(h[4:], p.ID)
		copy(h[12:], p.Src.AsSlice())
		copy(h[16:], p.Dst.AsSlice())
		binary.BigEndian.PutUint16(h[10:], checksum(h))
		return append(h, body...)
	}
	h := make([]byte, 40, 40+len(body))
	binary.BigEndian.PutUint32(h, 6<<28|uint32(p.ID))
	binary.BigEndian.PutUint16(h[4:], uint16(len(body)))
	h[6], h[7] = p.Protocol, 64
	if p.Protocol == ICMPv6 && p.Type >= 133 && p.Type <= 137 {
		h[7] = 255 // receivers ignore neighbour discovery that was routed
	}
	copy(h[8:], p.Src.AsSlice())
	copy(h[24:], p.Dst.AsSlice())
	return append(h, body...)
}

func (p Packet) body() []byte {
	switch p.Protocol {
	case TCP:
		return p.withSum(p.tcp(), 16)
	case UDP:
		b := make([]byte, 8, 8+len(p.Payload))
		p.ports(b)
		binary.BigEndian.PutUint16(b[4:], uint16(8+len(p.Payload)))
		return p.withSum(append(b, p.Payload...), 6)
	case SCTP:
		return p.sctp()
	case ICMP:
		b := p.icmp()
		binary.BigEndian.PutUint16(b[2:], checksum(b))
		return b
	case ICMPv6:
		return p.withSum(p.icmp(), 2)
	}
	if len(p.Payload) == 0 {
		return make([]byte, 16)
	}
	return p.Payload
}

func (p Packet) ports(b []byte) {
	binary.BigEndian.PutUint16(b, p.SrcPort)
	binary.BigEndian.PutUint16(b[2:], p.DstPort)
}

func (p Packet) tcp() []byte {
	b := make([]byte, 20, 20+len(p.Payload))
	p.ports(b)
	binary.BigEndian.PutUint32(b[4:], 1000)
	b[12], b[13] = 5<<4, p.Flags
	if p.Flags == 0 {
		b[13] = SYN
	}
	binary.BigEndian.PutUint16(b[14:], 64240)
	return append(b, p.Payload...)
}

func (p Packet) icmp() []byte {
	b := make([]byte, 8, 8+len(p.Payload))
	b[0], b[1] = p.Type, p.Code
	if p.SrcPort != 0 {
		binary.BigEndian.PutUint16(b[4:], p.SrcPort)
	}
	return append(b, p.Payload...)
}

// sctp returns a packet with one chunk that looks like an INIT or INIT ACK.
func (p Packet) sctp() []byte {
	b := make([]byte, 32)
	p.ports(b)
	b[12] = max(p.Chunk, 1)
	binary.BigEndian.PutUint16(b[14:], 20)
	if b[12] != 1 {
		binary.BigEndian.PutUint32(b[4:], initTag)
	}
	binary.BigEndian.PutUint32(b[16:], initTag)
	binary.BigEndian.PutUint32(b[20:], 65536)
	binary.BigEndian.PutUint16(b[24:], 1)
	binary.BigEndian.PutUint16(b[26:], 1)
	binary.BigEndian.PutUint32(b[28:], 1)
	binary.LittleEndian.PutUint32(b[8:], crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)))
	return b
}

// initTag is the verification tag of every association of the lab.
const initTag = 0x6e706f6c

// withSum fills in the checksum of TCP, UDP and ICMPv6, which covers the addresses too.
func (p Packet) withSum(b []byte, at int) []byte {
	pseudo := append(p.Src.AsSlice(), p.Dst.AsSlice()...)
	pseudo = binary.BigEndian.AppendUint32(pseudo, uint32(len(b)))
	pseudo = append(pseudo, 0, 0, 0, p.Protocol)
	binary.BigEndian.PutUint16(b[at:], checksum(append(pseudo, b...)))
	return b
}

func checksum(b []byte) uint16 {
	var sum uint32
	for ; len(b) > 1; b = b[2:] {
		sum += uint32(binary.BigEndian.Uint16(b))
	}
	if len(b) == 1 {
		sum += uint32(b[0]) << 8
	}
	for sum>>16 != 0 {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

// parse reads a packet that begins with its IP header, and returns false if it is not one. It does not look behind an
// IPv6 header that is not the last one.
func parse(b []byte) (Packet, bool) {
	var p Packet
	switch {
	case len(b) >= 20 && b[0]>>4 == 4:
		header := int(b[0]&15) * 4
		p.Src, p.Dst = netip.AddrFrom4([4]byte(b[12:16])), netip.AddrFrom4([4]byte(b[16:20]))
		p.Protocol, p.ID = b[9], binary.BigEndian.Uint16(b[4:])
		if header > len(b) {
			return p, false
		}
		b = b[header:]
	case len(b) >= 40 && b[0]>>4 == 6:
		p.Src, p.Dst = netip.AddrFrom16([16]byte(b[8:24])), netip.AddrFrom16([16]byte(b[24:40]))
		p.Protocol, p.ID = b[6], binary.BigEndian.Uint16(b[2:])
		b = b[40:]
	default:
		return p, false
	}
	p.parseBody(b)
	return p, true
}

func (p *Packet) parseBody(b []byte) {
	switch p.Protocol {
	case TCP, UDP, SCTP:
		if len(b) < 8 {
			return
		}
		p.SrcPort, p.DstPort = binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[2:])
		switch {
		case p.Protocol == TCP && len(b) >= 20:
			p.Flags, p.Payload = b[13], b[min(int(b[12]>>4)*4, len(b)):]
		case p.Protocol == UDP:
			p.Payload = b[8:]
		case p.Protocol == SCTP && len(b) >= 16:
			p.Chunk = b[12]
		}
	case ICMP, ICMPv6:
		if len(b) >= 8 {
			p.Type, p.Code, p.SrcPort, p.Payload = b[0], b[1], binary.BigEndian.Uint16(b[4:]), b[8:]
		}
	default:
		p.Payload = b
	}
}

// Inject sends a packet from inside the namespace, whatever its source address is. It leaves as the namespace's own
// packets do.
func (n *Namespace) Inject(p Packet) error {
	return n.Do(func() error {
		s, err := openInjector(p.Dst.Is4())
		if err != nil {
			return err
		}
		defer func() { _ = unix.Close(s) }()
		return inject(s, p)
	})
}

func openInjector(v4 bool) (int, error) {
	domain := unix.AF_INET6
	if v4 {
		domain = unix.AF_INET
	}
	fd, err := unix.Socket(domain, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
	if err != nil {
		return 0, fmt.Errorf("open raw socket: %w", err)
	}
	return fd, nil
}

func inject(fd int, p Packet) error {
	var to unix.Sockaddr = &unix.SockaddrInet6{Addr: p.Dst.As16()}
	if p.Dst.Is4() {
		to = &unix.SockaddrInet4{Addr: p.Dst.As4()}
	}
	if err := unix.Sendto(fd, p.Bytes(), 0, to); err != nil {
		return fmt.Errorf("send %s: %w", p, err)
	}
	return nil
}

// Injector sends many packets by hand from inside one namespace.
type Injector struct{ v4, v6 int }

// Injector opens the sockets. They are closed when the test ends.
func (l *Lab) Injector(n *Namespace) *Injector {
	l.t.Helper()
	i := &Injector{}
	l.check(n.Do(func() error {
		var err error
		if i.v4, err = openInjector(true); err != nil {
			return err
		}
		i.v6, err = openInjector(false)
		return err
	}), "injector")
	l.t.Cleanup(func() { _, _ = unix.Close(i.v4), unix.Close(i.v6) })
	return i
}

// Send sends a packet. It must not be called concurrently.
func (i *Injector) Send(p Packet) error {
	if p.Dst.Is4() {
		return inject(i.v4, p)
	}
	return inject(i.v6, p)
}
