"""Actions of connection tracking: ct and what is in it, ct_clear."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from gossamer.pipeline.action import Action, SubField


@dataclass(frozen=True, slots=True)
class Nat(Action):
    """How ct() translates the addresses of a connection (ovs-actions(7), nat; NXAST_NAT).

    With neither `src` nor `dst`, packets of a connection that is translated are translated as it
    is, and new ones are left alone.  `addresses` are the first and the last to choose from, as
    IPv4 (4 bytes) or IPv6 (16 bytes) in network order, or None; `ports` the first and the last
    port, or None; a range of one has its member twice.
    """

    src: bool = False
    dst: bool = False
    addresses: tuple[bytes, bytes] | None = None
    ports: tuple[int, int] | None = None
    persistent: bool = False
    hash: bool = False
    random: bool = False


CT_ALG_FTP: Final = 21
CT_ALG_TFTP: Final = 69


@dataclass(frozen=True, slots=True)
class Ct(Action):
    """Send the packet through connection tracking (ovs-actions(7), ct; NXAST_CT).

    `table`: where a copy that knows its connection (ct_state and the like) goes on, or None;
    `zone_field`: where the zone is read from, in place of `zone`; `alg`: 0, CT_ALG_FTP or
    CT_ALG_TFTP; `actions`: the exec(...) part, changes of ct_mark and ct_label alone (SetField,
    RegLoad, RegMove).  docs/conntrack.md has the rules.
    """

    commit: bool = False
    force: bool = False
    table: int | None = None
    zone: int = 0
    zone_field: SubField | None = None
    nat: Nat | None = None
    alg: int = 0
    actions: tuple[Action, ...] = ()


@dataclass(frozen=True, slots=True)
class CtClear(Action):
    """Forget what tracking said of the packet: ct_state and all other ct_* are zero
    (NXAST_CT_CLEAR)."""
