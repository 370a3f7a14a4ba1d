package lab

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/netpol-agent/netpol-agent/test/e2e/lab/image"
	"github.com/netpol-agent/netpol-agent/test/e2e/lab/machine"
	"github.com/netpol-agent/netpol-agent/test/e2e/lab/manifest"
	"github.com/netpol-agent/netpol-agent/test/e2e/lab/supervisor"
)

// writeImages writes the archive with the lab's own images.
func writeImages(ctx context.Context, file string, bin map[string]string) error {
	probe, err := probeImage(ctx, bin["probe"], bin["busybox"])
	if err != nil {
		return err
	}
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	w := bufio.NewWriter(f)
	pause := image.Image{
		Name:       manifest.SandboxImage,
		Entrypoint: []string{"/pause"},
		Files:      []image.File{{Path: "pause", Source: bin["pause"]}},
	}
	if err := image.Write(w, pause, probe); err != nil {
		return err
	}
	if err := w.Flush(); err != nil {
		return err
	}
	return f.Close()
}

// probeImage returns the probe's image. It also holds busybox with all of its commands, for use by hand.
func probeImage(ctx context.Context, probe, busybox string) (image.Image, error) {
	img := image.Image{
		Name:       manifest.ProbeImage,
		Entrypoint: []string{"/probe"},
		Env:        []string{"PATH=/bin:/"},
		Dirs:       []string{"tmp", "etc", "root"},
		Files: []image.File{
			{Path: "probe", Source: probe},
		},
	}
	return withBusybox(ctx, img, busybox)
}

// withBusybox adds busybox with all of its commands to an image.
func withBusybox(ctx context.Context, img image.Image, busybox string) (image.Image, error) {
	img.Files = append(img.Files, image.File{Path: "bin/busybox", Source: busybox})
	list, err := exec.CommandContext(ctx, busybox, "--list").Output()
	if err != nil {
		return img, fmt.Errorf("%s --list: %w", busybox, err)
	}
	for name := range strings.FieldsSeq(string(list)) {
		if name != "busybox" {
			img.Links = append(img.Links, image.Link{Path: "bin/" + name, Target: "busybox"})
		}
	}
	return img, nil
}

// importImages imports the images of an archive into a node's containerd.
func (l launcher) importImages(ctx context.Context, m machine.Machine, ctr, archive string) error {
	p := part{machine: m, process: manifest.Process{Name: "import-images"}}
	st, err := m.Supervisor().Run(ctx, supervisor.Spec{
		Name: p.process.Name,
		Argv: []string{ctr, "--namespace", "k8s.io", "images", "import", archive},
		Env:  l.env,
		Log:  filepath.Join(l.logs, m.Name, p.process.Name+".log"),
	})
	if err == nil && st.ExitCode != 0 {
		err = fmt.Errorf("ctr ended with status %d", st.ExitCode)
	}
	if err != nil {
		return l.failure(p, err)
	}
	return nil
}
