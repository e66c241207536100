#!/bin/sh
# Install the Debian packages that are missing, quietly, and start nothing.
#
# openvswitch-switch would start an ovs-vswitchd of its own when it is first
# installed.  A policy-rc.d that answers "101, not allowed" keeps it from doing
# so; it is there only while apt runs, and one that exists already is left as
# it is.  Open vSwitch packages that are installed are not touched at all.
set -eu

here=$(dirname "$0")
missing=
for package in $(grep -v '^#' "$here/apt-packages"); do
	state=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
	[ "$state" = installed ] || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

if [ "$(id -u)" != 0 ]; then
	echo "missing Debian packages:$missing" >&2
	echo "run as root, or: apt-get install$missing" >&2
	exit 1
fi

policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
	printf '#!/bin/sh\nexit 101\n' >"$policy"
	chmod 755 "$policy"
	trap 'rm -f "$policy"' EXIT
	trap 'exit 130' INT TERM
fi
echo "installing:$missing"
log=$(mktemp)
export DEBIAN_FRONTEND=noninteractive
if ! { apt-get update -qq && apt-get install -y -qq --no-install-recommends $missing; } >"$log" 2>&1; then
	cat "$log" >&2
	echo "apt-get failed; see above" >&2
	exit 1
fi
rm -f "$log"
