#!/usr/bin/env bash
# Installs the Debian packages that the tests call for, if any is missing.
set -euo pipefail

# The race detector needs gcc and libc6-dev, and the tests of alerts and dashboard need prometheus. The tests compare the
# agent with the other tools. The cluster of "make demo" installs its own packages.
packages=(ca-certificates conntrack gcc git ipset iproute2 iptables libc6-dev nftables procps prometheus util-linux)

installed() {
	[[ $(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null || true) == installed ]]
}

command -v dpkg-query >/dev/null || {
	echo "deps: this is not a Debian system; install nft, conntrack, ipset, iptables, ip, gcc with the C library headers, git and prometheus yourself" >&2
	exit 0
}
missing=()
for p in "${packages[@]}"; do
	installed "$p" || missing+=("$p")
done
if ((${#missing[@]} == 0)); then
	exit 0
fi
if ((EUID != 0)); then
	echo "deps: these Debian packages are missing: ${missing[*]}. As root: apt-get install ${missing[*]}" >&2
	exit 1
fi
command -v apt-get >/dev/null || {
	echo "deps: apt-get is missing; install these packages yourself: ${missing[*]}" >&2
	exit 1
}
echo "deps: installing ${missing[*]}"

# The tests need the programs of Prometheus. Its service must not run here, neither now nor after the next boot. A
# policy that the machine already has belongs to its administrator and stays.
policy=/usr/sbin/policy-rc.d
if [[ ! -e $policy ]]; then
	trap 'rm -f "$policy"' EXIT
	printf '#!/bin/sh\nexit 101\n' >"$policy"
	chmod 755 "$policy"
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
if [[ " ${missing[*]} " == *" prometheus "* ]]; then
	update-rc.d prometheus disable
fi
