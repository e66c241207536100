"""Connection tracking on the wire: NXAST_CT, NXAST_NAT, NXAST_CT_CLEAR (ovs-actions(7)).

The actions that follow ct's own 24 bytes run inside of it: one NXAST_NAT, and changes of ct_mark
and ct_label.
"""

from __future__ import annotations

from collections.abc import Callable
from struct import unpack_from
from typing import Final

from gossamer.openflow.action_field import short_field_at, source
from gossamer.openflow.action_frame import be, nicira, nxm, packed_bits
from gossamer.openflow.error import ErrorCode, OpenFlowError
from gossamer.pipeline import action as act
from gossamer.pipeline.action import Action, Actions
from gossamer.pipeline.action_ct import Ct, Nat

_CT, _NAT, _CT_CLEAR = 35, 36, 43
_COMMIT, _FORCE = 1, 2
_NO_TABLE: Final = 0xFF
_CT_BYTES: Final = 24
_ZONE_BITS: Final = 16
_SRC, _DST, _PERSISTENT, _HASH, _RANDOM = 1, 2, 4, 8, 16
_IPV4_MIN, _IPV4_MAX, _IPV6_MIN, _IPV6_MAX, _PORT_MIN, _PORT_MAX = 1, 2, 4, 8, 16, 32


def _argument(why: str) -> OpenFlowError:
    return OpenFlowError(ErrorCode.BAD_ACTION_BAD_ARGUMENT, why)


def decode_ct(body: bytes, nested: Callable[[bytes], Actions]) -> Ct:
    """NXAST_CT; `nested` reads the actions inside.  Raises OpenFlowError."""
    flags, zone_head, zone, table = unpack_from(">H4sHB", body, 10)
    alg = unpack_from(">H", body, 22)[0]
    commit, force = bool(flags & _COMMIT), bool(flags & _FORCE)
    if force and not commit:
        raise _argument("force needs commit")
    zone_field: act.SubField | None = None
    if any(zone_head):
        n_bits = (zone & 63) + 1
        zone_field = source(short_field_at(body, 12), zone >> 6, n_bits)
        if n_bits != _ZONE_BITS:
            raise OpenFlowError(ErrorCode.BAD_ACTION_BAD_SET_LEN, f"a zone of {n_bits} bits")
        zone = 0
    nat: Nat | None = None
    actions: list[Action] = []
    for action in nested(body[_CT_BYTES:]):
        if isinstance(action, Nat):
            nat = action
        else:
            actions.append(action)
    if not commit and (actions or (nat is not None and nat != Nat())):
        raise _argument("what ct runs needs commit, but nat without arguments")
    return Ct(
        commit, force, None if table == _NO_TABLE else table, zone, zone_field, nat, alg,
        tuple(actions),
    )  # fmt: skip


def encode_ct(action: Ct, inside: bytes) -> bytes:
    """NXAST_CT with the bytes of what runs inside (its NAT aside)."""
    flags = action.commit * _COMMIT | action.force * _FORCE
    if action.zone_field is not None:
        zone = nxm(action.zone_field.field) + packed_bits(action.zone_field)
    else:
        zone = bytes(4) + be(action.zone, 2)
    table = _NO_TABLE if action.table is None else action.table
    body = be(flags, 2) + zone + be(table, 1) + bytes(3) + be(action.alg, 2)
    nat = encode_nat(action.nat) if action.nat is not None else b""
    return nicira(_CT, body + nat + inside)


def encode_ct_clear() -> bytes:
    """NXAST_CT_CLEAR."""
    return nicira(_CT_CLEAR, b"")


def decode_nat(body: bytes) -> Nat:
    """NXAST_NAT.  Raises OpenFlowError(BAD_ARGUMENT)."""
    flags, present = unpack_from(">HH", body, 12)
    if flags >> 5 or flags & 3 == 3 or flags & (_HASH | _RANDOM) == _HASH | _RANDOM:
        raise _argument(f"flags {flags:#x} of nat")
    options = _Options(body[16:])
    addresses = _addresses(options, present)
    ports: tuple[int, int] | None = None
    if present & _PORT_MIN:
        low = int.from_bytes(options.take(2), "big")
        if addresses is None or not low:
            raise _argument("ports need addresses")
        high = int.from_bytes(options.take(2), "big") if present & _PORT_MAX else low
        if high < low:
            raise _argument(f"ports {low} to {high}")
        ports = low, high
    elif present & _PORT_MAX:
        raise _argument("a last port without a first one")
    return Nat(
        bool(flags & _SRC), bool(flags & _DST), addresses, ports, bool(flags & _PERSISTENT),
        bool(flags & _HASH), bool(flags & _RANDOM),
    )  # fmt: skip


def _addresses(options: _Options, present: int) -> tuple[bytes, bytes] | None:
    if present & _IPV4_MIN:
        length, has_last = 4, present & _IPV4_MAX
        if present & (_IPV6_MIN | _IPV6_MAX):
            raise _argument("addresses of both families")
    elif present & _IPV4_MAX:
        raise _argument("a last address without a first one")
    elif present & _IPV6_MIN:
        length, has_last = 16, present & _IPV6_MAX
    elif present & _IPV6_MAX:
        raise _argument("a last address without a first one")
    else:
        return None
    first = options.take(length)
    last = options.take(length) if has_last else first
    if not any(first) or last < first:
        raise _argument("a range of addresses that is none")
    return first, last


class _Options:
    """What follows the fixed part of NXAST_NAT, taken from the front."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def take(self, length: int) -> bytes:
        taken, self.data = self.data[:length], self.data[length:]
        if len(taken) < length:
            raise _argument("nat is shorter than it says")
        return taken


def encode_nat(nat: Nat) -> bytes:
    """NXAST_NAT; a range of one goes without its end."""
    flags = (
        nat.src * _SRC | nat.dst * _DST | nat.persistent * _PERSISTENT | nat.hash * _HASH
        | nat.random * _RANDOM
    )  # fmt: skip
    present, options = 0, b""
    if nat.addresses is not None:
        first, last = nat.addresses
        is_ipv4 = len(first) == 4
        present |= _IPV4_MIN if is_ipv4 else _IPV6_MIN
        options += first
        if last != first:
            present |= _IPV4_MAX if is_ipv4 else _IPV6_MAX
            options += last
        if nat.ports is not None:
            low, high = nat.ports
            present |= _PORT_MIN
            options += be(low, 2)
            if high != low:
                present |= _PORT_MAX
                options += be(high, 2)
    return nicira(_NAT, bytes(2) + be(flags, 2) + be(present, 2) + options)
