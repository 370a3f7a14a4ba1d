package uninstall

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"github.com/netpol-agent/netpol-agent/internal/wait"
)

// Selector is the node label that the DaemonSet is made to require. No node has it, so the DaemonSet's pods end, while the
// DaemonSet still shows where and how they ran. A repeated attempt starts from that.
const Selector = "netpol-agent/uninstalling"

// Config is what to uninstall.
type Config struct {
	Client kubernetes.Interface
	// Namespace and DaemonSet are the namespace and name of the agents' DaemonSet.
	Namespace, DaemonSet string
	// Poll is the time between two looks at the cluster; 0 means 500 ms.
	Poll time.Duration
	Log  *slog.Logger
}

// Run stops the agents and removes their rules from every node that the DaemonSet's node selector matches. It ignores the
// affinity, because a node without rules has nothing to remove. The DaemonSet stays, without pods.
//
// If ctx ends first, the error names every node that is not known to be clean, with the reason, and nothing that Run
// started goes on. Run may be called again at any time.
func Run(ctx context.Context, cfg Config) error {
	if cfg.Poll <= 0 {
		cfg.Poll = 500 * time.Millisecond
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	ds, err := cfg.endAgents(ctx)
	if err != nil {
		return err
	}
	nodes, err := cfg.nodes(ctx, ds)
	if err != nil {
		return err
	}
	// The pods of an earlier attempt prove nothing: agents may have run since.
	if err := cfg.deletePods(ctx); err != nil {
		return err
	}
	cfg.Log.Info("stopping the agents and removing their rules", "nodes", len(nodes))
	if err := cfg.clean(ctx, ds, nodes); err != nil {
		return errors.Join(err, cfg.giveUp(ctx))
	}
	cfg.Log.Info("all nodes are clean", "nodes", len(nodes))
	return cfg.deletePods(ctx)
}

// giveUp deletes the pods that have not run. Once its node is back, such a pod would remove the rules of an agent that
// somebody has installed again meanwhile.
func (c Config) giveUp(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	if err := c.deletePods(ctx); err != nil {
		return fmt.Errorf("before agents run again, delete the pods with the label %s=true: %w", cleanerLabel, err)
	}
	return nil
}

// endAgents makes the DaemonSet match no node, and waits until its controller has noticed.
func (c Config) endAgents(ctx context.Context) (*appsv1.DaemonSet, error) {
	patch, err := json.Marshal(map[string]any{"spec": map[string]any{"template": map[string]any{"spec": map[string]any{
		"nodeSelector": map[string]string{Selector: "true"},
	}}}})
	if err != nil {
		return nil, err
	}
	sets := c.Client.AppsV1().DaemonSets(c.Namespace)
	ds, err := sets.Patch(ctx, c.DaemonSet, types.MergePatchType, patch, metav1.PatchOptions{FieldManager: "netpol-agent"})
	for err == nil && ds.Status.ObservedGeneration < ds.Generation {
		if !wait.Sleep(ctx, c.Poll) {
			return nil, fmt.Errorf("DaemonSet %s/%s: its controller does not respond: %w", c.Namespace, c.DaemonSet, ctx.Err())
		}
		ds, err = sets.Get(ctx, c.DaemonSet, metav1.GetOptions{})
	}
	if err != nil {
		return nil, fmt.Errorf("DaemonSet %s/%s: %w", c.Namespace, c.DaemonSet, err)
	}
	return ds, nil
}

// nodes returns the names of the nodes for which the DaemonSet was meant.
func (c Config) nodes(ctx context.Context, ds *appsv1.DaemonSet) ([]string, error) {
	want := labels.Set{}
	for k, v := range ds.Spec.Template.Spec.NodeSelector {
		if k != Selector {
			want[k] = v
		}
	}
	list, err := c.Client.CoreV1().Nodes().List(ctx, metav1.ListOptions{LabelSelector: want.String()})
	if err != nil {
		return nil, fmt.Errorf("list nodes: %w", err)
	}
	var names []string
	for i := range list.Items {
		names = append(names, list.Items[i].Name)
	}
	slices.Sort(names)
	return names, nil
}

// clean works until every node is clean or ctx ends.
func (c Config) clean(ctx context.Context, ds *appsv1.DaemonSet, nodes []string) error {
	left := map[string]string{}
	for _, node := range nodes {
		left[node] = "not begun"
	}
	for {
		now, err := c.step(ctx, ds, nodes)
		switch {
		case err == nil && len(now) == 0:
			return nil
		case err == nil:
			left = now
		case ctx.Err() == nil:
			c.Log.Warn("trying again", "error", err)
		}
		if !wait.Sleep(ctx, c.Poll) {
			return unclean(left, nodes)
		}
	}
}

// unclean returns an error that names the nodes that are left, with the reasons.
func unclean(left map[string]string, nodes []string) error {
	var text []string
	for _, node := range nodes {
		if why, ok := left[node]; ok {
			text = append(text, node+" ("+why+")")
		}
	}
	return fmt.Errorf("%d of %d nodes may still have rules: %s", len(left), len(nodes), strings.Join(text, ", "))
}

// step does what can be done now. It returns the nodes that are not clean, with the reasons.
func (c Config) step(ctx context.Context, ds *appsv1.DaemonSet, nodes []string) (map[string]string, error) {
	list, err := c.Client.CoreV1().Pods(c.Namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("list pods: %w", err)
	}
	agents, cleaners := map[string]bool{}, map[string]*corev1.Pod{}
	for i := range list.Items {
		p := &list.Items[i]
		switch {
		case metav1.IsControlledBy(p, ds):
			agents[p.Spec.NodeName] = true
		case p.Labels[cleanerLabel] == "true" && p.DeletionTimestamp == nil:
			cleaners[p.Spec.NodeName] = p
		}
	}
	left := map[string]string{}
	for _, node := range nodes {
		cleaner := cleaners[node]
		switch {
		case agents[node]:
			left[node] = "its agent still runs"
		case cleaner == nil:
			left[node] = "not begun"
			if _, err := c.Client.CoreV1().Pods(c.Namespace).Create(ctx, cleanerPod(ds, node), metav1.CreateOptions{}); err != nil {
				left[node] = err.Error()
			}
		case cleaner.Status.Phase != corev1.PodSucceeded:
			left[node] = trouble(cleaner)
		}
	}
	return left, nil
}

func (c Config) deletePods(ctx context.Context) error {
	opts := metav1.ListOptions{LabelSelector: cleanerLabel + "=true"}
	pods := c.Client.CoreV1().Pods(c.Namespace)
	for {
		list, err := pods.List(ctx, opts)
		if err != nil {
			return fmt.Errorf("list cleanup pods: %w", err)
		}
		if len(list.Items) == 0 {
			return nil
		}
		for i := range list.Items {
			now := int64(0)
			err := pods.Delete(ctx, list.Items[i].Name, metav1.DeleteOptions{GracePeriodSeconds: &now})
			if err != nil && !isGone(err) {
				return fmt.Errorf("delete cleanup pod %s: %w", list.Items[i].Name, err)
			}
		}
		if !wait.Sleep(ctx, c.Poll) {
			return fmt.Errorf("cleanup pods are not deleted: %w", ctx.Err())
		}
	}
}
