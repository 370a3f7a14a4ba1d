package image

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

func entries(t *testing.T, r io.Reader) (names []string, contents map[string][]byte) {
	t.Helper()
	contents = map[string][]byte{}
	tr := tar.NewReader(r)
	for {
		hdr, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return names, contents
		}
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(tr)
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, hdr.Name)
		contents[hdr.Name] = data
	}
}

func sample(t *testing.T) Image {
	t.Helper()
	bin := filepath.Join(t.TempDir(), "bin")
	if err := os.WriteFile(bin, []byte("program"), 0o700); err != nil {
		t.Fatal(err)
	}
	return Image{
		Name:       "lab.local/sample:1",
		Entrypoint: []string{"/usr/local/bin/sample"},
		Dirs:       []string{"tmp"},
		Files:      []File{{Path: "usr/local/bin/sample", Source: bin}},
		Links:      []Link{{Path: "bin/sh", Target: "/usr/local/bin/sample"}},
	}
}

func TestArchiveHoldsTheImage(t *testing.T) {
	img := sample(t)
	var buf bytes.Buffer
	if err := Write(&buf, img); err != nil {
		t.Fatal(err)
	}
	_, files := entries(t, &buf)
	var manifests []manifest
	if err := json.Unmarshal(files["manifest.json"], &manifests); err != nil || len(manifests) != 1 {
		t.Fatalf("manifest.json: %s, %v", files["manifest.json"], err)
	}
	m := manifests[0]
	if !slices.Equal(m.RepoTags, []string{img.Name}) || len(m.Layers) != 1 {
		t.Errorf("manifest = %+v", m)
	}
	var cfg config
	if err := json.Unmarshal(files[m.Config], &cfg); err != nil {
		t.Fatalf("%s: %v", m.Config, err)
	}
	layer := files[m.Layers[0]]
	if got := cfg.RootFS.DiffIDs; !slices.Equal(got, []string{"sha256:" + sum(layer)}) {
		t.Errorf("diff IDs %v are not those of the layer", got)
	}
	if !slices.Equal(cfg.Config.Entrypoint, img.Entrypoint) {
		t.Errorf("entrypoint %v", cfg.Config.Entrypoint)
	}
	names, content := entries(t, bytes.NewReader(layer))
	want := []string{"bin/", "tmp/", "usr/", "usr/local/", "usr/local/bin/", "usr/local/bin/sample", "bin/sh"}
	if !slices.Equal(names, want) {
		t.Errorf("layer has %v, want %v", names, want)
	}
	if string(content["usr/local/bin/sample"]) != "program" {
		t.Errorf("content %q", content["usr/local/bin/sample"])
	}
}

func TestArchiveIsReproducible(t *testing.T) {
	img := sample(t)
	var a, b bytes.Buffer
	if err := Write(&a, img); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(img.Files[0].Source, time.Unix(1, 0), time.Unix(1, 0)); err != nil {
		t.Fatal(err)
	}
	if err := Write(&b, img); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(a.Bytes(), b.Bytes()) {
		t.Error("the same content yields different archives")
	}
}

func TestMissingFileNamesTheImage(t *testing.T) {
	img := sample(t)
	img.Files[0].Source = "/no/such/file"
	err := Write(io.Discard, img)
	if err == nil || !bytes.Contains([]byte(err.Error()), []byte(img.Name)) {
		t.Errorf("error %v does not name the image", err)
	}
}
