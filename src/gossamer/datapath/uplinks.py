"""What tunnels run over: devices whose traffic is looked at, and the addresses tunnels end on."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Final

from gossamer.datapath import attach, layout
from gossamer.datapath.maps import HashMap
from gossamer.datapath.tunnel_settings import Cuts, LocalAddress
from gossamer.datapath.tunnels import address16
from gossamer.errors import DatapathError

_SYSCTL: Final = Path("/proc/sys/net")
_ATTACHED: Final = 1


class Uplinks:
    """The maps `uplinks`, `local_addresses` and `underlay_sources`, and the program on devices."""

    def __init__(
        self, uplinks: HashMap, addresses: HashMap, sources: HashMap, program_fd: int
    ) -> None:
        self._uplinks = uplinks
        self._addresses = addresses
        self._sources = sources
        self._program_fd = program_fd
        self._attached: dict[int, Cuts] = {}
        self._inherited: set[int] = set()
        self.waits = False
        """Devices keep the programs they have until `attach_all()`."""
        self._known: set[bytes] | None = None
        """What `local_addresses` has; None: nobody has looked yet."""

    def inherit(self) -> None:
        """Learn the devices an earlier daemon attached to; they stay until `disinherit()`."""
        self._inherited = {int.from_bytes(key, "little") for key, _ in self._uplinks.items()}

    def attach_all(self) -> None:
        """Run the program on the devices that an earlier daemon attached to, and on those that waited."""
        self.waits = False
        for ifindex in self._inherited | self._attached.keys():
            attach.attach_uplink_if_there(ifindex, self._program_fd)

    def disinherit(self) -> None:
        """Detach from devices that were not attached again."""
        for ifindex in self._inherited - self._attached.keys():
            self.detach(ifindex)
        self._inherited.clear()

    def attach(self, ifindex: int, cuts: Cuts) -> None:
        """Run the program on a device.  Raises DatapathError where it is gone."""
        if self._attached.get(ifindex) == cuts:
            return
        allow_route_lookups()
        self._uplinks.put(ifindex.to_bytes(4, "little"), (_ATTACHED | cuts).to_bytes(4, "little"))
        if ifindex in self._attached:
            self._attached[ifindex] = cuts
            return
        if not self.waits:
            attach.attach_uplink(ifindex, self._program_fd)
        self._attached[ifindex] = cuts

    def detach(self, ifindex: int) -> None:
        """Take the program off a device; nothing where it is gone."""
        attach.detach_uplink(ifindex)
        self._uplinks.delete(ifindex.to_bytes(4, "little"))
        self._attached.pop(ifindex, None)

    def detach_all(self) -> None:
        """Take the program off all devices."""
        for ifindex in list(self._attached.keys() | self._inherited):
            self.detach(ifindex)

    def set_local_addresses(self, addresses: Iterable[LocalAddress]) -> None:
        """Replace the addresses that tunnels may end on."""
        wanted: dict[bytes, int] = {}
        sources: dict[bytes, bytes] = {}
        for local in addresses:
            address = address16(local.address)
            wanted.setdefault(address, local.ifindex)
            family = 4 if len(local.address) == 4 else 6
            if not _is_group(local.address):
                sources.setdefault(layout.SOURCE_KEY.pack(local.ifindex, family), address)
        if self._known is None:
            self._known = {key for key, _ in self._addresses.items()}
        for address, ifindex in wanted.items():
            self._addresses.put(address, ifindex.to_bytes(4, "little"))
        for address in self._known - set(wanted):
            self._addresses.delete(address)
        self._known = set(wanted)
        for key, address in sources.items():
            self._sources.put(key, address)
        for key in [key for key, _ in self._sources.items() if key not in sources]:
            self._sources.delete(key)


def allow_route_lookups() -> None:
    """Let bpf_fib_lookup() find routes as the host's own packets find theirs.

    The kernel answers only for a device that forwards.  The loopback device's switch is set:
    nothing is ever forwarded from there, so that the host behaves as before.  Setting IPv6's
    would forget default routes learned from routers, except on devices that accept those even
    when they forward: for that moment all are such devices.  Raises DatapathError where the
    settings cannot be written.
    """
    _write(_SYSCTL / "ipv4/conf/lo/forwarding", "1")
    lo6 = _SYSCTL / "ipv6/conf/lo/forwarding"
    if not lo6.exists() or lo6.read_text().strip() == "1":
        return
    hesitant = [
        path
        for path in (_SYSCTL / "ipv6/conf").glob("*/accept_ra")
        if path.read_text().strip() == "1"
    ]
    for path in hesitant:
        _write(path, "2")
    try:
        _write(lo6, "1")
    finally:
        for path in hesitant:
            _write(path, "1")


def _write(path: Path, value: str) -> None:
    try:
        if path.read_text().strip() != value:
            path.write_text(value)
    except OSError as e:
        raise DatapathError(
            f"preparing route look-ups: {e.strerror}",
            place=str(path),
            remedy=f"let the host set it: sysctl -w {'.'.join(path.parts[3:])}={value}",
        ) from None


def _is_group(address: bytes) -> bool:
    return address[0] >> 4 == 14 if len(address) == 4 else address[0] == 0xFF
