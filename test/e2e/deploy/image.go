package deploy

import (
	"archive/tar"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"
)

// Flavour says what an image contains besides the agent's program.
type Flavour string

const (
	// Plain is the program alone.
	Plain Flavour = ""
	// IPTables has the programs that the backend iptables runs.
	IPTables Flavour = "iptables"
)

// FlavourFor returns the flavour that a backend of the chart needs.
func FlavourFor(backend string) Flavour {
	if backend == "nftables" {
		return Plain
	}
	return IPTables
}

// Build has make write the image and build helm, unless they are up to date.
func Build(ctx context.Context, repo string, flavour Flavour) error {
	cmd := exec.CommandContext(ctx, "make", "--no-print-directory", "-C", repo, "image", "bin/helm", "FLAVOUR="+string(flavour))
	// The flags of an outer make are not meant for this one.
	cmd.Env = slices.DeleteFunc(os.Environ(), func(v string) bool {
		return strings.HasPrefix(v, "MAKEFLAGS=") || strings.HasPrefix(v, "MAKELEVEL=")
	})
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("make image bin/helm FLAVOUR=%s: %w\n%s", flavour, err, out)
	}
	return nil
}

// Image is an image in an archive.
type Image struct {
	// Archive is the archive's path.
	Archive string
	// Repository and Version are its name, Digest its content.
	Repository, Version, Digest string
}

// Tag returns the image's tag in the cluster. It differs for any two images, even of one version, so that an
// upgrade replaces the agents exactly if the image is another.
func (i Image) Tag() string {
	const enough = 12
	return i.Version + "-" + strings.TrimPrefix(i.Digest, "sha256:")[:enough]
}

// Name returns repository and tag.
func (i Image) Name() string { return i.Repository + ":" + i.Tag() }

// ReadImage reads the archive of a flavour in a checkout's bin folder.
func ReadImage(repo string, flavour Flavour) (Image, error) {
	name, hint := "netpol-agent-image", "make image"
	if flavour != Plain {
		name, hint = name+"-"+string(flavour), hint+" FLAVOUR="+string(flavour)
	}
	img := Image{Archive: filepath.Join(repo, "bin", name+".tar")}
	f, err := os.Open(img.Archive)
	if err != nil {
		return img, fmt.Errorf("image: %w: run %q", err, hint)
	}
	defer func() { _ = f.Close() }()
	if err := img.readIndex(tar.NewReader(f)); err != nil {
		return img, fmt.Errorf("image %s: %w", img.Archive, err)
	}
	return img, nil
}

func (i *Image) readIndex(archive *tar.Reader) error {
	for {
		hdr, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return errors.New("no index.json")
		}
		if err != nil {
			return err
		}
		if hdr.Name == "index.json" {
			break
		}
	}
	var index struct {
		Manifests []struct {
			Digest      string
			Annotations map[string]string
		}
	}
	if err := json.NewDecoder(archive).Decode(&index); err != nil {
		return fmt.Errorf("index.json: %w", err)
	}
	if len(index.Manifests) != 1 {
		return fmt.Errorf("%d images, want 1", len(index.Manifests))
	}
	m := index.Manifests[0]
	name := m.Annotations["io.containerd.image.name"]
	cut := strings.LastIndex(name, ":")
	if cut < 0 || len(m.Digest) != len("sha256:")+64 {
		return fmt.Errorf("name %q, digest %q", name, m.Digest)
	}
	i.Repository, i.Version, i.Digest = name[:cut], name[cut+1:], m.Digest
	return nil
}

// importImage imports the image into the nodes that lack it.
func (r *Release) importImage(ctx context.Context) error {
	ctr := []string{"ctr", "--namespace", "k8s.io", "images"}
	g, ctx := errgroup.WithContext(ctx)
	for _, n := range r.cluster.Nodes {
		g.Go(func() error {
			have, err := r.cluster.NodeExec(ctx, n.Name, slices.Concat(ctr, []string{"list", "--quiet", "name==" + r.image.Name()})...)
			if err != nil || strings.TrimSpace(string(have)) != "" {
				return err
			}
			if _, err := r.cluster.NodeExec(ctx, n.Name, slices.Concat(ctr, []string{"import", r.image.Archive})...); err != nil {
				return fmt.Errorf("import the image into %s: %w", n.Name, err)
			}
			_, err = r.cluster.NodeExec(ctx, n.Name, slices.Concat(ctr, []string{"tag", "--force", r.image.Repository + ":" + r.image.Version, r.image.Name()})...)
			if err != nil {
				return fmt.Errorf("name the image on %s: %w", n.Name, err)
			}
			return nil
		})
	}
	return g.Wait()
}
