"""Punts: packets the kernel sends up, with where they stood (bpf/punt.h)."""

from __future__ import annotations

from gossamer.datapath import layout
from gossamer.datapath.settings import Punt
from gossamer.pipeline.fields import KEY_LEN


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
    )
    return punt, to_port
