# Gives a new machine its own view of the files: run once by its first process, in its namespaces, with the
# state directory, the machine's name and its log directory as arguments.
state=$1 name=$2 logs=$3

# Mounts propagate neither out nor in.
mount --make-rprivate /

mount -t proc proc /proc

# What the host keeps in /run (sockets, locks, named namespaces) is not the machine's.
mount -t tmpfs -o mode=755,nosuid,nodev lab-run /run
mkdir -p /run/lock /run/lab/state /run/lab/logs /run/lab/lib /run/lab/work /run/lab/sys

# sysfs shows the interfaces of the network namespace it is mounted in. The cgroup hierarchies below it are
# mounted again as the host has them, and show the machine's own cgroup as their root.
grep ' /sys/fs/cgroup' /proc/self/mounts >/run/lab/hierarchies
mount -t sysfs sysfs /sys
while read -r _ point type options _; do
	mkdir -p "$point"
	case $type in
	cgroup2) mount -t cgroup2 cgroup2 "$point" ;;
	cgroup)
		# Keep only the options that name the hierarchy.
		which=
		for option in $(echo "$options" | tr , ' '); do
			case $option in
			name=*) which=$which,$option ;;
			*) if cut -f1 /proc/cgroups | grep -qx "$option"; then which=$which,$option; fi ;;
			esac
		done
		mount -t cgroup -o "${which#,}" cgroup "$point"
		;;
	*) mount -t tmpfs -o mode=755 cgroup "$point" ;;
	esac
done </run/lab/hierarchies

# /var/lib shows the host's files and keeps writes in memory, except for the machine's own folders. The state
# directory, which may be below it, stays as it is.
mount --bind "$state" /run/lab/state
mount --bind "$logs" /run/lab/logs
mount -t overlay -o lowerdir=/var/lib,upperdir=/run/lab/lib,workdir=/run/lab/work lab-lib /var/lib
mkdir -p "$state"
mount --bind /run/lab/state "$state"
for dir in containerd kubelet cni; do
	mkdir -p "/var/lib/$dir" "$state/$name/$dir"
	mount --bind "$state/$name/$dir" "/var/lib/$dir"
done
mount --bind /run/lab/logs /var/log
umount /run/lab/state /run/lab/logs

# The kubelet sets these for the whole kernel. It gets copies instead.
for file in vm/overcommit_memory vm/panic_on_oom kernel/panic kernel/panic_on_oops \
	kernel/keys/root_maxkeys kernel/keys/root_maxbytes; do
	copy=/run/lab/sys/$(basename "$file")
	cat "/proc/sys/$file" >"$copy"
	mount --bind "$copy" "/proc/sys/$file"
done

# Per network namespace: route, show bridged packets to netfilter.
echo 1 >/proc/sys/net/ipv4/ip_forward
if [ -d /proc/sys/net/ipv6 ]; then
	echo 0 >/proc/sys/net/ipv6/conf/all/disable_ipv6
	echo 0 >/proc/sys/net/ipv6/conf/default/disable_ipv6
	# Nobody else can have a machine's addresses, so do not probe for duplicates for a second before their first
	# use.
	echo 0 >/proc/sys/net/ipv6/conf/all/accept_dad
	echo 0 >/proc/sys/net/ipv6/conf/default/accept_dad
	# This also applies to interfaces that are created later.
	echo 1 >/proc/sys/net/ipv6/conf/all/forwarding
fi
for file in iptables ip6tables; do
	echo 1 >"/proc/sys/net/bridge/bridge-nf-call-$file"
done

# Inside, mounts are shared, as on a machine that an init system has booted: pods may ask for that.
mount --make-rshared /
