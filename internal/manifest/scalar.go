package manifest

import (
	"fmt"
	"slices"
	"strconv"

	"go.yaml.in/yaml/v3"
)

// scalarIsNull says whether n is a null: "null", "~" or nothing at all.
func scalarIsNull(n *yaml.Node) bool {
	return n.Kind == yaml.ScalarNode && n.Tag == "!!null" &&
		slices.Contains([]string{"", "~", "null", "Null", "NULL"}, n.Value)
}

// scalarValue gives what a scalar stands for, as kubectl reads it: that is YAML 1.1, in which a plain "yes"
// is a truth value. A reader that took it for a text would accept labels that the cluster refuses.
func scalarValue(n *yaml.Node) (any, error) {
	switch n.Tag {
	case "!!str", "!!timestamp", "!!merge":
		if b, ok := oldBool(n); ok {
			return b, nil
		}
		return n.Value, nil
	case "!!null", "!!bool", "!!int", "!!float":
		var v any
		if err := n.Decode(&v); err != nil {
			return nil, fmt.Errorf("not a value of type %s: %q", n.Tag, n.Value)
		}
		return v, nil
	default:
		return nil, fmt.Errorf("type %s is not supported", n.Tag)
	}
}

// oldBool recognises the truth values that YAML 1.1 had and 1.2 dropped.
func oldBool(n *yaml.Node) (value, ok bool) {
	if n.Style != 0 {
		return false, false
	}
	switch {
	case slices.Contains([]string{"y", "Y", "yes", "Yes", "YES", "on", "On", "ON"}, n.Value):
		return true, true
	case slices.Contains([]string{"n", "N", "no", "No", "NO", "off", "Off", "OFF"}, n.Value):
		return false, true
	}
	return false, false
}

// keyText gives a mapping's key. Numbers are taken as they are written if that is how they would be written
// back; other keys that are no texts would reach the cluster changed, or not at all.
func keyText(n *yaml.Node) (string, error) {
	if n.Kind != yaml.ScalarNode {
		return "", fmt.Errorf("a key must be a text, not %s", describeNode(n, ""))
	}
	v, err := scalarValue(n)
	if err != nil {
		return "", err
	}
	switch v := v.(type) {
	case string:
		return v, nil
	case int:
		if strconv.Itoa(v) == n.Value {
			return n.Value, nil
		}
	}
	return "", fmt.Errorf("a key must be a text (quote it: %q)", n.Value)
}
