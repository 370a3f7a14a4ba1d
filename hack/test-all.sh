#!/usr/bin/env bash
# Runs every check, one after the other, goes on after a failure, and closes with a table. Needs root, because
# the tests make network namespaces.
set -uo pipefail
cd "$(dirname "$0")/.."

export PROPERTY_CASES=${PROPERTY_CASES:-20000} FUZZTIME=${FUZZTIME:-60s}
# "make swap" alone gives iptables-legacy time for all of its changes.
export KERNEL_SWAP_TIME=${KERNEL_SWAP_TIME:-40s}
# Tests that this machine cannot run fail instead of being skipped.
export CI=true

summary=()
failed=0

phase() {
	local title=$1 start=$SECONDS result=ok
	shift
	printf '\n=== %s: %s\n' "$title" "$*"
	"$@" || { result=FAILED; failed=1; }
	local line
	line=$(printf '%-15s %-7s %4d s' "$title" "$result" $((SECONDS - start)))
	printf '=== %s\n' "$line"
	summary+=("$line")
}

phase packages make --no-print-directory deps
phase modules go mod download
for target in build lint unit chart-test property kernel swap fuzz bench; do
	phase "$target" make --no-print-directory "$target"
done
# The demo's cluster serves the test of an installation; the later ones have their own.
for target in demo install-test cluster-down monitoring-test conformance-ci; do
	phase "$target" make --no-print-directory "$target"
done
# All of Cyclonus is the longest of all. A machine that had everything to build first may not have the time left.
within=${TEST_ALL_SECONDS:-2700} cyclonus=720
if ((SECONDS + cyclonus <= within)); then
	phase cyclonus make --no-print-directory conformance SUITE=cyclonus
else
	summary+=("cyclonus        left out: it takes $cyclonus s, and $SECONDS of $within are over; make conformance SUITE=cyclonus")
fi

printf '\n=== all, %d s\n' "$SECONDS"
printf '%s\n' "${summary[@]}"
exit "$failed"
