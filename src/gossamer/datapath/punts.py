"""Punts: packets the kernel sends up, with where they stood (bpf/punt.h)."""

from __future__ import annotations

from collections.abc import Callable

from gossamer.datapath import layout
from gossamer.datapath.maps import Ring
from gossamer.datapath.settings import Punt
from gossamer.pipeline.fields import KEY_LEN


class Punts:
    """The `punts` ring, and what came out of it and was not taken yet."""

    def __init__(self, map_fd: int) -> None:
        self._waiting: list[tuple[Punt, int]] = []
        self._ring = Ring(map_fd, lambda record: self._waiting.append(decode_punt(record)))

    def hear(self, map_fd: int, receive: Callable[[bytes], None]) -> None:
        """Read another ring with this one: what comes there goes to `receive`."""
        self._ring.add(map_fd, receive)

    @property
    def fd(self) -> int:
        """Readable when there are punts."""
        return self._ring.fd

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def take(self) -> list[tuple[Punt, int]]:
        """All that came, captured outputs too, with the port they went to."""
        self._ring.consume()
        out, self._waiting = self._waiting, []
        return out

    def take_of(self, port_id: int, run: Callable[[], None]) -> list[Punt]:
        """The punts of packets that enter by a port while `run` does what lets them in."""
        self._ring.consume()
        n_before = len(self._waiting)
        run()
        self._ring.consume()
        came = self._waiting[n_before:]
        # What the network sends up meanwhile is for the switch still.
        self._waiting[n_before:] = [(p, to) for p, to in came if to or p.in_port_id != port_id]
        return [punt for punt, to in came if not to and punt.in_port_id == port_id]

    def close(self) -> None:
        """Let go of the ring."""
        self._ring.close()


def decode_punt(record: bytes) -> tuple[Punt, int]:
    """A record of the ring: the punt, and in capture mode the port it was output to (else 0)."""
    (
        bridge_id,
        in_port_id,
        who,
        where,
        flow_id,
        max_len,
        total_len,
        captured,
        to_port,
        vlan_tci,
        vlan_tpid,
        gso_size,
        wrote,
        key,
    ) = layout.PUNT_HEAD.unpack_from(record)
    data = record[layout.PUNT_HEAD.size : layout.PUNT_HEAD.size + captured]
    if any(vlan_tpid):
        # The kernel holds the outer tag beside the frame; put it where it belongs.
        data = data[:12] + vlan_tpid + vlan_tci + data[12:]
        total_len += 4
        if max_len:
            data = data[:max_len]
    punt = Punt(
        bridge_id=bridge_id,
        in_port_id=in_port_id,
        reason=who >> 16,
        controller_id=who & 0xFFFF,
        table_id=where & 0xFF,
        flow_id=0 if flow_id & layout.TABLE_MISS else flow_id,
        userdata_id=where >> 8,
        max_len=max_len,
        total_len=total_len,
        key=int.from_bytes(key[:KEY_LEN], "big"),
        data=data,
        gso_size=gso_size,
        wrote=tuple(flow_id for flow_id in layout.WROTE.unpack(wrote) if flow_id),
    )
    return punt, to_port
