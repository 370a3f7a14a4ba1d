#!/usr/bin/env bash
# Puts the Debian packages that the backend iptables runs, with all that they need, into a folder:
#   packages.sh ARCH FOLDER
# The release is that of this machine's apt sources. apt chooses the versions and checks the signatures; it works in a
# state of its own, for which nothing is installed, so that it needs no root and changes nothing here. Versions are not
# pinned: Debian's mirrors keep the present ones only. The image's SBOM names them, with their hashes.
set -euo pipefail
arch=$1 folder=$(realpath -m "$2") # apt takes no relative paths

command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null || {
	echo "packages: apt-get and dpkg-deb are needed: build this image on Debian, or with \"docker build --target iptables\"" >&2
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
# Of this one the image takes the licenses' texts and the release's name; what it needs itself is not needed for these.
(cd "$tmp/archives" && apt download base-files)
mv "$tmp"/archives/*.deb "$tmp/debs/"
rm -rf "$folder"
mv "$tmp/debs" "$folder"
