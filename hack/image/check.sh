#!/usr/bin/env bash
# Builds the image here, and again from a copy of the sources in another folder with an empty build cache, and
# fails unless archive and SBOM are the same to the byte.
set -euo pipefail
cd "$(dirname "$0")/../.."

version=$(git describe --tags --always --dirty)
commit=$(git rev-parse HEAD)
created=$(git log -1 --format=%ct)
other=$(mktemp -d)
trap 'chmod -R u+w "$other"; rm -rf "$other"' EXIT

build() {
	make --no-print-directory -C "$1" image VERSION="$version" COMMIT="$commit" SOURCE_DATE_EPOCH="$created"
}

build "$PWD"
git ls-files -z --cached --others --exclude-standard | xargs -0 cp --parents -t "$other" --
GOCACHE=$other/.gocache build "$other"

for file in netpol-agent-image.tar netpol-agent-image.spdx.json; do
	cmp "bin/$file" "$other/bin/$file"
done
echo "the same, twice: $(sha256sum <bin/netpol-agent-image.tar | cut -d' ' -f1)"
