package lab

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/netpol-agent/netpol-agent/test/e2e/lab/host"
	"github.com/netpol-agent/netpol-agent/test/e2e/lab/image"
	"github.com/netpol-agent/netpol-agent/test/e2e/lab/parts"
	"github.com/netpol-agent/netpol-agent/test/e2e/lab/progress"
)

// Built holds programs that a test suite on a cluster needs, but the cluster itself does not.
type Built struct {
	// Bin maps a program's name to its path.
	Bin map[string]string
	// Releases maps a part's name to the release it is pinned to.
	Releases map[string]string
}

// BuildOptional builds the named parts of parts.Optional that the cache lacks. The result includes busybox.
func BuildOptional(ctx context.Context, dirs Dirs, p *progress.Printer, names ...string) (Built, error) {
	out := Built{Bin: map[string]string{}, Releases: map[string]string{}}
	dirs, err := dirs.clean()
	if err != nil {
		return out, err
	}
	if dirs.Repo == "" {
		return out, errors.New("this is not a checkout of the repository: change into one, or name one with --repo")
	}
	var wanted []parts.Part
	for _, part := range parts.Optional() {
		if slices.Contains(names, part.Name) {
			wanted = append(wanted, part)
		}
	}
	if len(wanted) != len(names) {
		return out, fmt.Errorf("parts %v: not all of them are in the catalog", names)
	}
	source := filepath.Join(dirs.Repo, "test", "e2e", "parts")
	folders, err := parts.Builder{Source: source, Cache: dirs.Cache, Progress: p}.Ensure(ctx, wanted)
	if err != nil {
		return out, err
	}
	for _, part := range wanted {
		for _, prog := range slices.Concat(part.Programs, part.Tests) {
			out.Bin[prog.Name] = filepath.Join(folders[part.Name], prog.Name)
		}
		if out.Releases[part.Name], err = parts.Release(part, source); err != nil {
			return out, err
		}
	}
	out.Bin["busybox"], err = host.Busybox(ctx, p, filepath.Join(dirs.Cache, "busybox"))
	return out, err
}

// AgnhostImage returns the image that the Kubernetes release's own tests run in pods, under the given name. It
// holds agnhost, and busybox for its shell.
func (b Built) AgnhostImage(ctx context.Context, name string) (image.Image, error) {
	img := image.Image{
		Name:       name,
		Entrypoint: []string{"/agnhost"},
		Env:        []string{"PATH=/bin:/"},
		Dirs:       []string{"tmp", "etc", "root"},
		Files:      []image.File{{Path: "agnhost", Source: b.Bin[parts.Agnhost]}},
	}
	return withBusybox(ctx, img, b.Bin["busybox"])
}

// ImportImages imports the images into the container runtimes of all nodes.
func (c *Cluster) ImportImages(ctx context.Context, images ...image.Image) error {
	f, err := os.CreateTemp(c.dirs.State, "images-*.tar")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(f.Name()) }()
	defer func() { _ = f.Close() }()
	w := bufio.NewWriter(f)
	if err := image.Write(w, images...); err != nil {
		return err
	}
	if err := w.Flush(); err != nil {
		return err
	}
	for _, n := range c.Nodes {
		if _, err := c.NodeExec(ctx, n.Name, "ctr", "--namespace", "k8s.io", "images", "import", f.Name()); err != nil {
			return fmt.Errorf("import images on %s: %w", n.Name, err)
		}
	}
	return nil
}
