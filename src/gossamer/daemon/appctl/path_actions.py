"""What a cached path does, in datapath actions (ovs-dpctl(8), "dump-flows").

The kernel keeps a path as a flat list of operations (bpf/program.h, enum
path_op).  Writes of the key are gathered and shown before the next output, as
the peer commits them; NORMAL and floods are decided packet by packet here, so
they are shown as what they are and not as a list of ports.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Final

from gossamer.daemon.appctl.odp_actions import (
    pop_mpls,
    push_mpls,
    push_vlan,
    set_actions,
    to_controller,
)
from gossamer.daemon.appctl.paths import CachedPath, Op, PathOp, in_key
from gossamer.datapath.operations import CtDo
from gossamer.pipeline import labels
from gossamer.pipeline.change import pop_vlan as pop_vlan_tag
from gossamer.pipeline.change import push_vlan as push_vlan_tag
from gossamer.pipeline.fields import VLAN_CFI, get_slot, put_slot
from gossamer.pipeline.header_changes import ct_exec
from gossamer.pipeline.match import Match

PortById = Callable[[int], str]
CookieOf = Callable[[int], int]
"""The cookie of a rule, given its flow id."""

_LABEL: Final = put_slot(0, "mpls_lse0", 0xFFFFFFFF)
_TAG_WORDS: Final = put_slot(0, "vlan_tci", 0xFFFF) | put_slot(0, "vlan_tpid", 0xFFFF)
_FIRST_CLASS: Final = 1 << 16
_PLAIN: Final = {
    PathOp.NORMAL: "normal",
    PathOp.FLOOD: "flood",
    PathOp.ALL: "all",
}


NatOf = Callable[[int], str]
"""What nat() says, given its range's number; 0 for one without."""


def path_actions(
    path: CachedPath, port: PortById, cookie_of: CookieOf, nat_of: NatOf = lambda _: "nat"
) -> str:
    """The actions of a path; ``drop`` where it ends nowhere."""
    return _Writer(path, port, cookie_of, nat_of).text()


class _Writer:
    def __init__(
        self, path: CachedPath, port: PortById, cookie_of: CookieOf, nat_of: NatOf
    ) -> None:
        self.path = path
        self.port = port
        self.cookie_of = cookie_of
        self.nat_of = nat_of
        self.key = path.match.value
        """What is known of the packet, as changed so far."""
        self.value = self.mask = 0
        """Bits written and not shown yet."""
        self.saved: list[int] = []
        self.pushed: list[int] = []
        """Ethertypes of tags pushed and not shown yet."""
        self.label = 0
        """The ethertype of a label pushed and not shown yet, 0 where there is none."""
        self.out: list[list[str]] = [[]]
        """The list being written, and those it is inside of."""
        self.tracked: list[Op] = []
        """Changes of mark and label that the next ct() makes."""

    def text(self) -> str:
        for op in self.path.ops:
            self.op(op)
        # What nothing follows needs no clone: nobody sees what would be put back.
        return ",".join(action for actions in self.out for action in actions) or "drop"

    def op(self, op: Op) -> None:
        match op.code:
            case PathOp.SET:
                bits = in_key(op.a, op.c)
                self.value = self.value & ~bits | in_key(op.a, op.b)
                self.mask |= bits
                self.key = self.key & ~bits | in_key(op.a, op.b)
            case PathOp.PUSH_VLAN:
                self.commit()
                self.pushed.append(op.ethertype)
                self.key = push_vlan_tag(self.key, op.ethertype) or self.key
            case PathOp.POP_VLAN:
                if self.pushed:
                    self.pushed.pop()
                    self.mask &= ~_TAG_WORDS
                else:
                    self.emit("pop_vlan")
                self.key = pop_vlan_tag(self.key)
            case PathOp.PUSH_MPLS:
                self.commit()
                self.label = op.ethertype
                self.key = labels.push(self.key, op.ethertype) or self.key
            case PathOp.POP_MPLS:
                if self.label:
                    self.label = 0
                    self.mask &= ~_LABEL
                else:
                    self.emit(pop_mpls(op.ethertype))
                self.key = labels.pop(self.key, op.ethertype)
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
                self.saved.append(self.key)
            case PathOp.RESTORE:
                if len(self.out) > 1:
                    self.end_clone()
            case PathOp.METER:
                self.emit(f"meter({op.b})")
            case PathOp.TRUNCATE:
                self.emit(f"trunc({op.b})")
            case PathOp.QUEUE:
                self.emit(f"set(skb_priority({_FIRST_CLASS | op.b:#x}))" if op.b else "set(skb_priority(0))")
            case PathOp.CT_SET:
                self.tracked.append(op)
            case PathOp.CT:
                self.emit(self.ct(op))
                if op.flags & CtDo.TABLE:
                    self.emit(f"recirc({op.c + 1:#x})")  # as recirc_id() of odp_match.py has it
            case PathOp.CT_CLEAR:
                self.emit("ct_clear")
            case PathOp.NOTHING | PathOp.DROP | PathOp.TELL:
                pass  # nothing of the packet comes out of these
            case _:
                self.emit(f"op({op.code})")  # of a newer datapath than this text knows

    def ct(self, op: Op) -> str:
        """A ct() action as datapaths show it, with what was to be set of mark and label."""
        parts = ["commit"] if op.flags & CtDo.COMMIT else []
        if op.flags & CtDo.FORCE:
            parts = ["force_commit"]
        parts += [f"zone={op.a}"] if op.a else []
        words, masks = [0] * 5, [0] * 5
        for change in self.tracked:
            words[change.a], masks[change.a] = _host(change.b), _host(change.c)
        self.tracked.clear()
        parts += ct_exec((words[0], masks[0]), (_label(words[1:]), _label(masks[1:])))
        if op.flags & (CtDo.FTP | CtDo.TFTP):
            parts.append(f"helper={'ftp' if op.flags & CtDo.FTP else 'tftp'}")
        if op.flags & CtDo.NAT:
            parts.append(self.nat_of(op.b))
        return f"ct({','.join(parts)})" if parts else "ct"

    def end_clone(self) -> None:
        self.value = self.mask = self.label = 0
        self.pushed.clear()
        self.key = self.saved.pop()
        inside = self.out.pop()
        if inside:
            self.out[-1].append(f"clone({','.join(inside)})")

    def emit(self, text: str) -> None:
        self.commit()
        self.out[-1].append(text)

    def commit(self) -> None:
        """Show what was written."""
        key, known = self.key, self.path.match
        if self.label:
            self.mask &= ~_LABEL
        eth_type = get_slot(key, "eth_type")
        proto = get_slot(key, "nw_proto") if get_slot(known.mask, "nw_proto") else -1
        self.out[-1] += set_actions(Match(self.value & self.mask, self.mask), eth_type, proto)
        if self.label:
            self.out[-1].append(push_mpls(self.label, get_slot(key, "mpls_lse0")))
        tci, tci_mask = get_slot(key, "vlan_tci"), get_slot(self.mask, "vlan_tci")
        if self.pushed:
            *below, top = self.pushed
            self.out[-1] += [push_vlan(tpid, 0) for tpid in below]
            self.out[-1].append(push_vlan(top, tci & ~VLAN_CFI))
        elif tci_mask & VLAN_CFI and not tci & VLAN_CFI:
            self.out[-1].append("pop_vlan")
        elif tci_mask & ~VLAN_CFI:
            had_tag = get_slot(known.value, "vlan_tci") & VLAN_CFI
            self.out[-1] += ["pop_vlan"] if had_tag else []
            self.out[-1].append(push_vlan(0, tci & ~VLAN_CFI))
        self.value = self.mask = self.label = 0
        self.pushed.clear()


def _host(word: int) -> int:
    """A key word of an operation, as a number."""
    return int.from_bytes(word.to_bytes(4, sys.byteorder), "big")


def _label(words: list[int]) -> int:
    return int.from_bytes(b"".join(w.to_bytes(4, "big") for w in words), "big")
