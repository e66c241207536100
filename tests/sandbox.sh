#!/bin/sh
# Run a command in network, mount and process namespaces of its own: no route
# out, a private /run and BPF file system, and nothing left behind however it
# ends.  Several can go side by side.
set -eu
if [ "${GOSSAMER_SANDBOX:-}" != inside ]; then
	export GOSSAMER_SANDBOX=inside
	exec unshare --net --mount --pid --fork --kill-child --mount-proc sh "$0" "$@"
fi
mount -t tmpfs tmpfs /run
mkdir -p /run/netns /run/lock
mkdir -p /sys/fs/bpf
mount -t sysfs sysfs /sys 2>/dev/null || true
mount -t bpf bpf /sys/fs/bpf
ip link set lo up
exec "$@"
