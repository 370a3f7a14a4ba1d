package main

import (
	"archive/tar"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
)

// writeArchive writes the tar of an OCI image layout. Its only entry is the index, under the image's name.
func (s spec) writeArchive(w io.Writer, index v1.ImageIndex) error {
	dir, err := os.MkdirTemp("", "netpol-agent-image")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir) //nolint:errcheck // it is temporary
	path, err := layout.Write(dir, empty.Index)
	if err != nil {
		return err
	}
	err = path.AppendIndex(index, layout.WithAnnotations(map[string]string{
		"org.opencontainers.image.ref.name": s.Version,
		// containerd reads the full name from this annotation.
		"io.containerd.image.name": s.Name + ":" + s.Version,
	}))
	if err != nil {
		return err
	}
	tw := tar.NewWriter(w)
	if err := s.tarFolder(tw, dir); err != nil {
		return err
	}
	return tw.Close()
}

// tarFolder writes the contents of a folder in the order of their names.
func (s spec) tarFolder(tw *tar.Writer, dir string) error {
	return filepath.WalkDir(dir, func(file string, e fs.DirEntry, err error) error {
		if err != nil || file == dir {
			return err
		}
		name, err := filepath.Rel(dir, file)
		if err != nil {
			return err
		}
		hdr := &tar.Header{Typeflag: tar.TypeDir, Name: name + "/", Mode: 0o755, ModTime: s.Created}
		if e.IsDir() {
			return tw.WriteHeader(hdr)
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		hdr.Typeflag, hdr.Name, hdr.Mode, hdr.Size = tar.TypeReg, name, 0o644, info.Size()
		if err := tw.WriteHeader(hdr); err != nil {
			return err
		}
		f, err := os.Open(file)
		if err != nil {
			return err
		}
		_, err = io.Copy(tw, f)
		if e := f.Close(); err == nil {
			err = e
		}
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		return nil
	})
}
