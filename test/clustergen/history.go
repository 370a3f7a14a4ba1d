package clustergen

import (
	"maps"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/netpol-agent/netpol-agent/test/oracle"
)

// world is the cluster while events happen to it: the last event about each object that exists, by Event.Key.
type world map[string]Event

// apply applies one event.
func (w world) apply(e Event) {
	if e.Delete {
		delete(w, e.Key())
		return
	}
	w[e.Key()] = e
}

// state returns the objects that exist, sorted by kind and name.
func (w world) state(nodeAddrs map[string][]netip.Addr) oracle.State {
	st := oracle.State{NodeAddrs: nodeAddrs}
	for _, key := range slices.Sorted(maps.Keys(w)) {
		switch e := w[key]; {
		case e.Pod != nil:
			st.Pods = append(st.Pods, e.Pod)
		case e.Policy != nil:
			st.Policies = append(st.Policies, e.Policy)
		default:
			st.Namespaces = append(st.Namespaces, e.Namespace)
		}
	}
	return st
}

// history returns random events: several chunks of a few steps each, so that a failing case loses whole chunks at once.
func history(s source) History {
	nodeAddrs, w := nodes(s), world{}
	h := History{Events: w.steps(s)}
	h.Final = w.state(nodeAddrs)
	return h
}

// steps returns random events and applies them.
func (w world) steps(s source) []Event {
	var events []Event
	many(s, 0, 8, func(s source) int {
		return len(many(s, 0, 8, func(s source) int {
			for _, e := range w.step(s) {
				w.apply(e)
				events = append(events, e)
			}
			return len(events)
		}))
	})
	return events
}

// detour returns random events and then those that lead to st, in random order.
func detour(s source, st oracle.State) History {
	w := world{}
	h := History{Events: w.steps(s)}
	target := world{}
	for _, o := range st.Pods {
		target.apply(Event{Pod: o})
	}
	for _, o := range st.Namespaces {
		target.apply(Event{Namespace: o})
	}
	for _, o := range st.Policies {
		target.apply(Event{Policy: o})
	}
	var rest []Event
	for _, key := range slices.Sorted(maps.Keys(target)) {
		rest = append(rest, copied(target[key]))
	}
	for _, key := range slices.Sorted(maps.Keys(w)) {
		if _, stays := target[key]; !stays {
			rest = append(rest, deletion(s, w[key]))
		}
	}
	h.Events = append(h.Events, shuffled(s, rest)...)
	h.Final = target.state(st.NodeAddrs)
	return h
}

// step returns the events of one change in the cluster.
func (w world) step(s source) []Event {
	switch s.intn(16) {
	case 0, 1:
		return []Event{w.fresh(s, "Pod ")}
	case 2, 3:
		return []Event{w.fresh(s, "NetworkPolicy ")}
	case 4, 5:
		return []Event{w.fresh(s, "Namespace ")}
	case 6, 7, 8:
		return []Event{w.changed(s, "Pod ")}
	case 9, 10:
		return []Event{w.changed(s, "NetworkPolicy ")}
	case 11:
		return []Event{w.changed(s, "Namespace ")}
	case 12:
		return w.handover(s)
	case 13: // reported again, as on a resync
		return []Event{copied(w.any(s, pick(s, kinds)))}
	case 14: // gone
		return []Event{deletion(s, w.any(s, pick(s, kinds)))}
	default: // gone and reported twice, or never known
		gone := w.fresh(s, pick(s, kinds))
		gone.Delete = true
		return []Event{gone, copied(gone)}
	}
}

// kinds are the prefixes of Event.Key.
var kinds = []string{"Pod ", "NetworkPolicy ", "Namespace "}

// any returns the last event about some existing object of the kind or, if there is none, the first event of a new one.
func (w world) any(s source, kind string) Event {
	var keys []string
	for _, key := range slices.Sorted(maps.Keys(w)) {
		if len(key) > len(kind) && key[:len(kind)] == kind {
			keys = append(keys, key)
		}
	}
	if len(keys) == 0 {
		return w.fresh(s, kind)
	}
	return w[pick(s, keys)]
}

// fresh returns the event of an object that is new, or that replaces one of the same name.
func (w world) fresh(s source, kind string) Event {
	switch kind {
	case "Pod ":
		return Event{Pod: pod(s, s.intn(slots))}
	case "NetworkPolicy ":
		return Event{Policy: policy(s, s.intn(slots))}
	default:
		return Event{Namespace: namespace(s, pick(s, namespaceNames))}
	}
}

// changed returns the event of a change to an existing object that the API permits.
func (w world) changed(s source, kind string) Event {
	e := copied(w.any(s, kind))
	switch {
	case e.Pod != nil:
		changePod(s, e.Pod)
	case e.Policy != nil:
		other := policy(s, 0)
		switch s.intn(5) {
		case 0:
			e.Policy.Spec.PodSelector = other.Spec.PodSelector
		case 1:
			e.Policy.Spec.PolicyTypes = other.Spec.PolicyTypes
		case 2:
			e.Policy.Spec.Ingress = other.Spec.Ingress
		case 3:
			e.Policy.Spec.Egress = other.Spec.Egress
		default:
			slices.Reverse(e.Policy.Spec.Ingress)
			slices.Reverse(e.Policy.Spec.Egress)
		}
	default:
		e.Namespace.Labels = labels(s)
	}
	return e
}

// changePod changes what can change while a pod lives, or when another pod of its name replaces it unnoticed: that one
// can run on another node and be the same in everything else, including the address.
func changePod(s source, p *corev1.Pod) {
	switch s.intn(6) {
	case 0, 1:
		p.Labels = labels(s)
	case 2:
		setPhase(s, p)
	case 3:
		setTerminating(s, p)
	case 4:
		p.Spec.NodeName = pick(s, nodeNames)
	default:
		if p.Spec.HostNetwork {
			setPhase(s, p)
			return
		}
		setAddrs(s, p, slotOf(p))
	}
}

// slotOf returns the slot whose names the pod has.
func slotOf(p *corev1.Pod) int {
	return slices.Index(namespaceNames, p.Namespace)*len(podNames) + slices.Index(podNames, p.Name)
}

// handover returns the events of a pod that ends and of one that gets its addresses, in either order.
func (w world) handover(s source) []Event {
	old := copied(w.any(s, "Pod "))
	next := w.fresh(s, "Pod ")
	if old.Pod.Spec.HostNetwork || next.Pod.Spec.HostNetwork || next.Key() == old.Key() {
		return []Event{next}
	}
	next.Pod.Status.PodIP = old.Pod.Status.PodIP
	next.Pod.Status.PodIPs = slices.Clone(old.Pod.Status.PodIPs)
	ended := deletion(s, old)
	if oneIn(s, 2) {
		ended = old
		ended.Pod.Status.Phase = pick(s, []corev1.PodPhase{corev1.PodSucceeded, corev1.PodFailed})
	}
	return shuffled(s, []Event{next, ended})
}

// deletion returns the event that the object of e is gone, seldom with another version of the object.
func deletion(s source, e Event) Event {
	e = copied(e)
	e.Delete = true
	if oneIn(s, 4) {
		switch {
		case e.Pod != nil:
			e.Pod = pod(s, slotOf(e.Pod))
		case e.Policy != nil:
			e.Policy.Spec = policy(s, 0).Spec
		default:
			e.Namespace.Labels = labels(s)
		}
	}
	return e
}

// copied returns the event with a copy of its object.
func copied(e Event) Event {
	return Event{Pod: e.Pod.DeepCopy(), Namespace: e.Namespace.DeepCopy(), Policy: e.Policy.DeepCopy(), Delete: e.Delete}
}
