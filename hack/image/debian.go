package main

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// debianPackage is a Debian package that goes into an image.
type debianPackage struct {
	Path, Name, Version, Arch, SHA256 string
	// Control holds the control fields.
	Control []byte
}

// debianPackages reads the packages of a folder in the order of their file names.
func debianPackages(dir string) ([]debianPackage, error) {
	paths, err := filepath.Glob(filepath.Join(dir, "*.deb"))
	if err != nil || len(paths) == 0 {
		return nil, errors.Join(err, fmt.Errorf("%s: no packages", dir))
	}
	var out []debianPackage
	for _, p := range paths {
		data, err := os.ReadFile(p)
		if err != nil {
			return nil, err
		}
		sum := sha256.Sum256(data)
		d := debianPackage{Path: p, SHA256: hex.EncodeToString(sum[:])}
		if d.Control, err = dpkgDeb("--field", p); err != nil {
			return nil, err
		}
		for field, into := range map[string]*string{"Package": &d.Name, "Version": &d.Version, "Architecture": &d.Arch} {
			value, err := dpkgDeb("--field", p, field)
			if err != nil {
				return nil, err
			}
			if *into = strings.TrimSpace(string(value)); *into == "" {
				return nil, fmt.Errorf("%s: no %s", p, field)
			}
		}
		out = append(out, d)
	}
	return out, nil
}

func dpkgDeb(args ...string) ([]byte, error) {
	var complaint bytes.Buffer
	// dpkg-deb ends by itself, and an interrupt reaches it as it reaches this process.
	cmd := exec.CommandContext(context.Background(), "dpkg-deb", args...)
	cmd.Stderr = &complaint
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("dpkg-deb %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(complaint.String()))
	}
	return out, nil
}

// entry is a file or symbolic link of a layer.
type entry struct {
	mode int64
	data []byte
	link string
}

// debianLayer returns the tar of those files of the packages that programs need or that hold licenses. /bin, /sbin, /lib
// and /lib64 are links into /usr, as on any Debian system.
func (s spec) debianLayer(packages []debianPackage) ([]byte, error) {
	entries := map[string]entry{}
	for _, p := range packages {
		files, err := dpkgDeb("--fsys-tarfile", p.Path)
		if err != nil {
			return nil, err
		}
		if err := p.unpack(bytes.NewReader(files), entries); err != nil {
			return nil, fmt.Errorf("%s: %w", p.Path, err)
		}
		// Scanners look here for packages in an image without dpkg.
		entries["var/lib/dpkg/status.d/"+p.Name] = entry{mode: 0o644, data: p.Control}
	}
	for _, dir := range merged {
		if slices.ContainsFunc(slices.Collect(maps.Keys(entries)), func(name string) bool { return strings.HasPrefix(name, "usr/"+dir+"/") }) {
			entries[dir] = entry{link: "usr/" + dir}
		}
	}
	// The package's own script would make these links: the plain names lead to the nft variant.
	for _, family := range []string{"iptables", "ip6tables"} {
		for _, what := range []string{"", "-save", "-restore"} {
			if _, there := entries["usr/sbin/"+family+"-nft"+what]; there {
				entries["usr/sbin/"+family+what] = entry{link: family + "-nft" + what}
			}
		}
	}
	return s.tarEntries(entries)
}

// unpack adds the wanted files of the package to into.
func (p debianPackage) unpack(files io.Reader, into map[string]entry) error {
	for r := tar.NewReader(files); ; {
		hdr, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		name := usrMerged(path.Clean(strings.TrimPrefix(hdr.Name, "./")))
		if hdr.Typeflag == tar.TypeDir || slices.Contains(merged, path.Clean(strings.TrimPrefix(hdr.Name, "./"))) || !p.wanted(name) {
			continue
		}
		e := entry{mode: hdr.Mode & 0o755}
		switch hdr.Typeflag {
		case tar.TypeReg:
			if e.data, err = io.ReadAll(r); err != nil {
				return fmt.Errorf("%s: %w", hdr.Name, err)
			}
		case tar.TypeSymlink:
			e.link = hdr.Linkname
		default:
			return fmt.Errorf("%s: unexpected type of file %q", hdr.Name, hdr.Typeflag)
		}
		into[name] = e
	}
}

// merged are the folders that are links to the folders of the same name in /usr.
var merged = []string{"bin", "lib", "lib64", "sbin"}

func usrMerged(name string) string {
	if first, _, _ := strings.Cut(name, "/"); slices.Contains(merged, first) {
		return "usr/" + name
	}
	return name
}

// wanted reports whether a program of the image may open the file, or whether it holds a license.
func (p debianPackage) wanted(name string) bool {
	in := func(pattern string) bool { is, _ := path.Match(pattern, name); return is }
	switch {
	case in("usr/share/doc/*/copyright"), in("usr/share/doc/*"), in("usr/share/common-licenses/*"):
		return true
	case p.Name == "base-files":
		return name == "usr/lib/os-release" || name == "etc/os-release" || name == "etc/debian_version"
	}
	return !strings.HasPrefix(name, "usr/share/") && !strings.HasPrefix(name, "etc/ld.so.conf.d/") && !strings.Contains(name, "/gconv/")
}

// tarEntries returns the tar of files and links, in the order of their names.
func (s spec) tarEntries(entries map[string]entry) ([]byte, error) {
	var buf bytes.Buffer
	tw := tar.NewWriter(&buf)
	made := map[string]bool{".": true}
	for _, name := range slices.Sorted(maps.Keys(entries)) {
		e := entries[name]
		if err := s.parents(tw, path.Dir(name), made); err != nil {
			return nil, err
		}
		hdr := &tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: e.mode, Size: int64(len(e.data)), ModTime: s.Created}
		if e.link != "" {
			hdr.Typeflag, hdr.Mode, hdr.Linkname = tar.TypeSymlink, 0o777, e.link
		}
		if err := tw.WriteHeader(hdr); err != nil {
			return nil, err
		}
		if _, err := tw.Write(e.data); err != nil {
			return nil, err
		}
	}
	if err := tw.Close(); err != nil {
		return nil, err
	}
	return buf.Bytes(), nil
}
