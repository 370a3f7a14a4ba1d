#!/usr/bin/env bash
# Runs every fuzz target of the module for FUZZTIME each. A crash stops it, with the input in testdata/fuzz.
set -euo pipefail
cd "$(dirname "$0")/.."

found=0
while IFS=: read -r file func; do
	target=${func#func }
	package=./$(dirname "$file")
	echo "--- $target in $package, ${FUZZTIME:=20s}"
	# Shrinking every interesting input would take most of the time.
	go test -run '^$' -fuzz "^$target\$" -fuzztime "$FUZZTIME" -fuzzminimizetime 10x "$package"
	found=$((found + 1))
done < <(grep -roE --include='*_test.go' '^func Fuzz[A-Za-z0-9_]+' cmd internal test | sort)

if ((found == 0)); then
	echo "no fuzz target found" >&2
	exit 1
fi
