"""Messages that must be refused, and the error that the specification has for each.

A case is a name, a version, a message, and the error's type and code; errors of
extensions have their vendor first.  Sections: OpenFlow 1.0.0 5.4.4, 1.3.5 7.4.4,
1.5.1 7.5.4.
"""

from __future__ import annotations

from struct import pack
from typing import Final, NamedTuple

from gossamer.openflow.frame import frame
from gossamer.openflow.match import encode_ofp_match
from gossamer.pipeline.match import ANY, Match, match
from tests.unit.openflow.wrong_bodies import (
    ACTIONS,
    GROUPS,
    INSTRUCTIONS,
    MATCHES,
    METERS,
    MULTIPARTS,
    OTHERS,
    VENDOR_ACTIONS,
)

V10, V11, V12, V13, V14, V15 = range(1, 7)
NX: Final = 0x2320
ONF: Final = 0x4F4E4600
XID: Final = 0x1234
_NX_ERROR: Final = 0xB0C2
_EXPERIMENTER: Final = 0xFFFF


class Case(NamedTuple):
    """A message and its refusal: `error` is (type, code) or (vendor, type or 0xffff, code)."""

    name: str
    version: int
    message: bytes
    error: tuple[int, ...]

    @property
    def body(self) -> bytes:
        """What the OFPT_ERROR begins with."""
        if len(self.error) == 2:
            return pack(">HH", *self.error)
        vendor, kind, code = self.error
        if self.version < V12:
            return pack(">HHIHH", _NX_ERROR, 0, vendor, kind, code)
        return pack(">HHI", _EXPERIMENTER, code, vendor)


def message(version: int, kind: int, body: bytes | str = b"") -> bytes:
    """A whole message."""
    return frame(version, kind, XID, bytes.fromhex(body) if isinstance(body, str) else body)


def flow_mod(version: int, instructions: bytes, wanted: Match = ANY, table_id: int = 0) -> bytes:
    """An addition to a table."""
    if version == V10:
        body = encode_ofp_match(wanted, V10)
        body += pack(">QHHHHIHH", 0, 0, 0, 0, 1, 0xFFFFFFFF, 0xFFFF, 0)
    else:
        body = pack(
            ">QQBBHHHIIIHH", 0, 0, table_id, 0, 0, 0, 1, 0xFFFFFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0, 0
        )
        body += encode_ofp_match(wanted, version)
    return message(version, 14, body + instructions)


def with_actions(version: int, actions: bytes, wanted: Match = ANY) -> bytes:
    """An addition of a flow that applies actions."""
    if version > V10:
        actions = pack(">HH4x", 4, 8 + len(actions)) + actions
    return flow_mod(version, actions, wanted)


def with_match(version: int, tlvs: bytes) -> bytes:
    """An addition of a flow with a match of OXM fields."""
    length = 4 + len(tlvs)
    padded = pack(">HH", 1, length) + tlvs + bytes(-length % 8)
    head = pack(">QQBBHHHIIIHH", 0, 0, 0, 0, 0, 0, 1, *(0xFFFFFFFF,) * 3, 0, 0)
    return message(version, 14, head + padded)


def multipart(version: int, kind: int, body: bytes) -> bytes:
    """A multipart request."""
    head = pack(">HH", kind, 0)
    if version == V10:
        return message(version, 16, head + body)
    return message(version, 18, head + bytes(4) + body)


TCP: Final = match(eth_type=0x800, nw_proto=6)
MPLS: Final = match(eth_type=0x8847)
VLAN: Final = match(vlan_vid=0x1005)
_KNOWN: Final = {"any": ANY, "tcp": TCP, "mpls": MPLS, "vlan": VLAN, "ip": match(eth_type=0x800)}


def _cases() -> list[Case]:
    out: list[Case] = []

    def add(name: str, version: int, raw: bytes, *error: int) -> None:
        out.append(Case(f"{name} in 1.{version - 1}", version, raw, error))

    for name, versions, kind, body, *error in OTHERS:
        for v in versions:
            add(name, v, message(v, kind, body), *error)
    for name, versions, wanted, actions, *error in (*ACTIONS, *VENDOR_ACTIONS):
        for v in versions:
            add(name, v, with_actions(v, bytes.fromhex(actions), _KNOWN[wanted]), *error)
    for name, versions, table_id, instructions, *error in INSTRUCTIONS:
        for v in versions:
            raw = flow_mod(v, bytes.fromhex(instructions), ANY, table_id)
            add(name, v, raw, *error)
    for name, tlvs, *error in MATCHES:
        add(name, V13, with_match(V13, bytes.fromhex(tlvs)), *error)
    for name, versions, body, *error in GROUPS:
        for v in versions:
            add(name, v, message(v, 15, body), *error)
    for name, body, *error in METERS:
        add(name, V13, message(V13, 29, body), *error)
    for name, versions, kind, body, *error in MULTIPARTS:
        for v in versions:
            add(name, v, multipart(v, kind, bytes.fromhex(body)), *error)
    wrong = bytes((V13 + 1,)) + message(V13, 20)[1:]
    add("a message of another version", V13, wrong, 1, 0)
    add(
        "a bundled message with another transaction",
        V14,
        message(V14, 34, pack(">I2xH", 1, 0) + frame(V14, 20, XID + 1)),
        17,
        9,
    )
    add(
        "a bundled message that is cut",
        V14,
        message(V14, 34, pack(">I2xH", 1, 0) + b"\5\x14\0\x20" + bytes(4)),
        17,
        8,
    )
    return out


CASES: Final = _cases()
