package manifest

import (
	"fmt"
	"slices"
	"strconv"

	"go.yaml.in/yaml/v3"
)

// scalarIsNull reports whether n is null: "null", "~" or nothing at all.
func scalarIsNull(n *yaml.Node) bool {
	return n.Kind == yaml.ScalarNode && n.Tag == "!!null" &&
		slices.Contains([]string{"", "~", "null", "Null", "NULL"}, n.Value)
}

// scalarValue returns the value of a scalar as kubectl reads it, by YAML 1.1, in which a plain "yes" is a boolean. A
// reader that took it for a string would accept labels that the cluster refuses.
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

// oldBool returns the value of a boolean that YAML 1.1 has and YAML 1.2 does not.
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

// keyText returns the key of a mapping as a string. A number counts as written if it would be written back the same
// way. Other keys that are not strings would reach the cluster changed, or not at all.
func keyText(n *yaml.Node) (string, error) {
	if n.Kind != yaml.ScalarNode {
		return "", fmt.Errorf("a key must be a string, not %s", describeNode(n, ""))
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
	return "", fmt.Errorf("a key must be a string (quote it: %q)", n.Value)
}
