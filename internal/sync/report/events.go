package report

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

	"github.com/netpol-agent/netpol-agent/internal/compiler"
	"github.com/netpol-agent/netpol-agent/internal/wait"
)

// Reasons of the Events that the agent emits.
const (
	ReasonNotUnderstood = "PartNotUnderstood"
	ReasonApplyFailed   = "ApplyFailed"
	ReasonBridge        = "BridgedTrafficUnjudged"
	ReasonOtherEngine   = "OtherPolicyEngine"
)

const (
	component = "netpol-agent"
	// tellAgain is when an Event that still holds is emitted again: API servers forget Events after an hour.
	tellAgain = time.Hour
	// nodeEventEvery bounds the Events on the Node while a failure lasts.
	nodeEventEvery = 5 * time.Minute
	createTries    = 5
	createTimeout  = 10 * time.Second
	// spread bounds the random delay of an Event that every node emits.
	spread = 3 * time.Second
	// maxMessage is the API's limit for an Event's message.
	maxMessage = 1024
)

// PolicyProblems is what is not understood of one policy.
type PolicyProblems struct {
	// Policy is the object as the cluster has it. Its spec may be the last one that compiled.
	Policy      *networkingv1.NetworkPolicy
	Diagnostics []compiler.Diagnostic
}

// CreateEvent stores one Event in the cluster.
type CreateEvent func(context.Context, *corev1.Event) error

// Events emits Kubernetes Events, in a goroutine of its own, so that a slow or unreachable API server delays nothing
// else.
//
// Every node finds the same problems of a policy, whether or not the policy selects one of its pods, and they should be
// told once. So the Event's name follows from policy, generation and diagnostic: the first node creates it, and the
// others are told that it exists. Only the node itself emits Events on its Node.
type Events struct {
	node   string
	create CreateEvent
	log    *slog.Logger
	queue  chan corev1.Event
	// told is when an Event was last stored, by name. It belongs to the goroutine of Run.
	told     map[string]time.Time
	problems *wait.Mailbox[[]PolicyProblems]
	spread   time.Duration
}

// NewEvents returns an emitter for a node. Call Run to start it.
func NewEvents(node string, create CreateEvent, log *slog.Logger) *Events {
	return &Events{
		node: node, create: create, log: log, queue: make(chan corev1.Event, 64),
		told: map[string]time.Time{}, problems: wait.NewMailbox[[]PolicyProblems](), spread: spread,
	}
}

// Diagnosed replaces what is known of the policies that are not fully understood.
func (e *Events) Diagnosed(problems []PolicyProblems) { e.problems.Put(problems) }

// OnNode emits an Event on the Node, unless the same was emitted a short time ago or too many are waiting.
func (e *Events) OnNode(reason, message string) {
	ev := e.event(reason, message)
	ev.Namespace = metav1.NamespaceDefault
	ev.InvolvedObject = corev1.ObjectReference{APIVersion: "v1", Kind: "Node", Name: e.node}
	ev.Source.Host = e.node
	slot := time.Now().Truncate(nodeEventEvery).Unix()
	ev.Name = eventName(e.node, reason, fmt.Sprint(slot))
	select {
	case e.queue <- ev:
	default:
		e.log.Debug("too many Events are waiting, dropping one", "reason", reason, "message", message)
	}
}

func (e *Events) event(reason, message string) corev1.Event {
	now := metav1.Now()
	return corev1.Event{
		Type: corev1.EventTypeWarning, Reason: reason, Message: truncate(message, maxMessage),
		Source:         corev1.EventSource{Component: component},
		FirstTimestamp: now, LastTimestamp: now, Count: 1,
		ReportingController: component, ReportingInstance: e.node, Action: "Enforce", EventTime: metav1.NewMicroTime(now.Time),
	}
}

// onPolicies returns an Event for each diagnostic.
func (e *Events) onPolicies(problems []PolicyProblems) []corev1.Event {
	var out []corev1.Event
	for _, p := range problems {
		np := p.Policy
		for _, d := range p.Diagnostics {
			ev := e.event(ReasonNotUnderstood, textOf(d))
			ev.Namespace = np.Namespace
			ev.InvolvedObject = corev1.ObjectReference{
				APIVersion: networkingv1.SchemeGroupVersion.String(), Kind: "NetworkPolicy",
				Namespace: np.Namespace, Name: np.Name, UID: np.UID, ResourceVersion: np.ResourceVersion,
			}
			ev.Name = eventName(np.Name, string(np.UID), fmt.Sprint(np.Generation), d.Field, d.Message)
			out = append(out, ev)
		}
	}
	return out
}

// eventName returns a name that follows from what the Event says.
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

// Run emits Events until ctx ends. The Node's UID may be known later than the first Events on it.
func (e *Events) Run(ctx context.Context, node types.UID) {
	again := time.NewTicker(tellAgain / 4)
	defer again.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case ev := <-e.queue:
			ev.InvolvedObject.UID = node
			e.emit(ctx, ev)
		case <-e.problems.Wake():
			e.emitPolicies(ctx)
		case <-again.C:
			e.emitPolicies(ctx)
		}
	}
}

func (e *Events) emitPolicies(ctx context.Context) {
	due := e.onPolicies(e.problems.Get())
	if len(due) > 0 && !wait.Sleep(ctx, rand.N(e.spread)) {
		return
	}
	current := map[string]time.Time{}
	for _, ev := range due {
		e.emit(ctx, ev)
		current[ev.Name] = e.told[ev.Name]
	}
	// What no longer holds is told again once it holds again.
	e.told = current
}

// emit stores one Event unless it was stored within the last hour.
func (e *Events) emit(ctx context.Context, ev corev1.Event) {
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
		if !wait.Sleep(ctx, backoff) {
			return
		}
		backoff *= 2
	}
}

// final reports whether trying again is useless.
func final(err error) bool {
	return apierrors.IsForbidden(err) || apierrors.IsInvalid(err) || apierrors.IsNotFound(err) || apierrors.IsBadRequest(err)
}
