#!/usr/bin/env bash
# Runs the unit tests: with the race detector where goroutines start, in the package, in its tests or in a package of
# ours that it imports; elsewhere without, because the detector makes tests several times as slow and needs a build of
# its own.
set -euo pipefail
cd "$(dirname "$0")/.."

# The kernel and the properties have targets of their own. So have the chart, whose tests need helm, and the generator
# of clusters, whose tests count what thousands of clusters contain.
unit='^func (Test(?!Kernel|Property|Main)|Fuzz|Example)'
skip='^(TestKernel|TestProperty)'
# A goroutine starts by a go statement, or by Go of a WaitGroup or an errgroup.
start='^\s*go [a-zA-Z]|\.Go\('

module=$(go list -m)

# with lists the packages in which a line of some file matches the pattern.
with() {
	grep -rlP --include='*.go' "$@" cmd internal test | xargs -n 1 dirname | sort -u | sed "s,^,$module/,"
}

# One line per package: its import path, then those of all packages that it depends on.
sorted=$(with "$unit" --include='*_test.go' --exclude-dir={chart,clustergen} | xargs go list -f '{{.ImportPath}} {{join .Deps " "}}' |
	awk '
		FILENAME == ARGV[1] { starts[$1]; next }
		FILENAME == ARGV[2] { imported[$1]; next }
		{
			kind = ($1 in starts) ? "race" : "plain"
			for (i = 2; i <= NF; i++) if ($i in imported) kind = "race"
			print kind, $1
		}' <(with "$start") <(with "$start" --exclude='*_test.go') -)
mapfile -t plain < <(sed -n 's/^plain //p' <<<"$sorted")
mapfile -t race < <(sed -n 's/^race //p' <<<"$sorted")

status=0
go test -skip "$skip" "${plain[@]}" || status=1
CGO_ENABLED=1 go test -race -skip "$skip" "${race[@]}" || status=1
exit "$status"
