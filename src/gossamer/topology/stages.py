"""The tables of a bridge whose ports have stateful rules or translated addresses.

A frame passes them in the order of their numbers; docs/security-groups.md shows
what each decides.  A bridge without such ports has none of them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from enum import IntEnum
from typing import Final


class Stage(IntEnum):
    """Tables, by what they decide."""

    ADMIT = 0
    """Which VLAN a frame belongs to, as its port has it."""
    SENDER = 10
    """Whether the sender's addresses are its own."""
    SENDER_RULES = 20
    """Whether the sender may begin this connection, or answer on it."""
    SENDER_ACCEPT = 30
    """It may: remember the connection."""
    SOURCE_NAT = 40
    """From a router that hides addresses: is the connection known?"""
    SOURCE_NAT_RULES = 50
    """It is new: which address does it get?"""
    TARGET_NAT = 60
    """To such a router: is the connection known?  Who has a translated address?"""
    TARGET_NAT_RULES = 70
    """It is new: whose address is meant?"""
    RECEIVER = 80
    """Which port the frame is for, and whether rules protect it."""
    GROUPCAST = 85
    """Broadcasts and multicasts to protected ports: one packet, no connection."""
    RECEIVER_BASICS = 90
    """ARP, neighbour discovery and DHCP pass; of the rest, is the connection known?"""
    RECEIVER_RULES = 100
    """Whether the receiver lets this connection begin, or has begun it."""
    RECEIVER_ACCEPT = 110
    """It does: remember the connection."""
    DELIVER = 120
    """Forward as a bridge does."""


RECEIVER_PORT: Final = "reg5"
VLAN: Final = "reg6"
ZONE: Final = "reg7"
LOAD_VLAN: Final = "NXM_NX_REG6[]"
LOAD_PORT: Final = "NXM_NX_REG5[]"
LOAD_ZONE: Final = "NXM_NX_REG7[]"
ZONE_BITS: Final = "NXM_NX_REG7[0..15]"
_ZONES: Final = 65535


def go(stage: Stage) -> str:
    """The action that takes a packet to a stage."""
    return f"resubmit(,{int(stage)})"


HELPED: Final = {"tcp,tp_dst=21": "ftp", "tcp6,tp_dst=21": "ftp", "udp,tp_dst=69": "tftp", "udp6,tp_dst=69": "tftp"}
"""Connections that announce others, by the ports they go to (RFC 959, RFC 1350)."""


class FlowList:
    """Flows in the syntax of ovs-ofctl(8), one of each match."""

    def __init__(self) -> None:
        self._flows: dict[tuple[int, int, str], str] = {}

    def add(self, stage: Stage, priority: int, match: str, actions: str) -> None:
        """Add a flow; the first of two with one match counts."""
        self._flows.setdefault((int(stage), priority, match), actions)

    def lines(self) -> list[str]:
        """All, by table and priority."""
        return [
            f"table={table},priority={priority}{',' if match else ''}{match},actions={actions}"
            for (table, priority, match), actions in sorted(
                self._flows.items(), key=lambda f: (f[0][0], -f[0][1])
            )
        ]


def zones(topology: str, names: Iterable[str]) -> dict[str, int]:
    """A connection tracking zone for each name: the same every time, and no two alike."""
    out: dict[str, int] = {}
    taken: set[int] = set()
    for name in names:
        zone, again = 0, 0
        while not zone or zone in taken:
            digest = hashlib.sha256(f"{topology}/{name}/{again}".encode()).digest()
            zone, again = int.from_bytes(digest[:4], "big") % _ZONES + 1, again + 1
        taken.add(zone)
        out[name] = zone
    return out
