"""What a cached path does, in datapath actions (ovs-dpctl(8), "dump-flows").

The kernel keeps a path as a flat list of operations (bpf/program.h, enum
path_op).  Writes of the key are gathered and shown before the next output, as
the peer commits them; NORMAL and floods are decided packet by packet here, so
they are shown as what they are and not as a list of ports.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from gossamer.daemon.appctl.odp_actions import push_vlan, set_actions, to_controller
from gossamer.daemon.appctl.paths import CachedPath, Op, PathOp, in_key
from gossamer.pipeline.fields import VLAN_CFI, get_slot, put_slot, slot_shift
from gossamer.pipeline.match import Match

PortById = Callable[[int], str]
CookieOf = Callable[[int], int]
"""The cookie of a rule, given its flow id."""

_VLAN: Final = put_slot(0, "vlan_tci", 0xFFFF)
_TAG_WORDS: Final = _VLAN | put_slot(0, "vlan_tpid", 0xFFFF)
_PLAIN: Final = {
    PathOp.NORMAL: "normal",
    PathOp.FLOOD: "flood",
    PathOp.ALL: "all",
}


def path_actions(path: CachedPath, port: PortById, cookie_of: CookieOf) -> str:
    """The actions of a path; ``drop`` where it ends nowhere."""
    return _Writer(path, port, cookie_of).text()


class _Writer:
    def __init__(self, path: CachedPath, port: PortById, cookie_of: CookieOf) -> None:
        self.path = path
        self.port = port
        self.cookie_of = cookie_of
        self.value = self.mask = 0
        """Bits written and not shown yet."""
        self.pushed: list[int] = []
        """Ethertypes of tags pushed and not shown yet."""
        self.out: list[list[str]] = [[]]
        """The list being written, and those it is inside of."""

    def text(self) -> str:
        for op in self.path.ops:
            self.op(op)
        while len(self.out) > 1:
            self.end_clone()
        return ",".join(self.out[0]) or "drop"

    def op(self, op: Op) -> None:
        match op.code:
            case PathOp.SET:
                bits = in_key(op.a, op.c)
                self.value = self.value & ~bits | in_key(op.a, op.b)
                self.mask |= bits
            case PathOp.PUSH_VLAN:
                self.commit()
                self.pushed.append(op.a)
            case PathOp.POP_VLAN:
                if self.pushed:
                    self.pushed.pop()
                    self.mask &= ~_TAG_WORDS
                else:
                    self.emit("pop_vlan")
            case PathOp.OUTPUT:
                self.emit(self.port(op.b))
            case PathOp.NORMAL | PathOp.FLOOD | PathOp.ALL:
                self.emit(_PLAIN[PathOp(op.code)])
            case PathOp.CONTROLLER:
                self.emit(
                    to_controller(
                        op.b >> 16,
                        op.b & 0xFFFF,
                        op.a or 0xFFFF,
                        self.cookie_of(op.d),
                        dont_send=False,
                        pause=False,
                    )
                )
            case PathOp.SAVE:
                self.commit()
                self.out.append([])
            case PathOp.RESTORE:
                if len(self.out) > 1:
                    self.end_clone()
            case PathOp.METER:
                self.emit(f"meter({op.b})")
            case PathOp.TRUNCATE:
                self.emit(f"trunc({op.b})")
            case PathOp.NOTHING | PathOp.DROP | PathOp.TELL:
                pass  # nothing of the packet comes out of these
            case _:
                self.emit(f"op({op.code})")  # of a newer datapath than this text knows

    def end_clone(self) -> None:
        self.value = self.mask = 0
        self.pushed.clear()
        inside = self.out.pop()
        if inside:
            self.out[-1].append(f"clone({','.join(inside)})")

    def emit(self, text: str) -> None:
        self.commit()
        self.out[-1].append(text)

    def commit(self) -> None:
        """Show what was written."""
        known = self.path.match
        eth_type = get_slot(known.value, "eth_type")
        proto = get_slot(known.value, "nw_proto") if get_slot(known.mask, "nw_proto") else -1
        self.out[-1] += set_actions(Match(self.value & self.mask, self.mask), eth_type, proto)
        tci_mask = get_slot(self.mask, "vlan_tci")
        tci = get_slot(self.value, "vlan_tci") & tci_mask
        if self.pushed:
            # A pushed tag begins as a copy of the one below it.
            tci |= get_slot(known.value, "vlan_tci") & ~tci_mask
            *below, top = self.pushed
            self.out[-1] += [push_vlan(tpid, 0) for tpid in below]
            self.out[-1].append(push_vlan(top, tci & ~VLAN_CFI))
        elif tci_mask & VLAN_CFI and not tci & VLAN_CFI:
            self.out[-1].append("pop_vlan")
        elif tci_mask & ~VLAN_CFI:
            had_tag = known.value >> slot_shift("vlan_tci") & VLAN_CFI
            self.out[-1] += ["pop_vlan"] if had_tag else []
            tci |= get_slot(known.value, "vlan_tci") & ~tci_mask
            self.out[-1].append(push_vlan(0, tci & ~VLAN_CFI))
        self.value = self.mask = 0
        self.pushed.clear()
