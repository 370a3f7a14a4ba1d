package iptables

import (
	"errors"
	"fmt"
	"strings"

	"github.com/netpol-agent/netpol-agent/internal/render/iptables/kernel"
	"github.com/netpol-agent/netpol-agent/internal/render/iptables/ruleset"
)

// Place is where a variant of the binary keeps its rules.
type Place struct {
	// Name is for people: "iptables-nft".
	Name   string
	Kernel Kernel
}

// Cleanup removes our jumps, chains and sets, and nothing else, from all places. It gives what was there; with dryRun
// it only says so.
func Cleanup(places []Place, dryRun bool) ([]string, error) {
	if len(places) == 0 {
		return nil, nil
	}
	gone, err := Chains(places, dryRun)
	errs := []error{err}
	// The sets belong to no variant, and the chains had to go first.
	was, err := Sets(places[0].Kernel, dryRun)
	if err != nil {
		errs = append(errs, err)
	}
	return append(gone, was...), errors.Join(errs...)
}

// Chains removes our jumps and chains from all places, and leaves the sets. It gives what was there; with dryRun it
// only says so.
func Chains(places []Place, dryRun bool) ([]string, error) {
	var gone []string
	var errs []error
	for _, p := range places {
		was, err := chains(p.Kernel, dryRun)
		for _, w := range was {
			gone = append(gone, p.Name+" "+w)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", p.Name, err))
		}
	}
	return gone, errors.Join(errs...)
}

func chains(k Kernel, dryRun bool) ([]string, error) {
	var gone []string
	var errs []error
	for _, f := range ruleset.Families() {
		chains, err := k.Save(f)
		if errors.Is(err, kernel.ErrNoPrograms) || errors.Is(err, kernel.ErrNoFamily) {
			continue // then nobody has written anything with them
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: read the filter table: %w", f, err))
			continue
		}
		s := ruleset.NewState()
		if err := s.ReadChains(chains); err != nil {
			errs = append(errs, fmt.Errorf("%s: read the filter table: %w", f, err))
			continue
		}
		plan := ruleset.Diff(ruleset.NewTable(f), s, nil)
		if plan.Restore == "" {
			continue
		}
		if !dryRun {
			if err := k.Restore(f, plan.Restore); err != nil {
				errs = append(errs, fmt.Errorf("%s: remove the chains: %w", f, err))
				continue
			}
		}
		gone = append(gone, fmt.Sprintf("%s: %d chains, %d jumps", f, len(s.Chains), len(s.Jumps)))
	}
	return gone, errors.Join(errs...)
}

// Sets removes our sets. It gives what was there; with dryRun it only says so.
func Sets(k Kernel, dryRun bool) ([]string, error) {
	text, err := k.SaveSets()
	if err != nil {
		return nil, fmt.Errorf("read the sets: %w", err)
	}
	n := 0
	var script strings.Builder
	for _, f := range ruleset.Families() {
		s := ruleset.NewState()
		if err := s.ReadSets(f, text); err != nil {
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
