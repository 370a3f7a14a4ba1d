package deploy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	// selector finds the agents' pods.
	selector = "app.kubernetes.io/name=netpol-agent,app.kubernetes.io/instance=" + Name
	// patience is how long agents may take until all of them enforce.
	patience = 2 * time.Minute
	poll     = 100 * time.Millisecond
)

// Agent is a pod of the DaemonSet.
type Agent struct {
	Node, Pod, UID string
	// Started is when its container last started, and Restarts how often it was restarted.
	Started  time.Time
	Restarts int32
	// Trouble is what its container waits for or why it ended, if it is not running.
	Trouble string
}

// Agents returns the agents' pods, ordered by node.
func (r *Release) Agents(ctx context.Context) ([]Agent, error) {
	list, err := r.client.CoreV1().Pods(Namespace).List(ctx, metav1.ListOptions{LabelSelector: selector})
	if err != nil {
		return nil, fmt.Errorf("list the agents' pods: %w", err)
	}
	var all []Agent
	for i := range list.Items {
		p := &list.Items[i]
		a := Agent{Node: p.Spec.NodeName, Pod: p.Name, UID: string(p.UID), Trouble: p.Status.Message}
		for j := range p.Status.ContainerStatuses {
			a.read(&p.Status.ContainerStatuses[j])
		}
		all = append(all, a)
	}
	slices.SortFunc(all, func(a, b Agent) int { return strings.Compare(a.Node+"/"+a.Pod, b.Node+"/"+b.Pod) })
	return all, nil
}

func (a *Agent) read(st *corev1.ContainerStatus) {
	a.Restarts = st.RestartCount
	if run := st.State.Running; run != nil {
		a.Started = run.StartedAt.Time
		return
	}
	for _, end := range []*corev1.ContainerStateTerminated{st.State.Terminated, st.LastTerminationState.Terminated} {
		if end != nil {
			a.Trouble = fmt.Sprintf("ended with status %d: %s", end.ExitCode, strings.TrimSpace(end.Message))
			return
		}
	}
	if wait := st.State.Waiting; wait != nil {
		a.Trouble = strings.TrimSpace(wait.Reason + " " + wait.Message)
	}
}

// Log returns the log of an agent's pod since its container's last start or, with previous, that of the container
// before.
func (r *Release) Log(ctx context.Context, pod string, previous bool) ([]byte, error) {
	log, err := r.client.CoreV1().Pods(Namespace).GetLogs(pod, &corev1.PodLogOptions{Previous: previous}).DoRaw(ctx)
	if err != nil {
		return nil, fmt.Errorf("log of %s: %w", pod, err)
	}
	return log, nil
}

// Status is the part of an agent's status that harnesses read.
type Status struct {
	Ready    bool     `json:"ready"`
	NotReady []string `json:"notReady"`
	// Backend is "nftables", "iptables-legacy" or "iptables-nft".
	Backend string `json:"backend"`
	// Pending is the number of changes that are not in the kernel yet.
	Pending  int `json:"pending"`
	Policies []struct {
		// Name is NAMESPACE/NAME.
		Name string `json:"name"`
	} `json:"policies"`
}

// Status asks the agent on a node.
func (r *Release) Status(ctx context.Context, node string) (Status, error) {
	var s Status
	out, err := r.cluster.NodeExec(ctx, node, r.Binary(), "status", "--output", "json")
	if err == nil {
		err = json.Unmarshal(out, &s)
	}
	if err != nil {
		return s, fmt.Errorf("status of the agent on %s: %w", node, err)
	}
	return s, nil
}

// WaitEnforcing waits until every node has an agent of the DaemonSet's current revision, and no other, which is
// ready according to both Kubernetes and its own status. Otherwise the error describes each agent's state.
func (r *Release) WaitEnforcing(ctx context.Context) error {
	wait, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		err := r.enforcing(wait)
		if err == nil {
			return nil
		}
		select {
		case <-wait.Done():
			return errors.Join(err, r.troubles(context.WithoutCancel(ctx)))
		case <-time.After(poll):
		}
	}
}

func (r *Release) enforcing(ctx context.Context) error {
	ds, err := r.client.AppsV1().DaemonSets(Namespace).Get(ctx, Name, metav1.GetOptions{})
	if err != nil {
		return fmt.Errorf("DaemonSet %s/%s: %w", Namespace, Name, err)
	}
	st, want := ds.Status, int32(len(r.cluster.Nodes))
	if st.ObservedGeneration < ds.Generation {
		return fmt.Errorf("DaemonSet %s/%s: its controller has not reacted yet", Namespace, Name)
	}
	if st.CurrentNumberScheduled != want || st.UpdatedNumberScheduled != want || st.NumberReady != want {
		return fmt.Errorf("DaemonSet %s/%s: want %d agents, got %d, %d updated, %d ready",
			Namespace, Name, want, st.CurrentNumberScheduled, st.UpdatedNumberScheduled, st.NumberReady)
	}
	for _, n := range r.cluster.Nodes {
		s, err := r.Status(ctx, n.Name)
		if err != nil {
			return err
		}
		if !s.Ready {
			return fmt.Errorf("agent on %s is not ready: %s", n.Name, strings.Join(s.NotReady, "; "))
		}
	}
	return nil
}

// troubles returns an error that describes the agents that do not run, or nil.
func (r *Release) troubles(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	agents, err := r.Agents(ctx)
	for _, a := range agents {
		if a.Trouble != "" {
			err = errors.Join(err, fmt.Errorf("%s on %s: %s", a.Pod, a.Node, a.Trouble))
		}
	}
	return err
}

// Tables returns the nftables tables on a node whose names begin with the agent's, such as "inet netpol-agent".
func (r *Release) Tables(ctx context.Context, node string) ([]string, error) {
	out, err := r.cluster.NodeExec(ctx, node, "nft", "list", "tables")
	if err != nil {
		return nil, err
	}
	var own []string
	for line := range strings.Lines(string(out)) {
		table := strings.TrimPrefix(strings.TrimSpace(line), "table ")
		if _, name, _ := strings.Cut(table, " "); strings.HasPrefix(name, "netpol-agent") {
			own = append(own, table)
		}
	}
	return own, nil
}
