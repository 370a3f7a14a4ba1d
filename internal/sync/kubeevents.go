package sync

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Reasons of the Events that the agent emits.
const (
	reasonNotUnderstood = "PartNotUnderstood"
	reasonApplyFailed   = "ApplyFailed"
	reasonBridge        = "BridgedTrafficUnjudged"
	reasonOtherEngine   = "OtherPolicyEngine"
)

const (
	component = "netpol-agent"
	// tellAgain is when an Event that still holds is emitted anew: API servers forget Events after an hour.
	tellAgain = time.Hour
	// nodeEventEvery bounds the Events on the Node while a failure lasts.
	nodeEventEvery = 5 * time.Minute
	createTries    = 5
	createTimeout  = 10 * time.Second
	// spread is how long an Event that every node emits is put off at most, at random.
	spread = 3 * time.Second
	// maxMessage is the API's limit for an Event's message.
	maxMessage = 1024
)

// createEvent stores one Event.
type createEvent func(context.Context, *corev1.Event) error

// events emits Kubernetes Events, in a goroutine of its own, so that an API server that is slow or away
// holds up nothing.
//
// What is not understood of a policy is found by every node alike, whether or not the policy selects one of
// its pods, and should be told once: the Event's name follows from policy, generation and diagnostic, so that
// of all nodes the first creates it and the others are told that it exists. The Node's own Events come from
// that node alone.
type events struct {
	node   string
	uid    types.UID
	create createEvent
	log    *slog.Logger
	queue  chan corev1.Event
	// told is when an Event was last queued, by name. It belongs to the goroutine of run.
	told    map[string]time.Time
	reports *mailbox[[]Report]
	spread  time.Duration
}

func newEvents(node string, create createEvent, log *slog.Logger) *events {
	return &events{
		node: node, create: create, log: log, queue: make(chan corev1.Event, 64),
		told: map[string]time.Time{}, reports: newMailbox[[]Report](), spread: spread,
	}
}

// diagnosed takes all that is not understood at present.
func (e *events) diagnosed(reports []Report) { e.reports.put(reports) }

// onNode emits an Event on the Node, unless the same was emitted a short time ago or too many wait.
func (e *events) onNode(reason, message string) {
	ev := e.event(reason, message)
	ev.Namespace = metav1.NamespaceDefault
	ev.InvolvedObject = corev1.ObjectReference{APIVersion: "v1", Kind: "Node", Name: e.node, UID: e.uid}
	ev.Source.Host = e.node
	slot := time.Now().Truncate(nodeEventEvery).Unix()
	ev.Name = eventName(e.node, reason, fmt.Sprint(slot))
	select {
	case e.queue <- ev:
	default:
		e.log.Debug("too many Events wait, one is dropped", "reason", reason, "message", message)
	}
}

func (e *events) event(reason, message string) corev1.Event {
	now := metav1.Now()
	return corev1.Event{
		Type: corev1.EventTypeWarning, Reason: reason, Message: truncate(message, maxMessage),
		Source:         corev1.EventSource{Component: component},
		FirstTimestamp: now, LastTimestamp: now, Count: 1,
		ReportingController: component, ReportingInstance: e.node, Action: "Enforce", EventTime: metav1.NewMicroTime(now.Time),
	}
}

// onPolicies gives the Events for what is not understood, and which are due.
func (e *events) onPolicies(reports []Report) []corev1.Event {
	var out []corev1.Event
	for _, r := range reports {
		for _, d := range r.Diagnostics {
			ev := e.event(reasonNotUnderstood, strings.TrimPrefix(d.Field+": "+d.Message, ": "))
			ev.Namespace = r.Policy.Namespace
			ev.InvolvedObject = policyReference(r.Policy)
			ev.Name = eventName(r.Policy.Name, string(r.Policy.UID), fmt.Sprint(r.Policy.Generation), d.Field, d.Message)
			out = append(out, ev)
		}
	}
	return out
}

func policyReference(np *networkingv1.NetworkPolicy) corev1.ObjectReference {
	return corev1.ObjectReference{
		APIVersion: networkingv1.SchemeGroupVersion.String(), Kind: "NetworkPolicy",
		Namespace: np.Namespace, Name: np.Name, UID: np.UID, ResourceVersion: np.ResourceVersion,
	}
}

// eventName gives a name that follows from what the Event says.
func eventName(object string, parts ...string) string {
	sum := sha256.New()
	for _, p := range parts {
		fmt.Fprintf(sum, "%d:%s", len(p), p)
	}
	return strings.TrimRight(truncate(object, 200), ".-") + "." + hex.EncodeToString(sum.Sum(nil)[:8])
}

func truncate(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n], "")
}

// run emits Events until ctx ends.
func (e *events) run(ctx context.Context) {
	again := time.NewTicker(tellAgain / 4)
	defer again.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case ev := <-e.queue:
			e.emit(ctx, ev)
		case <-e.reports.wake:
			e.emitPolicies(ctx)
		case <-again.C:
			e.emitPolicies(ctx)
		}
	}
}

func (e *events) emitPolicies(ctx context.Context) {
	due := e.onPolicies(e.reports.take())
	if len(due) > 0 && !sleep(ctx, rand.N(e.spread)) {
		return
	}
	current := map[string]time.Time{}
	for _, ev := range due {
		e.emit(ctx, ev)
		current[ev.Name] = e.told[ev.Name]
	}
	// What no longer holds is told anew when it holds again.
	e.told = current
}

// emit stores one Event unless it was stored within the last hour.
func (e *events) emit(ctx context.Context, ev corev1.Event) {
	if at, ok := e.told[ev.Name]; ok && time.Since(at) < tellAgain {
		return
	}
	backoff := time.Second
	for try := 1; ; try++ {
		tctx, cancel := context.WithTimeout(ctx, createTimeout)
		err := e.create(tctx, &ev)
		cancel()
		switch {
		case err == nil, apierrors.IsAlreadyExists(err):
			e.told[ev.Name] = time.Now()
			return
		case try == createTries, final(err):
			e.log.Warn("cannot emit Event", "reason", ev.Reason, "about", ev.InvolvedObject.Name, "error", err)
			return
		}
		if !sleep(ctx, backoff) {
			return
		}
		backoff *= 2
	}
}

// final says whether trying again is of no use.
func final(err error) bool {
	return apierrors.IsForbidden(err) || apierrors.IsInvalid(err) || apierrors.IsNotFound(err) || apierrors.IsBadRequest(err)
}
