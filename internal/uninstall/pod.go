package uninstall

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// cleanerLabel marks the pods that remove rules. They have none of the DaemonSet's labels, because its controller would
// adopt them.
const cleanerLabel = "netpol-agent/cleanup"

// cleanerPod returns the pod that removes the rules of one node: the agent's pod, with the same image and rights, that runs
// another command once. It is bound to the node directly, because a scheduler would not use a cordoned node.
func cleanerPod(ds *appsv1.DaemonSet, node string) *corev1.Pod {
	spec := ds.Spec.Template.Spec.DeepCopy()
	spec.NodeName = node
	spec.NodeSelector, spec.Affinity = nil, nil
	spec.Tolerations = []corev1.Toleration{{Operator: corev1.TolerationOpExists}}
	spec.RestartPolicy = corev1.RestartPolicyOnFailure
	no := false
	spec.AutomountServiceAccountToken = &no
	spec.InitContainers, spec.Containers = nil, spec.Containers[:1]
	container := &spec.Containers[0]
	container.Command, container.Args, container.Ports = nil, []string{"cleanup"}, nil
	container.StartupProbe, container.LivenessProbe, container.ReadinessProbe, container.Lifecycle = nil, nil, nil, nil
	sum := sha256.Sum256([]byte(ds.Name + "/" + node))
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Name:      "netpol-agent-cleanup-" + hex.EncodeToString(sum[:5]),
			Namespace: ds.Namespace,
			Labels:    map[string]string{cleanerLabel: "true"},
			// If nobody else removes the pod, it is deleted with the DaemonSet.
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "DaemonSet", Name: ds.Name, UID: ds.UID}},
		},
		Spec: *spec,
	}
}

// trouble returns what keeps a pod from completing, as far as its status shows.
func trouble(p *corev1.Pod) string {
	for i := range p.Status.ContainerStatuses {
		st := &p.Status.ContainerStatuses[i]
		for _, end := range []*corev1.ContainerStateTerminated{st.State.Terminated, st.LastTerminationState.Terminated} {
			if end != nil && end.Message != "" {
				return end.Message
			}
		}
		if w := st.State.Waiting; w != nil {
			return cmp.Or(w.Message, w.Reason)
		}
	}
	return cmp.Or(p.Status.Message, "its kubelet has not run the cleanup")
}

func isGone(err error) bool { return apierrors.IsNotFound(err) }
