package conformance

import (
	"context"

	"github.com/netpol-agent/netpol-agent/test/e2e/lab"
	"github.com/netpol-agent/netpol-agent/test/e2e/lab/progress"
)

// suite is a set of tests that others wrote.
type suite interface {
	// name is the one it is asked for by.
	name() string
	// prepare builds what it needs and gives the nodes its images. It returns the release of the suite.
	prepare(ctx context.Context, env environment) (release string, err error)
	// run runs its cases, and tells progress about each. An error says that the suite did not come to its end;
	// failing cases are none.
	run(ctx context.Context, env environment) ([]Case, error)
	// leftOut says which of its cases are not run, and why.
	leftOut() string
}

// environment is what a suite works with.
type environment struct {
	cluster  *lab.Cluster
	dirs     lab.Dirs
	progress *progress.Printer
	// log is the path of the file for all that the suite says, and junit the one for its results.
	log, junit string
}

func suites() []suite { return []suite{&upstream{}} }
