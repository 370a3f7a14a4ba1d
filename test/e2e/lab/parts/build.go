package parts

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/netpol-agent/netpol-agent/test/e2e/lab/progress"
)

// heartbeat is how often a long build reports that it is still running.
const heartbeat = 15 * time.Second

// Builder builds parts into a cache.
type Builder struct {
	// Source is the folder that holds the parts' folders.
	Source string
	// Cache is the folder the executables are kept in.
	Cache string
	// Progress prints what is being built.
	Progress *progress.Printer
}

// Ensure builds the parts that the cache lacks and returns the folder of each part, by its name.
func (b Builder) Ensure(ctx context.Context, all []Part) (map[string]string, error) {
	if err := os.MkdirAll(b.Cache, 0o755); err != nil {
		return nil, fmt.Errorf("cache: %w", err)
	}
	unlock, err := lock(ctx, filepath.Join(b.Cache, "lock"))
	if err != nil {
		return nil, err
	}
	defer unlock()
	goVersion, err := goEnv(ctx, "GOVERSION")
	if err != nil {
		return nil, err
	}
	dirs := map[string]string{}
	for i, part := range all {
		r, err := ReadRecipe(part, filepath.Join(b.Source, part.Name), goVersion, runtime.GOARCH)
		if err != nil {
			return nil, err
		}
		dir, err := b.ensure(ctx, r, fmt.Sprintf("part %d of %d, %s %s", i+1, len(all), part.Name, r.Release))
		if err != nil {
			return nil, err
		}
		dirs[part.Name] = dir
	}
	return dirs, nil
}

func (b Builder) ensure(ctx context.Context, r Recipe, title string) (string, error) {
	stamp, err := r.Stamp()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(b.Cache, r.Part.Name+"-"+stamp)
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	b.Progress.Step("building %s: %s", title, strings.Join(r.Part.names(), ", "))
	start := time.Now()
	// The executables are built in a temporary folder and moved into place as a whole, so that a folder that exists
	// is complete.
	tmp, err := os.MkdirTemp(b.Cache, r.Part.Name+".build-")
	if err != nil {
		return "", err
	}
	defer func() { _ = os.RemoveAll(tmp) }()
	if err := b.build(ctx, r, tmp, title); err != nil {
		return "", fmt.Errorf("build %s: %w", title, err)
	}
	b.removeOthers(r.Part.Name)
	if err := os.Rename(filepath.Join(tmp, "bin"), dir); err != nil {
		return "", err
	}
	b.Progress.Step("built %s in %.0f s", title, time.Since(start).Seconds())
	return dir, nil
}

// removeOthers removes what earlier pins of a part left. A failure only costs disk space.
func (b Builder) removeOthers(name string) {
	const stampLen = 16
	old, _ := filepath.Glob(filepath.Join(b.Cache, name+"-"+strings.Repeat("?", stampLen)))
	for _, dir := range old {
		_ = os.RemoveAll(dir)
	}
}

func (b Builder) build(ctx context.Context, r Recipe, tmp, title string) error {
	source := filepath.Join(b.Source, r.Part.Name)
	bin := filepath.Join(tmp, "bin")
	if err := os.Mkdir(bin, 0o755); err != nil {
		return err
	}
	modfile, err := patch(ctx, r, source, tmp)
	if err != nil {
		return err
	}
	if len(r.Part.Programs) > 0 {
		args := append(r.args(bin+"/", modfile), r.packages()...)
		if err := b.goBuild(ctx, source, args, title); err != nil {
			return err
		}
	}
	for _, p := range r.Part.Programs {
		if err := os.Rename(filepath.Join(bin, builtName(p.Package)), filepath.Join(bin, p.Name)); err != nil {
			return err
		}
	}
	for _, p := range r.Part.Tests {
		if err := b.buildTest(ctx, r, source, p, filepath.Join(bin, p.Name), modfile, title); err != nil {
			return err
		}
	}
	return nil
}

// buildTest builds a package of tests as an executable. `go test -c` does not show its progress, so what the tests
// import is built first, by `go build`, which does.
func (b Builder) buildTest(ctx context.Context, r Recipe, source string, p Program, out, modfile, title string) error {
	list := exec.CommandContext(ctx, "go", append(append([]string{"list"}, r.listFlags(modfile)...),
		"-f", `{{join .TestImports "\n"}}{{"\n"}}{{join .XTestImports "\n"}}`, p.Package)...)
	list.Dir, list.Env = source, buildEnv()
	imports, err := list.Output()
	if err != nil {
		return fmt.Errorf("list what the tests of %s import: %w", p.Package, err)
	}
	build := append([]string{"build", "-v"}, r.flags(modfile)...)
	if err := b.goBuild(ctx, source, append(build, strings.Fields(string(imports))...), title); err != nil {
		return err
	}
	test := append([]string{"test", "-c", "-o", out}, r.flags(modfile)...)
	return b.goBuild(ctx, source, append(test, p.Package), title)
}

// buildEnv returns the environment of a build that needs no C compiler, and no C library at run time.
func buildEnv() []string { return append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off") }

// builtName returns the file name that `go build` gives the executable of a main package: the last element of the
// import path that is not a major version.
func builtName(pkg string) string {
	base := path.Base(pkg)
	if len(base) > 1 && base[0] == 'v' && strings.Trim(base[1:], "0123456789") == "" {
		return path.Base(path.Dir(pkg))
	}
	return base
}

// goBuild runs `go build` at a low priority: the build may take minutes, but other work on the machine may not.
func (b Builder) goBuild(ctx context.Context, dir string, args []string, title string) error {
	cmd := exec.CommandContext(ctx, "nice", append([]string{"-n", "10", "go"}, args...)...)
	cmd.Dir = dir
	cmd.Env = buildEnv()
	// When interrupted, `go build` stops its compilers and removes its temporary files.
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 10 * time.Second
	stderr, err := cmd.StderrPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	var compiled, downloaded atomic.Int64
	done := make(chan struct{})
	defer close(done)
	go b.beat(done, title, &compiled, &downloaded)
	errorLines := count(stderr, &compiled, &downloaded)
	if err := cmd.Wait(); err != nil {
		return errors.Join(err, ctx.Err(), errors.New(errorLines))
	}
	return nil
}

func (b Builder) beat(done <-chan struct{}, title string, compiled, downloaded *atomic.Int64) {
	tick := time.NewTicker(heartbeat)
	defer tick.Stop()
	for {
		select {
		case <-done:
			return
		case <-tick.C:
			b.Progress.Step("  %s: %d modules downloaded, %d packages compiled so far", title, downloaded.Load(), compiled.Load())
		}
	}
}

// count reads the output of `go build -v`, counts what it reports as done, and returns its last other lines.
func count(r io.Reader, compiled, downloaded *atomic.Int64) string {
	const keep = 20
	var rest []string
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		line := lines.Text()
		switch {
		case strings.HasPrefix(line, "go: downloading "):
			downloaded.Add(1)
		case line != "" && !strings.ContainsAny(line, " \t"):
			compiled.Add(1)
		default:
			rest = append(rest, line)
			rest = rest[max(0, len(rest)-keep):]
		}
	}
	return strings.Join(rest, "\n")
}

// BuildOwn builds main packages of the repository itself, without a C library, into dir. Go's own build cache
// makes it quick when nothing changed.
func BuildOwn(ctx context.Context, repo, dir string, packages ...string) error {
	args := append([]string{"build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w", "-o", dir + "/"}, packages...)
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = repo
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build %s: %w: %s", strings.Join(packages, ", "), err, bytes.TrimSpace(out))
	}
	return nil
}

func goEnv(ctx context.Context, name string) (string, error) {
	out, err := exec.CommandContext(ctx, "go", "env", name).Output()
	if err != nil {
		return "", fmt.Errorf("go env %s: %w (is Go installed and in PATH?)", name, err)
	}
	return strings.TrimSpace(string(out)), nil
}

// lock takes an exclusive lock on a file and returns a function that releases it.
func lock(ctx context.Context, file string) (func(), error) {
	f, err := os.OpenFile(file, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("lock: %w", err)
	}
	for {
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return func() { _ = f.Close() }, nil
		}
		select {
		case <-ctx.Done():
			_ = f.Close()
			return nil, fmt.Errorf("wait for %s, which another build holds: %w", file, ctx.Err())
		case <-time.After(200 * time.Millisecond):
		}
	}
}
