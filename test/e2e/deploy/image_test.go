package deploy

import (
	"archive/tar"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const digest = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

// archive writes a checkout whose bin folder has an image archive with this index.json, or with none.
func archive(t *testing.T, index string) (repo string) {
	t.Helper()
	repo = t.TempDir()
	if err := os.Mkdir(filepath.Join(repo, "bin"), 0o755); err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(filepath.Join(repo, "bin", "netpol-agent-image.tar"))
	if err != nil {
		t.Fatal(err)
	}
	w := tar.NewWriter(f)
	for name, content := range map[string]string{"oci-layout": "{}", "index.json": index} {
		if content == "" {
			continue
		}
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: int64(len(content))}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(content)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	return repo
}

func manifest(name, digest string) string {
	return `{"digest": "` + digest + `", "annotations": {"io.containerd.image.name": "` + name + `"}}`
}

func TestImageIsNamedAfterItsContent(t *testing.T) {
	img, err := ReadImage(archive(t, `{"manifests": [`+manifest("registry.example:5000/a/b:v1.2", digest)+`]}`), Plain)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := img.Name(), "registry.example:5000/a/b:v1.2-0123456789ab"; got != want {
		t.Errorf("name %s, want %s", got, want)
	}
	if img.Digest != digest || img.Version != "v1.2" {
		t.Errorf("%+v", img)
	}
}

func TestArchiveThatCannotBeInstalledIsNamed(t *testing.T) {
	good := manifest("a:1", digest)
	for what, c := range map[string][2]string{
		"no index":        {"", "no index.json"},
		"no JSON":         {"x", "index.json"},
		"no image":        {`{"manifests": []}`, "0 images, want 1"},
		"two images":      {`{"manifests": [` + good + `,` + good + `]}`, "2 images, want 1"},
		"no tag":          {`{"manifests": [` + manifest("a", digest) + `]}`, `name "a"`},
		"no whole digest": {`{"manifests": [` + manifest("a:1", "sha256:12") + `]}`, `digest "sha256:12"`},
	} {
		_, err := ReadImage(archive(t, c[0]), Plain)
		if err == nil || !strings.Contains(err.Error(), "netpol-agent-image.tar: ") || !strings.Contains(err.Error(), c[1]) {
			t.Errorf("%s: error %v, want one with %s", what, err, c[1])
		}
	}
	for flavour, hint := range map[Flavour]string{Plain: `run "make image"`, IPTables: `run "make image FLAVOUR=iptables"`} {
		if _, err := ReadImage(t.TempDir(), flavour); err == nil || !strings.Contains(err.Error(), hint) {
			t.Errorf("no archive: error %v, want one with %s", err, hint)
		}
	}
}
