package deploy

import (
	"context"

	"golang.org/x/sync/errgroup"

	"github.com/netpol-agent/netpol-agent/test/e2e/lab"
	"github.com/netpol-agent/netpol-agent/test/e2e/lab/progress"
)

// Up builds the image and helm, and meanwhile starts the cluster unless it is up. It installs nothing.
func Up(ctx context.Context, dirs lab.Dirs, opts lab.Options, p *progress.Printer) (*lab.Cluster, *Release, error) {
	return UpWith(ctx, dirs, opts, Plain, p)
}

// UpWith is Up with an image of another flavour.
func UpWith(ctx context.Context, dirs lab.Dirs, opts lab.Options, flavour Flavour, p *progress.Printer) (*lab.Cluster, *Release, error) {
	var c *lab.Cluster
	g, both := errgroup.WithContext(ctx)
	g.Go(func() (err error) {
		c, err = lab.Up(both, dirs, opts, p)
		return err
	})
	g.Go(func() error {
		p.Step("building the agent's image, and helm")
		if err := Build(both, dirs.Repo, flavour); err != nil {
			return err
		}
		p.Step("image and helm are built")
		return nil
	})
	if err := g.Wait(); err != nil {
		return nil, nil, err
	}
	r, err := New(c, dirs.Repo, flavour)
	return c, r, err
}
