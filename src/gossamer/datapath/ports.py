"""Ports in the kernel: records, lookups by device and by OpenFlow number, the program on each."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from gossamer.datapath import attach, layout
from gossamer.datapath.layout import PortFlag
from gossamer.datapath.maps import HashMap, MappedArray, PerCpuArray
from gossamer.datapath.settings import PortKind, PortSettings, PortStatistics, VlanMode
from gossamer.errors import DatapathError

DEFAULT_BURST_KB = 8000
"""ingress_policing_burst where it is 0 (ovs-vswitchd.conf.db(5)): 8,000 kbit."""
DEFAULT_BURST_KPKTS = 16
_MIN_BURST_BYTES = 1600
"""Less than a full frame would let nothing pass."""


_DEVICELESS = (PortKind.PATCH, PortKind.TUNNEL)


@dataclass(slots=True)
class PortRecord:
    """A port the datapath has."""

    bridge_id: int
    settings: PortSettings
    attached: int = 0
    """ifindex the program runs on, 0 none."""


class Ports:
    """The `ports` map and what finds its way there."""

    def __init__(
        self,
        ports: MappedArray,
        by_ifindex: HashMap,
        by_low_ifindex: MappedArray,
        by_ofport: HashMap,
        trunks: HashMap,
        counters: PerCpuArray,
        police_buckets: HashMap,
        program_fd: int,
    ) -> None:
        self._array = ports
        self._by_ifindex = by_ifindex
        self._by_low_ifindex = by_low_ifindex
        self._by_ofport = by_ofport
        self._trunks = trunks
        self._counters = counters
        self._police_buckets = police_buckets
        self._program_fd = program_fd
        self.records: dict[int, PortRecord] = {}
        self._ids: dict[tuple[int, str], int] = {}
        self._next = 1
        self._free: list[int] = []
        self._inherited: dict[int, tuple[int, int, PortKind]] = {}
        """Port id -> (bridge, ifindex, kind), as found in the kernel."""
        self.waits = False
        """Devices keep the programs they have until `attach_all()`."""

    def inherit(self) -> None:
        """Learn the ids an earlier daemon gave."""
        used: set[int] = set()
        for port_id in range(1, layout.MAX_PORTS):
            at = self._array.offset(port_id)
            kind = self._array.memory[at + 14]
            if not kind:
                continue
            raw = layout.PORT.unpack_from(self._array.memory, at)
            name = raw[-1].rstrip(b"\0").decode(errors="replace")
            self._ids[raw[1], name] = port_id
            self._inherited[port_id] = (raw[1], raw[0], PortKind(kind))
            used.add(port_id)
        self._next = max(used, default=0) + 1
        self._free = [p for p in range(1, self._next) if p not in used]

    def disinherit(self) -> set[int]:
        """Remove what was not added again; returns the bridges whose ports they were."""
        bridges: set[int] = set()
        for port_id, (bridge_id, ifindex, kind) in self._inherited.items():
            if ifindex:
                attach.detach(ifindex, kind)
                self._name_device(ifindex, 0)
            ofport = layout.PORT.unpack(self._array.read(port_id))[2]
            self._by_ofport.delete(layout.OFPORT_KEY.pack(bridge_id, ofport))
            self._clear(port_id)
            self._ids = {k: v for k, v in self._ids.items() if v != port_id}
            self._free.append(port_id)
            bridges.add(bridge_id)
        self._inherited.clear()
        return bridges

    def attach_all(self) -> None:
        """Run the program on the devices that an earlier daemon attached to, and on those that waited."""
        self.waits = False
        found = [(ifindex, kind) for _, ifindex, kind in self._inherited.values()]
        found += [(r.attached, r.settings.kind) for r in self.records.values()]
        for ifindex, kind in found:
            if ifindex:
                attach.attach_if_there(ifindex, kind, self._program_fd)

    def add(self, bridge_id: int, settings: PortSettings) -> int:
        """Add a port, or take it over; returns its id.

        Raises DatapathError where its device is gone or the switch is full;
        then nothing is left of it.
        """
        port_id = self._ids.get((bridge_id, kernel_name(settings.name)))
        if port_id is not None and port_id in self.records:
            self.update(port_id, settings)
            return port_id
        if port_id is None:
            port_id = self._free_id()
            self._zero(port_id)
            self._ids[bridge_id, kernel_name(settings.name)] = port_id
        self._inherited.pop(port_id, None)
        record = self.records[port_id] = PortRecord(bridge_id, settings)
        try:
            self._write(port_id, record, None)
        except DatapathError:
            self.remove(port_id)
            raise
        return port_id

    def update(self, port_id: int, settings: PortSettings) -> None:
        """Give a port other settings.  Raises DatapathError where its new device is gone."""
        record = self.records[port_id]
        before, record.settings = record.settings, settings
        try:
            self._write(port_id, record, before)
        except DatapathError:
            record.settings = before
            raise

    def remove(self, port_id: int) -> None:
        """Take a port out; its device stays, without our program."""
        record = self.records.pop(port_id)
        settings = record.settings
        self._detach(record)
        self._by_ofport.delete(layout.OFPORT_KEY.pack(record.bridge_id, settings.ofport))
        self._clear(port_id)
        self._ids.pop((record.bridge_id, kernel_name(settings.name)), None)
        self._free.append(port_id)

    def of_bridge(self, bridge_id: int) -> list[int]:
        """Ids of a bridge's ports, by OpenFlow number: the order in which a flood sends copies."""
        found = [
            (record.settings.ofport, port_id)
            for port_id, record in self.records.items()
            if record.bridge_id == bridge_id
        ]
        return [port_id for _, port_id in sorted(found)]

    def internal_ifindex(self) -> int:
        """The device of some internal port, 0 where there is none."""
        return next(
            (r.attached for r in self.records.values()
             if r.attached and r.settings.kind is PortKind.INTERNAL),
            0,
        )  # fmt: skip

    def is_live(self, bridge_id: int, ofport: int) -> bool:
        """Whether a port is there, and up, and its link too."""
        raw = self._by_ofport.get(layout.OFPORT_KEY.pack(bridge_id, ofport & 0xFFFFFFFF))
        record = self.records.get(int.from_bytes(raw, "little")) if raw else None
        return record is not None and record.settings.up and record.settings.live

    def statistics(self, port_id: int) -> PortStatistics:
        """Counters of a port, of all CPUs together."""
        return PortStatistics(*self._counters.sums(port_id))

    def _write(self, port_id: int, record: PortRecord, before: PortSettings | None) -> None:
        settings = record.settings
        if settings.trunks:
            bits = [0] * 64
            for vlan in settings.trunks:
                bits[vlan >> 6] |= 1 << (vlan & 63)
            self._trunks.put(port_id.to_bytes(4, "little"), layout.TRUNKS.pack(*bits))
        self._array.write(port_id, _image(record))
        if before is None or before.ofport != settings.ofport:
            if before is not None:
                self._by_ofport.delete(layout.OFPORT_KEY.pack(record.bridge_id, before.ofport))
            key = layout.OFPORT_KEY.pack(record.bridge_id, settings.ofport)
            self._by_ofport.put(key, port_id.to_bytes(4, "little"))
        if before is not None and _policing(before) != _policing(settings):
            self._zero_bucket(port_id)
        if settings.kind not in _DEVICELESS and settings.ifindex != record.attached:
            self._detach(record)
            if settings.ifindex:
                # The record first: the program must know the port when it first runs.
                self._name_device(settings.ifindex, port_id)
                if not self.waits:
                    attach.attach(settings.ifindex, settings.kind, self._program_fd)
                record.attached = settings.ifindex

    def enter_by(self, ifindex: int, port_id: int) -> None:
        """Take what test runs let in at a device, one that nothing is attached to, for a port's."""
        self._name_device(ifindex, port_id)

    def _name_device(self, ifindex: int, port_id: int) -> None:
        """Say whose device this is, 0 nobody's."""
        if ifindex < layout.LOW_IFINDEXES:
            self._by_low_ifindex.words32[self._by_low_ifindex.offset(ifindex) // 4] = port_id
        elif port_id:
            self._by_ifindex.put(ifindex.to_bytes(4, "little"), port_id.to_bytes(4, "little"))
        else:
            self._by_ifindex.delete(ifindex.to_bytes(4, "little"))

    def _detach(self, record: PortRecord) -> None:
        if record.attached:
            attach.detach(record.attached, record.settings.kind)
            self._name_device(record.attached, 0)
            record.attached = 0

    def _free_id(self) -> int:
        if self._free:
            return self._free.pop(0)
        if self._next >= layout.MAX_PORTS:
            raise DatapathError(f"more than {layout.MAX_PORTS - 1} ports")
        self._next += 1
        return self._next - 1

    def _clear(self, port_id: int) -> None:
        self._array.write(port_id, bytes(layout.PORT.size))
        self._trunks.delete(port_id.to_bytes(4, "little"))

    def _zero(self, port_id: int) -> None:
        self._counters.zero(port_id)
        self._zero_bucket(port_id)

    def _zero_bucket(self, port_id: int) -> None:
        self._police_buckets.put(
            port_id.to_bytes(4, "little"), bytes(self._police_buckets.value_size)
        )


def kernel_name(name: str) -> str:
    """The name under which a port is found again after a restart: at most 31 bytes."""
    raw = name.encode()
    if len(raw) <= 31:
        return name
    return raw[:22].decode(errors="ignore") + "#" + hashlib.sha256(raw).hexdigest()[:8]


def _policing(settings: PortSettings) -> tuple[int, ...]:
    return (
        settings.policing_rate_kbps,
        settings.policing_burst_kb,
        settings.policing_rate_kpps,
        settings.policing_burst_kpkts,
    )


def _image(record: PortRecord) -> bytes:
    """`struct port`."""
    s = record.settings
    flags = PortFlag(0)
    for wanted, flag in (
        (s.receive, PortFlag.RECEIVE),
        (s.forward, PortFlag.FORWARD),
        (s.flood, PortFlag.FLOOD),
        (s.up, PortFlag.UP),
        (s.packet_in, PortFlag.PACKET_IN),
        (s.up and s.live, PortFlag.LIVE),
        (s.peer_mac is not None, PortFlag.PEER_MAC),
        (not s.trunks and s.vlan_mode is not VlanMode.ACCESS, PortFlag.ALL_VLANS),
        (bool(s.policing_rate_kbps or s.policing_rate_kpps), PortFlag.POLICED),
    ):
        if wanted:
            flags |= flag
    burst_kb = s.policing_burst_kb or DEFAULT_BURST_KB
    burst_kpkts = s.policing_burst_kpkts or DEFAULT_BURST_KPKTS
    return layout.PORT.pack(
        s.ifindex,
        record.bridge_id,
        s.ofport,
        flags,
        s.kind,
        s.vlan_mode,
        s.tag,
        s.peer_mac or bytes(6),
        s.patch_peer or 0,
        0,
        s.policing_rate_kbps * 125,
        max(burst_kb * 125, _MIN_BURST_BYTES),
        s.policing_rate_kpps * 1000,
        max(burst_kpkts * 1000, 1),
        kernel_name(s.name).encode(),
    )
