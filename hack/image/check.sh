#!/usr/bin/env bash
# Builds the image of the current commit twice, from copies of the sources in two folders, the second time with an empty
# build cache. Fails unless archive and SBOM are identical to the byte. Leaves the output of "make image" and the caches
# as they are.
set -euo pipefail
cd "$(dirname "$0")/../.."

version=$(git describe --tags --always)
commit=$(git rev-parse HEAD)
created=$(git log -1 --format=%ct)
tmp=$(mktemp -d)
trap 'chmod -R u+w "$tmp"; rm -rf "$tmp"' EXIT
first=$tmp/first second=$tmp/second-in-a-longer-path

build() {
	mkdir "$1"
	git archive "$commit" | tar -x -C "$1"
	make --no-print-directory -C "$1" image VERSION="$version" COMMIT="$commit" SOURCE_DATE_EPOCH="$created"
}

build "$first"
GOCACHE=$tmp/cache build "$second"

for file in netpol-agent-image.tar netpol-agent-image.spdx.json; do
	cmp "$first/bin/$file" "$second/bin/$file"
done
echo "both builds of commit $commit are identical: $(sha256sum <"$first/bin/netpol-agent-image.tar" | cut -d' ' -f1)"
