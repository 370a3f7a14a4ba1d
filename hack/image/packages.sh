#!/usr/bin/env bash
# Downloads the Debian packages that the iptables backend needs, with their dependencies, into a folder:
#   packages.sh ARCH FOLDER
# The release is that of this machine's apt sources. apt chooses the versions and checks the signatures. It works with a
# state of its own in which nothing is installed, so it needs no root and changes nothing on this machine. Versions are
# not pinned, because Debian's mirrors keep only the current ones. The image's SBOM names them, with their hashes.
set -euo pipefail
arch=$1 folder=$(realpath -m "$2") # apt takes no relative paths

command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null || {
	echo "packages: apt-get and dpkg-deb are missing: build this image on Debian, or with \"docker build --target iptables\"" >&2
	exit 1
}
mkdir -p "$(dirname "$folder")"
tmp=$(mktemp -d "$folder.XXXXXX")
trap 'rm -rf "$tmp"' EXIT
mkdir -p "$tmp"/{lists,archives}/partial "$tmp/debs"
: >"$tmp/status"
apt() {
	apt-get -qq -o Dir::State="$tmp" -o Dir::State::status="$tmp/status" -o Dir::Cache="$tmp" -o Dir::Cache::archives="$tmp/archives" \
		-o APT::Architecture="$arch" -o APT::Architectures="$arch" -o APT::Sandbox::User="$(id -un)" "$@"
}
apt update
apt --yes --no-install-recommends --download-only install iptables ipset
# The image takes the license texts and the name of the release from this package. They need none of its dependencies.
(cd "$tmp/archives" && apt download base-files)
mv "$tmp"/archives/*.deb "$tmp/debs/"
rm -rf "$folder"
mv "$tmp/debs" "$folder"
