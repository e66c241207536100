#!/bin/sh
# Install the Debian packages that are missing, quietly; start nothing, and
# leave nothing behind that would start at the next boot.
#
# Open vSwitch's packages start their daemons when they are first installed,
# and enable them.  A policy-rc.d that answers "101, not allowed" keeps them
# from starting; it is there only while apt runs, and one of the administrator
# is left as it is.  Services that came with this run are disabled afterwards.
# Open vSwitch packages that were there before are not touched at all.
set -eu

here=$(dirname "$0")
mark='# gossamer: packaging/install-debian.sh'
policy=/usr/sbin/policy-rc.d

is_installed() {
	[ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null || true)" = installed ]
}

disable_services() {
	for script in $(dpkg-query -L "$1" | sed -n 's|^/etc/init\.d/||p'); do
		# It asks systemd as well, which knows no unit of some of them: judge by the links.
		update-rc.d "$script" disable || true
		if ls /etc/rc[2-5].d/S??"$script"; then return 1; fi
	done
	for unit in $(dpkg-query -L "$1" | sed -n 's|^/\(usr/\)\?lib/systemd/system/\([^/]*\.service\)$|\2|p'); do
		DPKG_MAINTSCRIPT_PACKAGE=$1 deb-systemd-helper disable "$unit" || return 1
	done
}

missing=
for package in $(grep -v '^#' "$here/apt-packages"); do
	is_installed "$package" || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

if [ "$(id -u)" != 0 ]; then
	echo "missing Debian packages:$missing" >&2
	echo "run as root, or: apt-get install$missing" >&2
	exit 1
fi

log=$(mktemp)
clean_up() {
	rm -f "$log"
	# Ours only: also the one that a killed run could not take away.
	if grep -qsxF "$mark" "$policy"; then rm -f "$policy"; fi
}
trap clean_up EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM
if [ ! -e "$policy" ]; then
	printf '#!/bin/sh\n%s\nexit 101\n' "$mark" >"$policy"
	chmod 755 "$policy"
fi

echo "installing:$missing"
export DEBIAN_FRONTEND=noninteractive
status=0
{ apt-get update -qq && apt-get install -y -qq --no-install-recommends $missing; } >"$log" 2>&1 || status=$?
# Whatever apt came to: what it did install must not start later.
for package in $missing; do
	case $package in
	openvswitch-*) if is_installed "$package"; then disable_services "$package" >>"$log" 2>&1 || status=$?; fi ;;
	esac
done
if [ "$status" != 0 ]; then
	cat "$log" >&2
	echo "installing Debian packages failed; see above" >&2
	exit 1
fi
