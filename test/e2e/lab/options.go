package lab

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// DefaultStateDir is the default folder for what a lab needs while it is up.
const DefaultStateDir = "/var/lib/netpol-agent-lab"

// Environment variables that replace the defaults.
const (
	EnvStateDir = "NETPOL_LAB_STATE"
	EnvCacheDir = "NETPOL_LAB_CACHE"
)

// maxStateDir keeps the paths of unix sockets below the state directory within the kernel's limit.
const maxStateDir = 80

// Options says what cluster to start.
type Options struct {
	// Nodes is the number of nodes, 1 to 9.
	Nodes int `json:"nodes"`
	// IPFamily is the family of the addresses of pods, services and nodes: ipv4, ipv6, or dual for both. With dual,
	// a service that asks for no family has IPv4.
	IPFamily string `json:"ipFamily"`
	// PodCIDR and ServiceCIDR are the IPv4 ranges. Each node gets a /24 for its pods. They have no effect if there
	// is no IPv4.
	PodCIDR     netip.Prefix `json:"podCIDR"`
	ServiceCIDR netip.Prefix `json:"serviceCIDR"`
	// PodCIDR6 and ServiceCIDR6 are the IPv6 ranges. Each node gets a /64 for its pods. They have no effect if
	// there is no IPv6.
	PodCIDR6     netip.Prefix `json:"podCIDR6"`
	ServiceCIDR6 netip.Prefix `json:"serviceCIDR6"`
	// ProxyMode is kube-proxy's, one of ProxyModes.
	ProxyMode string `json:"proxyMode"`
	// FlannelBackend is one of FlannelBackends.
	FlannelBackend string `json:"flannelBackend"`
}

// ProxyModes returns the values of Options.ProxyMode.
func ProxyModes() []string { return []string{"iptables", "nftables"} }

// FlannelBackends returns the values of Options.FlannelBackend.
func FlannelBackends() []string { return []string{"vxlan", "host-gw"} }

// DefaultOptions returns options for two IPv4 nodes with VXLAN and kube-proxy's default mode.
func DefaultOptions() Options {
	return Options{
		Nodes:          2,
		IPFamily:       IPv4,
		PodCIDR6:       netip.MustParsePrefix("fd00:10:244::/56"),
		ServiceCIDR6:   netip.MustParsePrefix("fd00:10:96::/112"),
		PodCIDR:        netip.MustParsePrefix("10.244.0.0/16"),
		ServiceCIDR:    netip.MustParsePrefix("10.96.0.0/16"),
		ProxyMode:      "iptables",
		FlannelBackend: "vxlan",
	}
}

// Validate returns an error that names the first invalid option.
func (o Options) Validate() error {
	switch {
	case o.Nodes < 1 || o.Nodes > 9:
		return fmt.Errorf("nodes: want 1 to 9, got %d", o.Nodes)
	case !slices.Contains(ProxyModes(), o.ProxyMode):
		return fmt.Errorf("kube-proxy mode %q: want %s", o.ProxyMode, strings.Join(ProxyModes(), " or "))
	case !slices.Contains(FlannelBackends(), o.FlannelBackend):
		return fmt.Errorf("back end of Flannel %q: want %s", o.FlannelBackend, strings.Join(FlannelBackends(), " or "))
	}
	return o.validateFamily()
}

// Dirs are the folders a lab works with.
type Dirs struct {
	// State holds what belongs to one running cluster.
	State string
	// Cache holds what was built.
	Cache string
	// Repo is a checkout of this repository.
	Repo string
}

// DefaultDirs returns the folders that follow from the environment and the working directory.
func DefaultDirs() (Dirs, error) {
	d := Dirs{State: os.Getenv(EnvStateDir), Cache: os.Getenv(EnvCacheDir)}
	if d.State == "" {
		d.State = DefaultStateDir
	}
	if d.Cache == "" {
		cache, err := os.UserCacheDir()
		if err != nil {
			return d, fmt.Errorf("cache directory: %w (set %s)", err, EnvCacheDir)
		}
		d.Cache = filepath.Join(cache, "netpol-agent-lab")
	}
	wd, err := os.Getwd()
	if err != nil {
		return d, err
	}
	d.Repo = findRepo(wd)
	return d, nil
}

// findRepo returns the folder at or above dir that holds the parts' modules, or the empty string.
func findRepo(dir string) string {
	for {
		if _, err := os.Stat(filepath.Join(dir, "test", "e2e", "parts", "kubernetes", "go.mod")); err == nil {
			return dir
		}
		up := filepath.Dir(dir)
		if up == dir {
			return ""
		}
		dir = up
	}
}

// clean makes the paths absolute and refuses those that a lab cannot work with.
func (d Dirs) clean() (Dirs, error) {
	for _, p := range []*string{&d.State, &d.Cache, &d.Repo} {
		if *p == "" {
			continue
		}
		abs, err := filepath.Abs(*p)
		if err != nil {
			return d, err
		}
		*p = abs
	}
	if len(d.State) > maxStateDir {
		return d, fmt.Errorf("state directory %s: its path is longer than %d bytes", d.State, maxStateDir)
	}
	for _, hidden := range []string{"/run", "/proc", "/sys", "/var/run", "/var/log"} {
		for _, dir := range []string{d.State, d.Cache} {
			if dir == hidden || strings.HasPrefix(dir, hidden+"/") {
				return d, fmt.Errorf("directory %s: a node has its own %s and would not see it", dir, hidden)
			}
		}
	}
	if d.State == "/" || d.State == d.Cache {
		return d, errors.New("the state directory needs a folder of its own")
	}
	return d, nil
}

func (d Dirs) logs() string { return filepath.Join(d.State, "logs") }

// cgroupRoot returns the cgroup that holds the machines of the lab in this state directory, and of no other lab.
func (d Dirs) cgroupRoot() string {
	sum := sha256.Sum256([]byte(d.State))
	return "/netpol-lab-" + hex.EncodeToString(sum[:4])
}
