package source

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/cache"
)

func TestHandlerTurnsNotificationsIntoUpdates(t *testing.T) {
	var got []Update
	h := Pod.handler(func(u Update) { got = append(got, u) })
	a := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "a"}}
	changed := a.DeepCopy()
	for what, c := range map[string]struct {
		notify func()
		want   any
	}{
		"add":                      {func() { h.OnAdd(a, true) }, a},
		"update":                   {func() { h.OnUpdate(a, changed) }, changed},
		"delete":                   {func() { h.OnDelete(a) }, nil},
		"deletion that was missed": {func() { h.OnDelete(cache.DeletedFinalStateUnknown{Key: "default/a"}) }, nil},
	} {
		got = nil
		c.notify()
		if len(got) != 1 || got[0].Key != Pod.key("default", "a") || got[0].Object != c.want || got[0].At.IsZero() {
			t.Errorf("%s: updates %+v", what, got)
		}
	}
}
