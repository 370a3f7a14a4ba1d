package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

// choice is a flag that takes one of a few words.
type choice struct {
	value   string
	choices []string
}

// Set implements pflag.Value.
func (c *choice) Set(s string) error {
	if i := slices.IndexFunc(c.choices, func(x string) bool { return strings.EqualFold(x, s) }); i >= 0 {
		c.value = c.choices[i]
		return nil
	}
	return fmt.Errorf("it must be %s", orList(c.choices))
}

// String implements pflag.Value.
func (c *choice) String() string { return c.value }

// Type implements pflag.Value.
func (c *choice) Type() string { return strings.Join(c.choices, "|") }

// orList returns "a, b or c".
func orList(words []string) string {
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	return strings.Join(words[:len(words)-1], ", ") + " or " + words[len(words)-1]
}

// choiceFlag adds a flag that takes one of the choices, by default the first, and lets the shell complete them.
func choiceFlag(cmd *cobra.Command, name, short, usage string, choices ...string) *choice {
	c := &choice{value: choices[0], choices: choices}
	cmd.Flags().VarP(c, name, short, usage)
	complete(cmd, name, choices...)
	return c
}

// complete makes the shell offer the words for a flag.
func complete(cmd *cobra.Command, flag string, words ...string) {
	must(cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp)))
}

// must panics on an error that only a misspelt flag name in this package can cause.
func must(err error) {
	if err != nil {
		panic(err) //nolint:forbidigo // every command line would hit it, the tests' first
	}
}

const (
	outputText = "text"
	outputJSON = "json"
)

// outputFlag adds -o.
func outputFlag(cmd *cobra.Command) *choice {
	return choiceFlag(cmd, "output", "o", "output format", outputText, outputJSON)
}

// printJSON writes v as indented JSON.
func printJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}
