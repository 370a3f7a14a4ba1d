package manifest

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	strictjson "sigs.k8s.io/json"
	"sigs.k8s.io/yaml"
)

// FuzzRead feeds arbitrary text to the reader. The reader must never panic, must place every problem inside the file,
// must load only what loads the same way again, and must agree with kubectl's own conversion on what the text means.
func FuzzRead(f *testing.F) {
	files, err := filepath.Glob(filepath.Join("..", "..", "examples", "policies", "*.yaml"))
	if err != nil || len(files) == 0 {
		f.Fatal("no examples to start from:", err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Add([]byte("apiVersion: v1\nkind: PodList\nitems:\n- metadata: {name: a, labels: &l {x: \"1\"}}\n- metadata: {name: b, labels: {<<: *l}}\n  status: {podIPs: [{ip: 10.0.0.1}]}\n"))
	f.Add([]byte("apiVersion: v1\nkind: PodList\nitems:\n- metadata: {name: a, labels: &l {x: \"1\"}}"))
	f.Add([]byte("%YAML 1.1\n--- # c\n{\"apiVersion\": \"v1\",\r\n\t\"kind\": \"Namespace\", \"metadata\": {\"name\": \"a\"}}\n...\n---\n- ]"))
	f.Add([]byte("apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec: {containers: [{name: c, ports: [{containerPort: 0x50, name: web}]}], terminationGracePeriodSeconds: 1e3}\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		objects, problems := Read("f", data, Options{})
		lines := bytes.Count(data, []byte("\n")) + 1
		for _, p := range problems {
			// YAML also breaks lines at a lone CR and at three characters of Unicode, which editors do not count.
			if p.Line > lines && !bytes.ContainsAny(data, "\r\u0085\u2028\u2029") || p.Line < 0 || p.Column < 0 {
				t.Errorf("problem outside of the %d lines: %v", lines, p)
			}
			if s := p.String(); strings.ContainsAny(s, "\n\r\x1b") {
				t.Errorf("problem not on one line: %q", s)
			}
		}
		readAgain(t, objects)
		if docs := bytes.Count(data, []byte("---")) + bytes.Count(data, []byte("...")); docs == 0 {
			compareWithKubectl(t, data, objects, problems)
		}
	})
}

// all returns every object that was loaded.
func all(o *Objects) []metav1.Object {
	var out []metav1.Object
	for _, x := range o.Pods {
		out = append(out, x)
	}
	for _, x := range o.Namespaces {
		out = append(out, x)
	}
	for _, x := range o.Policies {
		out = append(out, x)
	}
	for _, x := range o.Nodes {
		out = append(out, x)
	}
	return out
}

func toJSON(t *testing.T, v any) []byte {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatalf("what was loaded cannot be written: %v", err)
	}
	return text
}

// readAgain writes the loaded objects as JSON, reads them again and expects the same objects.
func readAgain(t *testing.T, o *Objects) {
	t.Helper()
	list := map[string]any{"apiVersion": coreVersion, "kind": kindList, "items": all(o)}
	text := toJSON(t, list)
	again, problems := Read("again", text, Options{})
	if len(problems) > 0 {
		t.Fatalf("what was loaded is refused when read again: %v\n%s", problems, text)
	}
	list["items"] = all(again)
	if diff := cmp.Diff(string(text), string(toJSON(t, list))); diff != "" {
		t.Errorf("read again differently:\n%s", diff)
	}
}

// compareWithKubectl checks that a document that loaded means the same to the YAML library of kubectl, which has a
// different parser.
func compareWithKubectl(t *testing.T, data []byte, objects *Objects, problems []Problem) {
	t.Helper()
	loaded := all(objects)
	if len(loaded) != 1 || len(problems) > 0 {
		return
	}
	text, err := yaml.YAMLToJSONStrict(data)
	if err != nil {
		t.Fatalf("kubectl refuses what was loaded: %v", err)
	}
	var document metav1.TypeMeta
	if json.Unmarshal(text, &document) == nil && strings.HasSuffix(document.Kind, "List") {
		return // the object is its only item
	}
	theirs, ok := reflect.New(reflect.TypeOf(loaded[0]).Elem()).Interface().(metav1.Object)
	if !ok {
		t.Fatal("not an object")
	}
	strict, err := strictjson.UnmarshalStrict(text, theirs)
	if err != nil || len(strict) > 0 {
		t.Fatalf("kubectl refuses what was loaded: %v %v", err, strict)
	}
	theirs.SetNamespace(loaded[0].GetNamespace()) // the default
	if diff := cmp.Diff(string(toJSON(t, theirs)), string(toJSON(t, loaded[0]))); diff != "" {
		t.Errorf("kubectl reads it differently (-kubectl +here):\n%s", diff)
	}
}
