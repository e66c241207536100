#!/bin/sh
# Boot Debian 12's own kernel (6.1) in an emulated machine and load the datapath there: does its
# verifier accept what ours does?  Needs qemu-system-x86, busybox-static, cpio; no KVM.
# usage: verify.sh   prints what the guest says; exit status 0 where the programs load and attach
set -eu

here=$(cd "$(dirname "$0")/../.." && pwd)
work=$here/build/guest
mkdir -p "$work"
if ! command -v qemu-system-x86_64 >/dev/null || ! command -v busybox >/dev/null; then
	DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
		qemu-system-x86 busybox-static cpio >/dev/null
fi
if ! ls "$work"/root/boot/vmlinuz-* >/dev/null 2>&1; then
	# The kernel's package is unpacked here, never installed: /boot stays as it is.
	package=$(apt-cache depends linux-image-cloud-amd64 | sed -n 's/.*Depends: //p' | head -n 1)
	(cd "$work" && apt-get download -qq "$package" 2>/dev/null && dpkg -x "$package"_*.deb root)
fi
kernel=$(ls "$work"/root/boot/vmlinuz-*)
release=${kernel##*/vmlinuz-}
tree=$work/tree
rm -rf "$tree"
mkdir -p "$tree"/bin "$tree"/proc "$tree"/sys "$tree"/dev "$tree"/modules
cp "$(command -v busybox)" "$tree/bin/busybox"
cp "$here/src/gossamer/datapath/gossamer.bpf.o" "$tree/"
for program in bpftool tc ip; do
	path=$(command -v $program || echo /usr/sbin/$program)
	cp "$path" "$tree/bin/"
	ldd "$path" | grep -o '/[^ ]*' | while read -r library; do
		mkdir -p "$tree$(dirname "$library")"
		cp -n "$library" "$tree$library"
	done
done
for module in veth sch_ingress cls_bpf; do
	find "$work/root/lib/modules/$release" -name "$module.ko*" -exec cp {} "$tree/modules/" \;
done
cat >"$tree/init" <<'INIT'
#!/bin/busybox sh
/bin/busybox mkdir -p /run /sbin
/bin/busybox --install -s /sbin
export PATH=/bin:/sbin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t bpf bpf /sys/fs/bpf
echo "guest: kernel $(uname -r)"
for m in /modules/*; do insmod $m; done
bpftool prog load /gossamer.bpf.o /sys/fs/bpf/gossamer 2>/tmp.log
status=$?
tail -n 25 /tmp.log | cut -c 1-160
if [ $status = 0 ]; then
	/bin/ip link add v0 type veth peer name v1
	/bin/ip link set v0 up
	/bin/tc qdisc add dev v0 clsact && /bin/tc filter add dev v0 ingress bpf da pinned /sys/fs/bpf/gossamer
	status=$?
	/bin/tc filter show dev v0 ingress
fi
[ $status = 0 ] && echo "guest: PASSED" || echo "guest: FAILED"
poweroff -f
INIT
chmod +x "$tree/init"
(cd "$tree" && find . | cpio -o -H newc --quiet | gzip -1) >"$work/initrd.gz"
log=$work/log
timeout 240 qemu-system-x86_64 -m 2048 -nographic -no-reboot -nic none -kernel "$kernel" \
	-initrd "$work/initrd.gz" -append "console=ttyS0 quiet panic=-1" </dev/null >"$log" 2>&1 || true
tr -d '\r' <"$log" | grep -v '^$' | tail -n 40
grep -q 'guest: PASSED' "$log"
