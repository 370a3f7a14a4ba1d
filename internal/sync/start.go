package sync

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// getNode asks the API server for this node.
type getNode func(context.Context) (*corev1.Node, error)

const (
	nodeRetryFirst = time.Second
	nodeRetryMost  = 15 * time.Second
)

// awaitNode waits until the API server has confirmed that the node exists. Without an API server it waits for
// one, as long as it takes, while the rules of a former run stay in force. A node that does not exist is an
// error: the agent would believe that no pod is local, and open them all.
func awaitNode(ctx context.Context, name string, get getNode, c contacts, log *slog.Logger) (*corev1.Node, error) {
	c.health.Starting("waiting for the API server to confirm that node " + name + " exists")
	for backoff := nodeRetryFirst; ; backoff = min(2*backoff, nodeRetryMost) {
		tctx, cancel := context.WithTimeout(ctx, probeTimeout)
		node, err := get(tctx)
		cancel()
		switch {
		case err == nil:
			c.report("get node", nil)
			c.health.Starting("")
			return node, nil
		case apierrors.IsNotFound(err):
			return nil, fmt.Errorf("node %q does not exist in the cluster: pass --node-name, or set NODE_NAME by the "+
				"downward API (spec.nodeName)", name)
		case ctx.Err() != nil:
			return nil, ctx.Err()
		}
		c.report("get node", err)
		log.Debug("cannot ask for the node, trying again", "node", name, "error", err, "in", backoff)
		if !sleep(ctx, backoff) {
			return nil, ctx.Err()
		}
	}
}
