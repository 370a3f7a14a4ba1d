#!/usr/bin/env bash
# test-all.sh change runs every check that a change has to pass; test-all.sh nightly runs what takes too long for that.
# It goes on after a failure, closes with a table of times, and fails if a phase failed. The output of each phase is in
# bin/test-all. Needs root, because the tests make network namespaces.
set -uo pipefail
cd "$(dirname "$0")/.."

# Tests that this machine cannot run fail instead of being skipped.
export CI=true
# The phase lint runs all of go vet.
export GOFLAGS="-vet=off ${GOFLAGS:-}"

logs=bin/test-all
rm -rf "$logs"
mkdir -p "$logs"
: >"$logs/table"

# finish TARGET BEGIN STATUS adds a line to the table.
finish() {
	local result=ok
	(($3 == 0)) || result=FAILED
	printf '%-16s %-7s %5d s\n' "$1" "$result" $((SECONDS - $2)) | tee -a "$logs/table"
}

# run TARGET [COMMAND] runs a phase by itself and shows its output as it comes. Without a command it is a target of make.
run() {
	local target=$1 begin=$SECONDS status=0
	shift
	(($# > 0)) || set -- make --no-print-directory "$target"
	printf '\n=== %s\n' "$target"
	"$@" 2>&1 | tee "$logs/$target.log" || status=1
	printf '=== '
	finish "$target" "$begin" "$status"
}

# lane TARGET... runs phases beside those of another lane. Each shows its output in one piece when it ends.
lane() {
	local target begin status
	for target in "$@"; do
		begin=$SECONDS status=0
		touch "$logs/$target.running"
		make --no-print-directory "$target" >"$logs/$target.log" 2>&1 || status=1
		rm "$logs/$target.running"
		{
			flock 9
			printf '\n=== %s\n' "$target"
			cat "$logs/$target.log"
			printf '=== '
			finish "$target" "$begin" "$status"
		} 9>"$logs/lock"
	done
}

# watch prints every half minute what runs in the lanes, and the last line of its output.
watch() {
	local file target
	while sleep 30; do
		{
			flock 9
			for file in "$logs"/*.running; do
				[[ -e $file ]] || continue
				target=$(basename "$file" .running)
				printf '%5d s  %s: %s\n' "$SECONDS" "$target" "$(tail -n 1 "$logs/$target.log" | cut -c 1-100)"
			done
		} 9>"$logs/lock"
	done
}

# lanes runs the two lists of phases, each a string of targets, side by side.
lanes() {
	local watcher pids=()
	# Job control gives each lane a process group, so that an interrupt ends all of it.
	set -m
	watch &
	watcher=$!
	for list in "$@"; do
		# shellcheck disable=SC2086 # a list of words
		lane $list &
		pids+=("$!")
	done
	set +m
	# shellcheck disable=SC2064 # these processes
	trap "kill -TERM -- -$watcher ${pids[*]/#/-} 2>/dev/null; wait; exit 130" INT TERM
	wait "${pids[@]}"
	kill -TERM -- "-$watcher"
	trap - INT TERM
}

change() {
	export PROPERTY_CASES=${PROPERTY_CASES:-5000} FUZZTIME=${FUZZTIME:-20s} KERNEL_SWAP_TIME=${KERNEL_SWAP_TIME:-30s}
	# The phases that fail soonest come first.
	run packages make --no-print-directory deps
	run modules go mod download
	for target in build lint unit chart-test; do
		run "$target"
	done
	# Clusters mostly wait, the others compute.
	lanes "monitoring-test conformance-ci demo" "kernel property fuzz"
	# These judge times and want the machine to themselves. install-test uses the demo's cluster.
	for target in install-test cluster-down swap bench; do
		run "$target"
	done
}

# nightly has more cases, longer runs, and every cluster: two to three hours.
nightly() {
	export PROPERTY_CASES=${PROPERTY_CASES:-20000} FUZZTIME=${FUZZTIME:-5m}
	run packages make --no-print-directory deps
	for target in property fuzz swap lab-matrix image-check; do
		run "$target"
	done
	run cyclonus make --no-print-directory conformance SUITE=cyclonus
	run cyclonus-ipt make --no-print-directory conformance SUITE=cyclonus BACKEND=iptables
	run upstream-ipt make --no-print-directory conformance-ci BACKEND=iptables
	run upstream-used make --no-print-directory conformance
	run upstream-all make --no-print-directory conformance-all
}

case ${1:-} in
change | nightly) "$1" ;;
*) echo "usage: $0 change|nightly" >&2 && exit 2 ;;
esac

printf '\n=== all, %d s\n' "$SECONDS"
cat "$logs/table"
! grep -q FAILED "$logs/table"
