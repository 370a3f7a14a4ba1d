#!/usr/bin/env bash
# Compares the benchmarks of this checkout with those of another commit: builds both, runs them in turn ROUNDS times and
# prints both medians of each figure and their ratio. Fails if a figure is worse by more than noise and tolerance. Needs
# root and a machine that does nothing else. Arguments go to the benchmark, such as -only=events.
set -euo pipefail
cd "$(dirname "$0")/.."

base=${BASE:?say which commit to compare with, such as BASE=HEAD~1}
rounds=${ROUNDS:-3}

dir=$(mktemp -d)
cleanup() {
	git worktree remove --force "$dir/source" 2>/dev/null || true
	rm -rf "$dir"
}
trap cleanup EXIT
git worktree add --quiet --detach "$dir/source" "$base"
(cd "$dir/source" && go build -o "$dir/base" ./test/bench)
go build -o "$dir/now" ./test/bench

for ((i = 1; i <= rounds; i++)); do
	for version in base now; do
		echo "=== round $i of $rounds: $version"
		# A missed limit does not matter here, but a run that writes no figures does.
		"$dir/$version" -tries 1 -json "$dir/$version-$i.json" "$@" || [[ -s $dir/$version-$i.json ]]
	done
done
files() { printf '%s\n' "$dir/$1"-*.json | paste -sd ,; }
echo "=== $(git rev-parse --short "$base") against $(git describe --always --dirty), medians of $rounds runs each"
go run ./test/bench/against -base "$(files base)" -now "$(files now)"
