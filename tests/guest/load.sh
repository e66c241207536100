#!/bin/sh
# In the guest: the verifier accepts the datapath, and TC takes it on a device.  No Python needed.
# usage: load.sh OBJECT
set -eu
echo "kernel $(uname -r)"
bpftool prog loadall "$1" /sys/fs/bpf/loaded 2>/tmp/verifier.log || {
	tail -n 60 /tmp/verifier.log | cut -c 1-160
	exit 1
}
ip link add v0 type veth peer name v1
ip link set v0 up
tc qdisc add dev v0 clsact
tc filter add dev v0 ingress bpf da pinned /sys/fs/bpf/loaded/gossamer
tc filter show dev v0 ingress | grep direct-action
