package sync

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/netpol-agent/netpol-agent/internal/wait"
)

const (
	nodeRetryFirst = time.Second
	nodeRetryMost  = 15 * time.Second
)

// awaitNode waits until the API server confirms that the node exists. It waits for the API server as long as it takes,
// while the rules of a former run stay in force. A node that does not exist is an error: the agent would find no local
// pod, and open them all.
func (a *agent) awaitNode(ctx context.Context) (*corev1.Node, error) {
	a.health.Starting("waiting for the API server to confirm that node " + a.cfg.Node + " exists")
	for backoff := nodeRetryFirst; ; backoff = min(2*backoff, nodeRetryMost) {
		tctx, cancel := context.WithTimeout(ctx, probeTimeout)
		node, err := a.getNode(tctx, "")
		cancel()
		switch {
		case err == nil:
			a.contact("get node", nil)
			a.health.Starting("")
			return node, nil
		case apierrors.IsNotFound(err):
			return nil, fmt.Errorf("node %q does not exist in the cluster: pass --node-name, or set NODE_NAME by the "+
				"downward API (spec.nodeName)", a.cfg.Node)
		case ctx.Err() != nil:
			return nil, ctx.Err()
		}
		a.contact("get node", err)
		a.log.Debug("cannot get the node, trying again", "node", a.cfg.Node, "error", err, "in", backoff)
		if !wait.Sleep(ctx, backoff) {
			return nil, ctx.Err()
		}
	}
}
