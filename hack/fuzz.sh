#!/usr/bin/env bash
# Runs every fuzz target of the module for FUZZTIME each. A crash stops it, with the input in testdata/fuzz.
set -euo pipefail
cd "$(dirname "$0")/.."

log=$(mktemp)
trap 'rm -f "$log"' EXIT

fuzz() {
	local target=$1 package=$2
	echo "--- $target in $package, ${FUZZTIME:=20s}"
	# Shrinking every interesting input would take most of the time.
	go test -run '^$' -fuzz "^$target\$" -fuzztime "$FUZZTIME" -fuzzminimizetime 10x "$package" 2>&1 | tee "$log"
}

# Before Go 1.27 the end of the time sometimes counts as a failure (go.dev/issue/75804). It leaves no input behind.
ended() {
	grep -q '^ *context deadline exceeded$' "$log" && ! grep -q 'Failing input written' "$log"
}

found=0
while IFS=: read -r file func; do
	target=${func#func }
	package=./$(dirname "$file")
	fuzz "$target" "$package" || { ended && fuzz "$target" "$package"; }
	found=$((found + 1))
done < <(grep -roE --include='*_test.go' '^func Fuzz[A-Za-z0-9_]+' cmd internal test | sort)

if ((found == 0)); then
	echo "no fuzz target found" >&2
	exit 1
fi
