package demo

import (
	"reflect"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// A second run applies the demo's pods again, and the API server refuses a change of a pod's arguments.
func TestPodsAreTheSameInEveryRun(t *testing.T) {
	pod := func() *corev1.Pod {
		p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web", Labels: map[string]string{}}}
		complete(p)
		return p
	}
	first := pod()
	for range 50 {
		if now := pod(); !reflect.DeepEqual(first, now) {
			t.Fatalf("the pod was %+v and is %+v in another run", first.Spec, now.Spec)
		}
	}
}
