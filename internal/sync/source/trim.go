package source

import (
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// The caches hold the parts of each object that the compiler reads and that informers and Events need. The rest
// (managedFields, annotations with whole manifests, containers' environments, conditions) is most of an object's size.

// trim is the caches' transform. It returns anything but an object of a watched kind as it is.
func trim(obj any) (any, error) {
	for _, k := range Watched() {
		if small, ok := k.trim(obj); ok {
			return small, nil
		}
	}
	return obj, nil
}

// trimMeta keeps identity and labels.
func trimMeta(m *metav1.ObjectMeta) metav1.ObjectMeta {
	return metav1.ObjectMeta{
		Namespace:       m.Namespace,
		Name:            m.Name,
		UID:             m.UID,
		ResourceVersion: m.ResourceVersion,
		Generation:      m.Generation,
		Labels:          m.Labels,
	}
}

func trimNamespace(ns *corev1.Namespace) *corev1.Namespace {
	return &corev1.Namespace{ObjectMeta: trimMeta(&ns.ObjectMeta)}
}

func trimPolicy(np *networkingv1.NetworkPolicy) *networkingv1.NetworkPolicy {
	return &networkingv1.NetworkPolicy{ObjectMeta: trimMeta(&np.ObjectMeta), Spec: np.Spec}
}

func trimPod(p *corev1.Pod) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: trimMeta(&p.ObjectMeta),
		Spec: corev1.PodSpec{
			NodeName: p.Spec.NodeName, HostNetwork: p.Spec.HostNetwork,
			Containers: trimContainers(p.Spec.Containers), InitContainers: trimContainers(p.Spec.InitContainers),
		},
		Status: corev1.PodStatus{Phase: p.Status.Phase, PodIP: p.Status.PodIP, PodIPs: p.Status.PodIPs},
	}
}

// trimContainers keeps the containers that have ports.
func trimContainers(cs []corev1.Container) []corev1.Container {
	var out []corev1.Container
	for i := range cs {
		if len(cs[i].Ports) > 0 {
			out = append(out, corev1.Container{Ports: cs[i].Ports, RestartPolicy: cs[i].RestartPolicy})
		}
	}
	return out
}
