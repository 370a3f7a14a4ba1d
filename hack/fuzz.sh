#!/usr/bin/env bash
# Runs every fuzz target of the module for FUZZTIME, one on each processor, with one worker each. Fails if a target
# crashes; the input is then in testdata/fuzz.
set -euo pipefail
cd "$(dirname "$0")/.."

export FUZZTIME=${FUZZTIME:-20s}

fuzz() {
	# Minimizing every interesting input would take most of the time.
	go test -run '^$' -fuzz "^$1\$" -fuzztime "$FUZZTIME" -fuzzminimizetime 10x -parallel 1 "$2" >"$3" 2>&1
}

# Before Go 1.27 the end of FUZZTIME sometimes counts as a failure (go.dev/issue/75804), which leaves no input behind.
ended() {
	grep -q '^ *context deadline exceeded$' "$1" && ! grep -q 'Failing input written' "$1"
}

# once runs the target that a line of grep names ("DIRECTORY/FILE:func NAME") and prints its output in one piece.
once() {
	local target=${1##*func } package log status=0
	package=./$(dirname "${1%%:*}")
	log=$(mktemp)
	fuzz "$target" "$package" "$log" || { ended "$log" && fuzz "$target" "$package" "$log"; } || status=1
	printf -- '--- %s in %s, %s\n%s\n' "$target" "$package" "$FUZZTIME" "$(tail -n 200 "$log")"
	rm -f "$log"
	return "$status"
}
export -f fuzz ended once

targets=$(grep -roE --include='*_test.go' '^func Fuzz[A-Za-z0-9_]+' cmd internal test | sort)
if [[ -z $targets ]]; then
	echo "no fuzz target found" >&2
	exit 1
fi
xargs -d '\n' -P "$(nproc)" -I '{}' bash -c 'once "$1"' once '{}' <<<"$targets"
