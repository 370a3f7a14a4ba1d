package main

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

const (
	programPath = "usr/local/bin/netpol-agent"
	licensePath = "usr/share/doc/netpol-agent/LICENSE"
	source      = "https://github.com/netpol-agent/netpol-agent"
	description = "Enforces Kubernetes NetworkPolicy on a node, beside a network plugin that does not"
)

// index returns the image of all platforms.
func (s spec) index() (v1.ImageIndex, error) {
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, b := range s.Binaries {
		img, err := s.image(b)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", b.Platform, err)
		}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{
			Add:        img,
			Descriptor: v1.Descriptor{Platform: &b.Platform, MediaType: types.OCIManifestSchema1},
		})
	}
	annotated, ok := mutate.Annotations(index, s.labels()).(v1.ImageIndex)
	if !ok {
		return nil, errors.New("annotating the index returned something that is not an index")
	}
	return annotated, nil
}

func (s spec) labels() map[string]string {
	return map[string]string{
		"org.opencontainers.image.title":       "netpol-agent",
		"org.opencontainers.image.description": description,
		"org.opencontainers.image.source":      source,
		"org.opencontainers.image.licenses":    "Apache-2.0",
		"org.opencontainers.image.version":     s.Version,
		"org.opencontainers.image.revision":    s.Commit,
		"org.opencontainers.image.created":     s.Created.Format(time.RFC3339),
	}
}

// image returns the image of one platform: a layer with the program and its license, above a layer of Debian packages if
// there are any. It starts the program as root, because Kubernetes gives added capabilities to root alone; the DaemonSet
// drops all others.
func (s spec) image(b binary) (v1.Image, error) {
	img := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	search := "/" + path.Dir(programPath)
	if b.Packages != "" {
		packages, err := debianPackages(b.Packages)
		if err != nil {
			return nil, err
		}
		content, err := s.debianLayer(packages)
		if err != nil {
			return nil, err
		}
		if img, err = s.add(img, content, "Debian packages"); err != nil {
			return nil, err
		}
		search += ":/usr/sbin:/usr/bin"
	}
	content, err := s.layer(b)
	if err != nil {
		return nil, err
	}
	if img, err = s.add(img, content, "netpol-agent "+s.Version); err != nil {
		return nil, err
	}
	cfg, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	cfg = cfg.DeepCopy()
	cfg.OS, cfg.Architecture, cfg.Variant = b.Platform.OS, b.Platform.Architecture, b.Platform.Variant
	cfg.Created = v1.Time{Time: s.Created}
	cfg.Config = v1.Config{
		User:       "0:0",
		Entrypoint: []string{"/" + programPath},
		Cmd:        []string{"run"},
		Env:        []string{"PATH=" + search},
		WorkingDir: "/",
		Labels:     s.labels(),
	}
	return mutate.ConfigFile(img, cfg)
}

// add adds a layer to an image.
func (s spec) add(img v1.Image, content []byte, comment string) (v1.Image, error) {
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(content)), nil
	}, tarball.WithMediaType(types.OCILayer))
	if err != nil {
		return nil, err
	}
	return mutate.Append(img, mutate.Addendum{
		Layer:   layer,
		History: v1.History{Created: v1.Time{Time: s.Created}, CreatedBy: "make image", Comment: comment},
	})
}

// layer returns the tar of the program and its license. All files belong to root and have the image's time.
func (s spec) layer(b binary) ([]byte, error) {
	var buf bytes.Buffer
	tw := tar.NewWriter(&buf)
	made := map[string]bool{".": true}
	add := func(name, from string, mode int64) error {
		data, err := os.ReadFile(from)
		if err != nil {
			return err
		}
		if err := s.parents(tw, path.Dir(name), made); err != nil {
			return err
		}
		hdr := &tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: mode, Size: int64(len(data)), ModTime: s.Created}
		if err := tw.WriteHeader(hdr); err != nil {
			return err
		}
		_, err = tw.Write(data)
		return err
	}
	if err := add(programPath, b.Path, 0o755); err != nil {
		return nil, err
	}
	if err := add(licensePath, s.License, 0o644); err != nil {
		return nil, err
	}
	if err := tw.Close(); err != nil {
		return nil, err
	}
	return buf.Bytes(), nil
}

func (s spec) parents(tw *tar.Writer, dir string, made map[string]bool) error {
	if made[dir] {
		return nil
	}
	if err := s.parents(tw, path.Dir(dir), made); err != nil {
		return err
	}
	made[dir] = true
	return tw.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: dir + "/", Mode: 0o755, ModTime: s.Created})
}
