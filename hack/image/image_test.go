package main

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// sample returns an image whose program is the test binary itself, which is an ordinary Go binary.
func sample(t *testing.T) spec {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(exe)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	program, license := filepath.Join(dir, "program"), filepath.Join(dir, "LICENSE")
	if err := errors.Join(os.WriteFile(program, data, 0o700), os.WriteFile(license, []byte("terms"), 0o600)); err != nil {
		t.Fatal(err)
	}
	return spec{
		Name: "example.org/agent", Version: "v1.2.3", Commit: "abc", Created: time.Unix(1700000000, 0).UTC(), License: license,
		Binaries: []binary{
			{Platform: v1.Platform{OS: "linux", Architecture: "amd64"}, Path: program},
			{Platform: v1.Platform{OS: "linux", Architecture: "arm64"}, Path: program},
		},
	}
}

func archiveAndSBOM(t *testing.T, s spec) (archive, sbom []byte) {
	t.Helper()
	index, err := s.index()
	if err != nil {
		t.Fatal(err)
	}
	digest, err := index.Digest()
	if err != nil {
		t.Fatal(err)
	}
	var a, b bytes.Buffer
	if err := errors.Join(s.writeArchive(&a, index), s.writeSBOM(&b, digest)); err != nil {
		t.Fatal(err)
	}
	return a.Bytes(), b.Bytes()
}

func TestTheSameGivesTheSameBytes(t *testing.T) {
	first, second := sample(t), sample(t) // two folders, other file times
	if err := os.Chtimes(second.Binaries[0].Path, time.Unix(1, 0), time.Unix(1, 0)); err != nil {
		t.Fatal(err)
	}
	a1, b1 := archiveAndSBOM(t, first)
	a2, b2 := archiveAndSBOM(t, second)
	if !bytes.Equal(a1, a2) {
		t.Error("archives differ")
	}
	if !bytes.Equal(b1, b2) {
		t.Error("SBOMs differ")
	}
	second.Version = "v1.2.4"
	if a3, _ := archiveAndSBOM(t, second); bytes.Equal(a1, a3) {
		t.Error("another version yields the same archive: the comparison shows nothing")
	}
}

func files(t *testing.T, archive []byte) map[string][]byte {
	t.Helper()
	all := map[string][]byte{}
	for r := tar.NewReader(bytes.NewReader(archive)); ; {
		hdr, err := r.Next()
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		if all[hdr.Name], err = io.ReadAll(r); err != nil {
			t.Fatal(err)
		}
	}
}

func decode[T any](t *testing.T, data []byte) (v T) {
	t.Helper()
	if err := json.Unmarshal(data, &v); err != nil {
		t.Fatalf("%v in %s", err, data)
	}
	return v
}

func TestArchiveIsAnIndexOfBothPlatforms(t *testing.T) {
	archive, _ := archiveAndSBOM(t, sample(t))
	all := files(t, archive)
	blob := func(h v1.Hash) []byte { return all["blobs/sha256/"+h.Hex] }
	top := decode[v1.IndexManifest](t, all["index.json"])
	if len(top.Manifests) != 1 || top.Manifests[0].Annotations["io.containerd.image.name"] != "example.org/agent:v1.2.3" {
		t.Fatalf("index.json: %s", all["index.json"])
	}
	index := decode[v1.IndexManifest](t, blob(top.Manifests[0].Digest))
	var platforms []string
	for _, m := range index.Manifests {
		platforms = append(platforms, m.Platform.String())
		image := decode[v1.Manifest](t, blob(m.Digest))
		config := decode[v1.ConfigFile](t, blob(image.Config.Digest))
		if got := config.OS + "/" + config.Architecture; got != m.Platform.String() {
			t.Errorf("%s: the configuration says %s", m.Platform, got)
		}
		if config.Config.User != "0:0" || !slices.Equal(config.Config.Entrypoint, []string{"/usr/local/bin/netpol-agent"}) {
			t.Errorf("%s: configuration %+v", m.Platform, config.Config)
		}
		if len(image.Layers) != 1 || blob(image.Layers[0].Digest) == nil {
			t.Errorf("%s: layers %v", m.Platform, image.Layers)
		}
	}
	if !slices.Equal(platforms, []string{"linux/amd64", "linux/arm64"}) {
		t.Errorf("platforms %v", platforms)
	}
}

func TestLayerHoldsProgramAndLicenseOnly(t *testing.T) {
	s := sample(t)
	layer, err := s.layer(s.Binaries[0])
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for name := range files(t, layer) {
		if !strings.HasSuffix(name, "/") {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	if !slices.Equal(names, []string{programPath, licensePath}) {
		t.Errorf("files %v", names)
	}
}

func TestSBOMListsWhatIsLinked(t *testing.T) {
	_, sbom := archiveAndSBOM(t, sample(t))
	doc := decode[struct {
		SPDXVersion   string
		Packages      []struct{ Name, VersionInfo, SPDXID string }
		Relationships []struct{ RelatedSPDXElement string }
	}](t, sbom)
	if doc.SPDXVersion != "SPDX-2.3" {
		t.Errorf("version %q", doc.SPDXVersion)
	}
	seen := map[string]string{}
	ids := map[string]bool{}
	for _, p := range doc.Packages {
		seen[p.Name] = p.VersionInfo
		if ids[p.SPDXID] {
			t.Errorf("two packages are %s", p.SPDXID)
		}
		ids[p.SPDXID] = true
	}
	for _, want := range []string{"github.com/google/go-containerregistry", "github.com/spdx/tools-golang", "example.org/agent"} {
		if seen[want] == "" {
			t.Errorf("%s is missing among %v", want, seen)
		}
	}
	if seen["stdlib"] != runtime.Version() {
		t.Errorf("stdlib %q", seen["stdlib"])
	}
	if len(doc.Relationships) != len(doc.Packages) {
		t.Errorf("%d packages, %d relationships", len(doc.Packages), len(doc.Relationships))
	}
}

func TestMissingArgumentsAreNamed(t *testing.T) {
	for want, args := range map[string][]string{
		"-binary":  {"-out", "x", "-name", "n", "-version", "v", "-commit", "c", "-created", "0"},
		"-created": {"-out", "x", "-name", "n", "-version", "v", "-commit", "c", "-binary", "linux/amd64=p"},
		"OS/ARCH":  {"-binary", "p"},
	} {
		if _, _, err := parse(args); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: error %v does not name %s", args, err, want)
		}
	}
}
