package kernel

import (
	_ "embed"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	chosen "github.com/netpol-agent/netpol-agent/internal/render/backend"
	"github.com/netpol-agent/netpol-agent/test/kernel/lab"
)

// layouts holds the rules that earlier layouts wrote for the base objects and layoutPolicies. Whoever changes a layout
// adds the rules of the last released one, taken from netpol-agent render, or from Render and Text.
const layouts = "testdata/layouts"

//go:embed testdata/layouts/policies.yaml
var layoutPolicies string

// TestKernelLayoutUpgrade starts the agent on the rules of earlier layouts, while packets flow that both layouts permit
// or both forbid: the new rules enforce before the old ones are removed, and nothing is left of the old ones.
func TestKernelLayoutUpgrade(t *testing.T) {
	name := os.Getenv(backendVariable)
	switch name {
	case "", backendNFT:
		for _, path := range recorded(t, "nftables-*.nft") {
			t.Run(filepath.Base(path)+" in place", func(t *testing.T) { upgrade(t, path, backendNFT, startWith(0)) })
			t.Run(filepath.Base(path)+" by a second table", func(t *testing.T) { upgrade(t, path, backendNFT, startWith(smallTransaction)) })
		}
	default:
		t.Setenv("XTABLES_LOCKFILE", t.TempDir()+"/lock")
		other := map[string]string{backendLegacy: backendIPTNFT, backendIPTNFT: backendLegacy}[name]
		variant := strings.TrimPrefix(name, "iptables-")
		for _, path := range recorded(t, "iptables-*.rules") {
			t.Run(filepath.Base(path), func(t *testing.T) { upgrade(t, path, name, startWith(0)) })
			t.Run(filepath.Base(path)+" in the other variant", func(t *testing.T) {
				upgrade(t, path, other, func(t *testing.T, c *changer) {
					t.Helper()
					if err := c.lab.Node.Do(func() error {
						return c.become(t, chosen.Config{Backend: chosen.IPTables, Variant: variant}, name)
					}); err != nil {
						t.Fatal(err)
					}
				})
			})
		}
	}
}

// recorded returns the files of one kind of rules.
func recorded(t *testing.T, pattern string) []string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(layouts, pattern))
	if err != nil || len(paths) < 2 {
		t.Fatalf("%s: %d files, %v", pattern, len(paths), err)
	}
	return paths
}

// startWith starts the agent's renderer as a new process does.
func startWith(maxCost int) func(*testing.T, *changer) {
	return func(t *testing.T, c *changer) {
		t.Helper()
		stats, err := c.backend.renderer(maxCost).Sync(c.comp.Program())
		if err != nil || stats.Left != nil {
			t.Fatalf("%+v, %v", stats, err)
		}
		if stats.Ops == 0 {
			t.Error("nothing changed: this is not an earlier layout")
		}
		if _, tables := c.backend.(nftBackend); tables && maxCost > 0 && !stats.Full {
			t.Error("there was no second table")
		}
	}
}

// upgrade starts an agent on the rules in a file, under traffic.
func upgrade(t *testing.T, path, writtenBy string, start func(*testing.T, *changer)) {
	t.Helper()
	l := lab.New(t)
	c := &changer{world: &world{lab: l, agent: newAgent(t, l), witness: l.Witness()}}
	c.tell(baseYAML)
	c.tell(layoutPolicies)
	load(t, l.Node, path, writtenBy)
	c.companions = read(t, layoutPolicies).Policies[2:3]
	c.attach()
	l.Node.FlushConntrack(t)
	tr := newTraffic(t, c.world)
	c.witness.Close(t)
	tr.flow(t) // the old rules alone
	start(t, c)
	tr.flow(t) // the new ones alone
	r := tr.end()
	t.Log(r.text)
	if r.lost+r.leaked+r.broken > 0 {
		t.Errorf("%d permitted packets lost, %d forbidden ones delivered, %d exchanges broken", r.lost, r.leaked, r.broken)
	}
	onlyNew(t, c)
}

// flow waits until each stream has sent enough to show a gap.
func (tr *traffic) flow(t *testing.T) {
	t.Helper()
	const enough = 400
	for _, s := range tr.streams {
		until := s.sent.Load() + enough
		waitFor(t, "the stream from "+s.name, func() bool { return s.sent.Load() > until })
	}
}

// onlyNew compares the result of an upgrade with that of a start on nothing.
func onlyNew(t *testing.T, c *changer) {
	t.Helper()
	if stats, err := c.backend.renderer(0).Sync(c.comp.Program()); err != nil || stats.Ops != 0 {
		t.Errorf("a restart changed %+v, %v", stats, err)
	}
	upgraded := ours(t, c.lab.Node)
	if err := c.backend.remove(); err != nil {
		t.Fatal(err)
	}
	if left := ours(t, c.lab.Node); left != "" {
		t.Errorf("left over:\n%s", left)
	}
	if _, err := c.backend.renderer(0).Sync(c.comp.Program()); err != nil {
		t.Fatal(err)
	}
	fresh := ours(t, c.lab.Node)
	if fresh == "" {
		t.Error("a start on nothing installed nothing")
	}
	if lacks, has := missing(fresh, upgraded), missing(upgraded, fresh); lacks+has != "" {
		t.Errorf("compared with a start on nothing, the upgrade\nlacks\n%s\nhas\n%s", lacks, has)
	}
}

// missing returns the lines that another text lacks or has less often.
func missing(of, in string) string {
	there := map[string]int{}
	for line := range strings.Lines(in + "\n") {
		there[line]++
	}
	var out strings.Builder
	for line := range strings.Lines(of + "\n") {
		if there[line]--; there[line] < 0 {
			out.WriteString(line)
		}
	}
	return out.String()
}

// load writes the rules in a file into the kernel.
func load(t *testing.T, node *lab.Namespace, path, writtenBy string) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if writtenBy == backendNFT {
		node.NFT(t, string(data))
		return
	}
	parts := regexp.MustCompile(`(?m)^# (ipv[46]): (ipset|iptables)-?\s?restore.*\n`).FindAllStringSubmatchIndex(string(data), -1)
	if len(parts) != 4 {
		t.Fatalf("%s: %d parts", path, len(parts))
	}
	for i, p := range parts {
		end := len(data)
		if i+1 < len(parts) {
			end = parts[i+1][0]
		}
		command := []string{"ipset", "restore"}
		if text := string(data); text[p[4]:p[5]] == "iptables" {
			command = []string{map[string]string{"ipv4": "iptables", "ipv6": "ip6tables"}[text[p[2]:p[3]]] + strings.TrimPrefix(writtenBy, "iptables") + "-restore", "--noflush"}
		}
		if out, err := node.Command(strings.TrimSpace(string(data[p[1]:end]))+"\n", command[0], command[1:]...); err != nil {
			t.Fatalf("%s: %v: %v\n%s", path, command, err, out)
		}
	}
}

// ours lists everything that belongs to the agent in any backend, line by line in an order of its own.
func ours(t *testing.T, node *lab.Namespace) string {
	t.Helper()
	show := func(args ...string) []string {
		out, err := node.Command("", args[0], args[1:]...)
		if err != nil {
			t.Fatalf("%v: %v\n%s", args, err, out)
		}
		return strings.Split(strings.TrimSpace(out), "\n")
	}
	var lines []string
	for _, table := range show("nft", "list", "tables", "inet") {
		if name := strings.TrimPrefix(table, "table inet "); strings.HasPrefix(name, "netpol-agent") {
			// It does not matter which of the two names the table has, nor in which order and lines sets are listed. The comment
			// of a table or chain stays as it was created.
			list := strings.Join(show("nft", "--stateless", "list", "table", "inet", name)[1:], "\n")
			for _, part := range regexp.MustCompile(`\n\s*comment ".*"|elements = {|[,}\n]`).Split("\n"+list, -1) {
				if part = strings.TrimSpace(part); part != "" {
					lines = append(lines, part)
				}
			}
		}
	}
	for _, family := range []string{"iptables", "ip6tables"} {
		for _, b := range []string{backendLegacy, backendIPTNFT} {
			variant := strings.TrimPrefix(b, "iptables")
			for _, line := range show(family+variant, "-w", "10", "-S") {
				if strings.Contains(line, "NETPOL-") {
					lines = append(lines, family+variant+" "+line)
				}
			}
		}
	}
	for _, line := range show("ipset", "save") {
		if !strings.Contains(line, "NETPOL-") {
			continue
		}
		if f := strings.Fields(line); f[0] == "create" {
			line = fmt.Sprint(f[:min(5, len(f))]) // the kernel chooses sizes and seeds
		}
		lines = append(lines, line)
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}
