package image

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path"
	"runtime"
	"slices"
)

// config is the part of an image's configuration that containerd and the CRI read.
type config struct {
	Architecture string     `json:"architecture"`
	OS           string     `json:"os"`
	Config       execConfig `json:"config"`
	RootFS       rootFS     `json:"rootfs"`
}

type execConfig struct {
	Entrypoint []string `json:"Entrypoint,omitempty"`
	Env        []string `json:"Env,omitempty"`
}

type rootFS struct {
	Type    string   `json:"type"`
	DiffIDs []string `json:"diff_ids"`
}

// manifest is an entry of a docker-archive's manifest.json.
type manifest struct {
	Config   string   `json:"Config"`
	RepoTags []string `json:"RepoTags"`
	Layers   []string `json:"Layers"`
}

// Write writes a docker-archive with the images. The same content yields the same bytes.
func Write(w io.Writer, images ...Image) error {
	tw := tar.NewWriter(w)
	var manifests []manifest
	for _, img := range images {
		m, err := writeImage(tw, img)
		if err != nil {
			return fmt.Errorf("image %s: %w", img.Name, err)
		}
		manifests = append(manifests, m)
	}
	data, err := json.Marshal(manifests)
	if err != nil {
		return err
	}
	if err := writeEntry(tw, "manifest.json", 0o644, data); err != nil {
		return err
	}
	return tw.Close()
}

func writeImage(tw *tar.Writer, img Image) (manifest, error) {
	layer, err := layerOf(img)
	if err != nil {
		return manifest{}, err
	}
	layerSum := sum(layer)
	cfg, err := json.Marshal(config{
		Architecture: runtime.GOARCH,
		OS:           "linux",
		Config:       execConfig{Entrypoint: img.Entrypoint, Env: img.Env},
		RootFS:       rootFS{Type: "layers", DiffIDs: []string{"sha256:" + layerSum}},
	})
	if err != nil {
		return manifest{}, err
	}
	m := manifest{
		Config:   sum(cfg) + ".json",
		RepoTags: []string{img.Name},
		Layers:   []string{layerSum + "/layer.tar"},
	}
	if err := writeEntry(tw, m.Layers[0], 0o644, layer); err != nil {
		return manifest{}, err
	}
	return m, writeEntry(tw, m.Config, 0o644, cfg)
}

// layerOf returns the tar of the image's only layer. Parents precede their children, everything belongs to root,
// and there are no times: a layer depends on its content only.
func layerOf(img Image) ([]byte, error) {
	var buf bytes.Buffer
	tw := tar.NewWriter(&buf)
	for _, dir := range directories(img) {
		hdr := &tar.Header{Typeflag: tar.TypeDir, Name: dir + "/", Mode: 0o755}
		if dir == "tmp" {
			hdr.Mode = 0o1777
		}
		if err := tw.WriteHeader(hdr); err != nil {
			return nil, err
		}
	}
	for _, f := range img.Files {
		data, err := os.ReadFile(f.Source)
		if err != nil {
			return nil, err
		}
		if err := writeEntry(tw, f.Path, 0o755, data); err != nil {
			return nil, err
		}
	}
	for _, l := range img.Links {
		hdr := &tar.Header{Typeflag: tar.TypeSymlink, Name: l.Path, Linkname: l.Target, Mode: 0o777}
		if err := tw.WriteHeader(hdr); err != nil {
			return nil, err
		}
	}
	if err := tw.Close(); err != nil {
		return nil, err
	}
	return buf.Bytes(), nil
}

// directories lists the image's directories and the parents of all it holds, parents first.
func directories(img Image) []string {
	all := slices.Clone(img.Dirs)
	for _, f := range img.Files {
		all = append(all, path.Dir(f.Path))
	}
	for _, l := range img.Links {
		all = append(all, path.Dir(l.Path))
	}
	for i := 0; i < len(all); i++ {
		if up := path.Dir(all[i]); up != "." {
			all = append(all, up)
		}
	}
	all = slices.DeleteFunc(all, func(d string) bool { return d == "." })
	slices.Sort(all)
	return slices.Compact(all)
}

func writeEntry(tw *tar.Writer, name string, mode int64, data []byte) error {
	hdr := &tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: mode, Size: int64(len(data))}
	if err := tw.WriteHeader(hdr); err != nil {
		return err
	}
	_, err := tw.Write(data)
	return err
}

func sum(data []byte) string {
	s := sha256.Sum256(data)
	return hex.EncodeToString(s[:])
}
