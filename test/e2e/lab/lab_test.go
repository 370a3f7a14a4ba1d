package lab

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/netpol-agent/netpol-agent/test/e2e/lab/machine"
)

func TestOptionsNameWhatCannotBe(t *testing.T) {
	if err := DefaultOptions().Validate(); err != nil {
		t.Fatalf("the defaults: %v", err)
	}
	for want, change := range map[string]func(*Options){
		"nodes":        func(o *Options) { o.Nodes = 0 },
		"pod CIDR":     func(o *Options) { o.PodCIDR = netip.MustParsePrefix("10.1.0.0/24") },
		"service CIDR": func(o *Options) { o.ServiceCIDR = netip.MustParsePrefix("fd00::/112") },
		"overlap":      func(o *Options) { o.ServiceCIDR = netip.MustParsePrefix("10.244.128.0/20") },
		"172.30.0.0":   func(o *Options) { o.PodCIDR = netip.MustParsePrefix("172.30.0.0/16") },
		`family ""`:    func(o *Options) { o.IPFamily = "" },
		"CIDR 10.5.0.": func(o *Options) { o.IPFamily, o.PodCIDR6 = DualStack, netip.MustParsePrefix("10.5.0.0/16") },
		"CIDR invalid": func(o *Options) { o.IPFamily, o.PodCIDR6 = DualStack, netip.Prefix{} },
		"fd00:1::/64":  func(o *Options) { o.IPFamily, o.PodCIDR6 = DualStack, netip.MustParsePrefix("fd00:1::/64") },
		"108 to 120":   func(o *Options) { o.IPFamily, o.ServiceCIDR6 = DualStack, netip.MustParsePrefix("fd00:2::/64") },
		"20 prefix":    func(o *Options) { o.IPFamily, o.PodCIDR = DualStack, netip.MustParsePrefix("10.1.0.0/24") },
		"fd00:172:30:": func(o *Options) { o.IPFamily, o.PodCIDR6 = DualStack, netip.MustParsePrefix("fd00:172:30::/56") },
		"overlaps fd00:3::7/112": func(o *Options) {
			o.IPFamily, o.ServiceCIDR6 = IPv6, netip.MustParsePrefix("fd00:3::7/112")
			o.PodCIDR6 = netip.MustParsePrefix("fd00:3::/56")
		},
		"kube-proxy": func(o *Options) { o.ProxyMode = "ipvs" },
		"Flannel":    func(o *Options) { o.FlannelBackend = "udp" },
	} {
		o := DefaultOptions()
		change(&o)
		if err := o.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
}

func TestRangesOfTheOtherFamilyHaveNoEffect(t *testing.T) {
	v4, v6 := DefaultOptions(), DefaultOptions()
	v4.PodCIDR6, v4.ServiceCIDR6 = netip.Prefix{}, netip.Prefix{}
	v6.IPFamily, v6.PodCIDR, v6.ServiceCIDR = IPv6, netip.Prefix{}, netip.Prefix{}
	for _, o := range []Options{v4, v6} {
		if err := o.Validate(); err != nil {
			t.Errorf("%s: %v", o.IPFamily, err)
		}
	}
}

func TestAddressesOfEveryFamily(t *testing.T) {
	for family, want := range map[string]string{
		IPv4:      "[172.30.0.3/24]",
		IPv6:      "[fd00:172:30::3/64]",
		DualStack: "[172.30.0.3/24 fd00:172:30::3/64]",
	} {
		o := DefaultOptions()
		o.IPFamily = family
		if err := o.Validate(); err != nil {
			t.Errorf("%s: %v", family, err)
		}
		if got := fmt.Sprint(o.addresses(3)); got != want {
			t.Errorf("%s: %s, want %s", family, got, want)
		}
	}
}

func TestNodeIsKnownByAllItsAddresses(t *testing.T) {
	v4, v6 := netip.MustParseAddr("172.30.0.2"), netip.MustParseAddr("fd00::2")
	address := func(kind corev1.NodeAddressType, a string) corev1.NodeAddress {
		return corev1.NodeAddress{Type: kind, Address: a}
	}
	node := &corev1.Node{}
	node.Status.Addresses = []corev1.NodeAddress{address(corev1.NodeHostName, "node1"), address(corev1.NodeInternalIP, "172.30.0.2")}
	if err := nodeAddressed(node, []netip.Addr{v4}); err != nil {
		t.Error(err)
	}
	if err := nodeAddressed(node, []netip.Addr{v4, v6}); err == nil {
		t.Error("a node without its IPv6 address is taken for ready")
	}
	node.Status.Addresses = append(node.Status.Addresses, address(corev1.NodeInternalIP, "fd00::2"))
	if err := nodeAddressed(node, []netip.Addr{v4, v6}); err != nil {
		t.Error(err)
	}
	if err := nodeAddressed(node, []netip.Addr{v6, v4}); err == nil {
		t.Error("the order of the families is ignored")
	}
}

func TestDirsRefuseWhatANodeWouldNotSee(t *testing.T) {
	for _, d := range []Dirs{
		{State: "/run/lab", Cache: "/c"},
		{State: "/s", Cache: "/run/user/0/cache"},
		{State: "/var/log", Cache: "/c"},
		{State: "/", Cache: "/c"},
		{State: "/c", Cache: "/c"},
		{State: "/" + strings.Repeat("s", maxStateDir), Cache: "/c"},
	} {
		if _, err := d.clean(); err == nil {
			t.Errorf("%+v is accepted", d)
		}
	}
	if d, err := (Dirs{State: "/var/lib/lab/", Cache: "c"}).clean(); err != nil || d.State != "/var/lib/lab" || !filepath.IsAbs(d.Cache) {
		t.Errorf("%+v, %v", d, err)
	}
}

func TestStateIsReadAsWritten(t *testing.T) {
	dir := t.TempDir()
	if _, err := readState(dir); !errors.Is(err, ErrNotUp) {
		t.Errorf("no notes: %v, want ErrNotUp", err)
	}
	want := state{Options: DefaultOptions(), Path: "/bin", Nodes: []Node{{Name: "node1", Addresses: []netip.Addr{netip.MustParseAddr("172.30.0.2"), netip.MustParseAddr("fd00::2")}}}}
	if err := want.write(dir); err != nil {
		t.Fatal(err)
	}
	got, err := readState(dir)
	if err != nil || got.Options != want.Options || !reflect.DeepEqual(got.Nodes, want.Nodes) {
		t.Errorf("read %+v, %v", got, err)
	}
	if err := os.WriteFile(stateFile(dir), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := readState(dir); err == nil || errors.Is(err, ErrNotUp) {
		t.Errorf("broken notes: %v", err)
	}
}

func TestLoadWantsALivingCluster(t *testing.T) {
	dir := t.TempDir()
	s := state{Options: DefaultOptions(), ControlPlane: machine.Machine{Name: "cp", Init: machine.Ref{PID: os.Getpid(), BootID: "another"}}}
	for _, up := range []bool{false, true} {
		s.Up = up
		if err := s.write(dir); err != nil {
			t.Fatal(err)
		}
		if _, err := Load(dir); !errors.Is(err, ErrNotUp) {
			t.Errorf("up %t with a dead machine: %v, want ErrNotUp", up, err)
		}
	}
}

func TestOneStartAtATime(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	unlock, err := lockState(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := lockState(dir); err == nil || !strings.Contains(err.Error(), dir) {
		t.Errorf("second lock: %v", err)
	}
	unlock()
	unlock, err = lockState(dir)
	if err != nil {
		t.Fatalf("after the first has ended: %v", err)
	}
	unlock()
}

func TestRemoveFilesKeepsLogsAndLock(t *testing.T) {
	dir := t.TempDir()
	for _, f := range []string{"logs/node1/a.log", "lock", "state.json", "node1/etc/x", "kubeconfig"} {
		file := filepath.Join(dir, f)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if got := files(dir); len(got) != 3 {
		t.Errorf("files of a cluster: %q", got)
	}
	if err := removeFiles(dir); err != nil {
		t.Fatal(err)
	}
	if got := files(dir); len(got) != 0 {
		t.Errorf("left: %q", got)
	}
	if _, err := os.Stat(filepath.Join(dir, "logs", "node1", "a.log")); err != nil {
		t.Error(err)
	}
}

func TestTail(t *testing.T) {
	file := filepath.Join(t.TempDir(), "log")
	if got := tail(file, 2); got != nil {
		t.Errorf("a missing file: %q", got)
	}
	if err := os.WriteFile(file, []byte("a\nb\nc\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if got := tail(file, 2); !slices.Equal(got, []string{"b", "c"}) {
		t.Errorf("last two lines: %q", got)
	}
	if got := tail(file, 9); len(got) != 3 {
		t.Errorf("all lines: %q", got)
	}
}

func TestPartErrorShowsPartAndLog(t *testing.T) {
	err := &PartError{Part: "kubelet", Machine: "node2", LogPath: "/l/kubelet.log", Tail: []string{"first", "last"}, Err: errors.New("ended")}
	for _, want := range []string{"kubelet on node2: ended", "/l/kubelet.log", "first", "last"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q does not say %q", err.Error(), want)
		}
	}
}

func TestFindRepo(t *testing.T) {
	wd, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	repo := findRepo(wd)
	if _, err := os.Stat(filepath.Join(repo, "test", "e2e", "lab", "lab_test.go")); err != nil {
		t.Errorf("checkout around %s: %q", wd, repo)
	}
	if got := findRepo("/"); got != "" {
		t.Errorf("checkout around /: %q", got)
	}
}
