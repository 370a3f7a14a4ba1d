package iptables

import (
	"errors"
	"fmt"
	"strings"

	"github.com/netpol-agent/netpol-agent/internal/compiler/program"
	"github.com/netpol-agent/netpol-agent/internal/render/iptables/kernel"
	"github.com/netpol-agent/netpol-agent/internal/render/iptables/ruleset"
)

// Cleanup removes our jumps, chains and sets from some variants, and nothing else. It returns what it removed. With dryRun
// it removes nothing and returns what is there.
func Cleanup(kernels []Kernel, dryRun bool) ([]string, error) {
	if len(kernels) == 0 {
		return nil, nil
	}
	gone, err := Chains(kernels, dryRun)
	// The sets belong to no variant. They come last because chains refer to them.
	sets, setsErr := removeSets(kernels[0], dryRun)
	return append(gone, sets...), errors.Join(err, setsErr)
}

// Chains does what Cleanup does, but leaves the sets.
func Chains(kernels []Kernel, dryRun bool) ([]string, error) {
	var gone []string
	var errs []error
	for _, k := range kernels {
		for _, f := range program.Families() {
			removed, err := removeChains(k, f, dryRun)
			if err != nil {
				errs = append(errs, fmt.Errorf("%s: %s: %w", k.Variant().Name(), f, err))
			}
			if removed != "" {
				gone = append(gone, fmt.Sprintf("%s %s: %s", k.Variant().Name(), f, removed))
			}
		}
	}
	return gone, errors.Join(errs...)
}

func removeChains(k Kernel, f ruleset.Family, dryRun bool) (string, error) {
	save, err := k.Save(f)
	if errors.Is(err, kernel.ErrNoPrograms) || errors.Is(err, kernel.ErrNoFamily) {
		return "", nil // then nobody has written anything with them
	}
	s := ruleset.NewState()
	if err == nil {
		err = s.ReadChains(save)
	}
	if err != nil {
		return "", fmt.Errorf("read the filter table: %w", err)
	}
	script := ruleset.Diff(ruleset.NewTable(f), s, nil).Restore
	if script == "" {
		return "", nil
	}
	if !dryRun {
		if err := k.Restore(f, script); err != nil {
			return "", fmt.Errorf("remove the chains: %w", err)
		}
	}
	return fmt.Sprintf("%d chains, %d jumps", len(s.Chains), len(s.Jumps)), nil
}

func removeSets(k Kernel, dryRun bool) ([]string, error) {
	save, err := k.SaveSets()
	if err != nil {
		return nil, fmt.Errorf("read the sets: %w", err)
	}
	n := 0
	var script strings.Builder
	for _, f := range program.Families() {
		s := ruleset.NewState()
		if err := s.ReadSets(f, save); err != nil {
			return nil, fmt.Errorf("read the sets: %w", err)
		}
		n += len(s.Sets)
		script.WriteString(ruleset.Diff(ruleset.NewTable(f), s, nil).Destroy)
	}
	if n > 0 && !dryRun {
		n, err = destroy(k, script.String())
	}
	if n == 0 {
		return nil, err
	}
	return []string{fmt.Sprintf("ipset: %d sets", n)}, err
}
