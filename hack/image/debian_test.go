package main

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// needDpkg skips the test on a machine without Debian's tools, or fails it in CI.
func needDpkg(t *testing.T) {
	t.Helper()
	_, err := exec.LookPath("dpkg-deb")
	if err == nil {
		return
	}
	if os.Getenv("CI") == "true" {
		t.Fatal(err)
	}
	t.Skip(err)
}

// packed builds a Debian package of the files. Content that begins with "->" makes a link.
func packed(t *testing.T, dir, name string, files map[string]string) {
	t.Helper()
	needDpkg(t)
	tree := t.TempDir()
	files["DEBIAN/control"] = "Package: " + name + "\nVersion: 1.2-3\nArchitecture: all\nMaintainer: Nobody <nobody@example.org>\nDescription: a test\n"
	for path, content := range files {
		path = filepath.Join(tree, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		var err error
		if link, is := strings.CutPrefix(content, "->"); is {
			err = os.Symlink(link, path)
		} else {
			err = os.WriteFile(path, []byte(content), 0o755)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if _, err := dpkgDeb("--root-owner-group", "--build", tree, filepath.Join(dir, name+".deb")); err != nil {
		t.Fatal(err)
	}
}

// withPackages returns the sample with two packages for one of its platforms.
func withPackages(t *testing.T) spec {
	t.Helper()
	dir := t.TempDir()
	packed(t, dir, "iptables", map[string]string{
		"usr/sbin/xtables-nft-multi": "program", "usr/sbin/iptables-nft": "->xtables-nft-multi", "usr/share/man/man8/iptables.8": "manual",
		"usr/share/doc/iptables/copyright": "terms", "usr/share/doc/iptables/changelog": "news",
	})
	packed(t, dir, "libc6", map[string]string{
		"lib/x/libc.so.6": "library", "lib64/ld.so": "->/lib/x/ld.so", "usr/lib/x/gconv/A.so": "charset",
	})
	s := sample(t)
	s.Binaries[0].Packages = dir
	return s
}

func TestPackagesBecomeALayer(t *testing.T) {
	s := withPackages(t)
	packages, err := debianPackages(s.Binaries[0].Packages)
	if err != nil {
		t.Fatal(err)
	}
	layer, err := s.debianLayer(packages)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for r := tar.NewReader(bytes.NewReader(layer)); ; {
		hdr, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if hdr.Uid != 0 || !hdr.ModTime.Equal(s.Created) {
			t.Errorf("%s: of user %d, at %s", hdr.Name, hdr.Uid, hdr.ModTime)
		}
		if hdr.Typeflag != tar.TypeDir {
			got = append(got, strings.TrimSuffix(hdr.Name+" "+hdr.Linkname, " "))
		}
	}
	want := []string{
		"lib usr/lib", "lib64 usr/lib64", "sbin usr/sbin", "usr/lib/x/libc.so.6", "usr/lib64/ld.so /lib/x/ld.so",
		"usr/sbin/iptables iptables-nft", "usr/sbin/iptables-nft xtables-nft-multi", "usr/sbin/xtables-nft-multi",
		"usr/share/doc/iptables/copyright", "var/lib/dpkg/status.d/iptables", "var/lib/dpkg/status.d/libc6",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestPackagesAreInImageAndSBOM(t *testing.T) {
	s := withPackages(t)
	first, err := s.image(s.Binaries[0])
	if err != nil {
		t.Fatal(err)
	}
	layers, err := first.Layers()
	if err != nil || len(layers) != 2 {
		t.Errorf("%d layers, %v", len(layers), err)
	}
	config, err := first.ConfigFile()
	if err != nil || !slices.Equal(config.Config.Env, []string{"PATH=/usr/local/bin:/usr/sbin:/usr/bin"}) {
		t.Errorf("%+v, %v", config, err)
	}
	a1, sbom := archiveAndSBOM(t, s)
	a2, _ := archiveAndSBOM(t, s)
	if !bytes.Equal(a1, a2) {
		t.Error("archives differ")
	}
	for _, want := range []string{"pkg:deb/debian/iptables@1.2-3?arch=all", "pkg:deb/debian/libc6@1.2-3?arch=all"} {
		if !strings.Contains(string(sbom), want) {
			t.Errorf("the SBOM lacks %s", want)
		}
	}
}

func TestPackagesThatAreNoneAreNamed(t *testing.T) {
	s := sample(t)
	s.Binaries[0].Packages = t.TempDir()
	if _, err := s.index(); err == nil || !strings.Contains(err.Error(), s.Binaries[0].Packages+": no packages") {
		t.Errorf("an empty folder: %v", err)
	}
	needDpkg(t)
	bad := filepath.Join(s.Binaries[0].Packages, "bad.deb")
	if err := os.WriteFile(bad, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := s.index(); err == nil || !strings.Contains(err.Error(), bad) {
		t.Errorf("no package: %v", err)
	}
	if _, _, err := parse([]string{"-binary", "linux/amd64=p", "-packages", "linux/arm64=d"}); err == nil || !strings.Contains(err.Error(), "linux/arm64=d") {
		t.Errorf("packages without a program: %v", err)
	}
}
