package host

import (
	"bytes"
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sort"
	"strings"

	"github.com/netpol-agent/netpol-agent/test/e2e/lab/progress"
)

// Path is the PATH of the lab's processes. A login shell's may lack the sbin folders.
const Path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// tools maps the programs that the lab runs to the Debian package each comes with.
var tools = map[string]string{
	"runc":     "runc",
	"iptables": "iptables",
	"nft":      "nftables",
	"ip":       "iproute2",
	"modprobe": "kmod",
	"mount":    "mount",
}

// EnsureTools installs the Debian packages of the programs that are missing.
func EnsureTools(ctx context.Context, p *progress.Printer) error {
	missing := missingPackages(func(tool string) bool { return FindTool(tool) != "" })
	if len(missing) == 0 {
		return nil
	}
	list := strings.Join(missing, " ")
	if FindTool("apt-get") == "" {
		return fmt.Errorf("programs are missing: install what Debian's packages %s contain", list)
	}
	p.Step("installing Debian packages: %s", list)
	if err := apt(ctx, "update"); err != nil {
		return fmt.Errorf("install %s: %w", list, err)
	}
	args := append([]string{"install", "-y", "--no-install-recommends"}, missing...)
	if err := apt(ctx, args...); err != nil {
		return fmt.Errorf("install %s: %w", list, err)
	}
	if missing = missingPackages(func(tool string) bool { return FindTool(tool) != "" }); len(missing) > 0 {
		return fmt.Errorf("programs of %s are still missing in %s", strings.Join(missing, " "), Path)
	}
	return nil
}

func missingPackages(has func(tool string) bool) []string {
	var missing []string
	for tool, pkg := range tools {
		if !has(tool) {
			missing = append(missing, pkg)
		}
	}
	sort.Strings(missing)
	return slices.Compact(missing)
}

// FindTool returns the path of a program in the lab's PATH, or the empty string.
func FindTool(name string) string {
	for dir := range strings.SplitSeq(Path, ":") {
		file := filepath.Join(dir, name)
		if info, err := os.Stat(file); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			return file
		}
	}
	return ""
}

func apt(ctx context.Context, args ...string) error {
	cmd := exec.CommandContext(ctx, "apt-get", append([]string{"-qq"}, args...)...)
	cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("apt-get %s: %w: %s", args[0], err, lastLine(out))
	}
	return nil
}

func lastLine(out []byte) []byte {
	out = bytes.TrimSpace(out)
	return out[bytes.LastIndexByte(out, '\n')+1:]
}

// Busybox returns the path of a statically linked busybox, which needs no library inside an image. If the machine
// has none, Debian's package is unpacked into dir but not installed, because it would replace the busybox that the
// machine may boot with.
func Busybox(ctx context.Context, p *progress.Printer, dir string) (string, error) {
	unpacked := filepath.Join(dir, "bin", "busybox")
	for _, file := range []string{FindTool("busybox"), unpacked} {
		if file != "" && isStatic(file) {
			return file, nil
		}
	}
	p.Step("fetching Debian package: busybox-static")
	tmp, err := os.MkdirTemp("", "busybox-static-")
	if err != nil {
		return "", err
	}
	defer func() { _ = os.RemoveAll(tmp) }()
	if err := apt(ctx, "update"); err != nil {
		return "", fmt.Errorf("fetch busybox-static: %w", err)
	}
	get := exec.CommandContext(ctx, "apt-get", "-qq", "download", "busybox-static")
	get.Dir = tmp
	if out, err := get.CombinedOutput(); err != nil {
		return "", fmt.Errorf("fetch busybox-static: %w: %s", err, lastLine(out))
	}
	debs, _ := filepath.Glob(filepath.Join(tmp, "*.deb"))
	if len(debs) != 1 {
		return "", errors.New("fetch busybox-static: apt-get download left no package")
	}
	if out, err := exec.CommandContext(ctx, "dpkg-deb", "-x", debs[0], dir).CombinedOutput(); err != nil {
		return "", fmt.Errorf("unpack busybox-static: %w: %s", err, lastLine(out))
	}
	for _, file := range []string{unpacked, filepath.Join(dir, "usr", "bin", "busybox")} {
		if isStatic(file) {
			return file, nil
		}
	}
	return "", errors.New("unpack busybox-static: no static busybox in it")
}

// isStatic reports whether the file is an executable that needs no dynamic loader.
func isStatic(file string) bool {
	f, err := elf.Open(file)
	if err != nil {
		return false
	}
	defer func() { _ = f.Close() }()
	return !slices.ContainsFunc(f.Progs, func(p *elf.Prog) bool { return p.Type == elf.PT_INTERP })
}
