"""Which bits of the key tell what an action does to a packet: they belong in a megaflow."""

from __future__ import annotations

from typing import Final

from gossamer.pipeline import action as act
from gossamer.pipeline.action import Action
from gossamer.pipeline.action_choice import Bundle, Multipath
from gossamer.pipeline.action_ct import Ct
from gossamer.pipeline.links import looks_at
from gossamer.pipeline.match import slot_mask
from gossamer.pipeline.of_port import OfPort

_NORMAL: Final = (
    slot_mask("eth_dst", (1 << 48) - 1)
    | slot_mask("eth_src", (1 << 48) - 1)
    | slot_mask("vlan_tci", 0x1FFF)
)
_LABELS: Final = (
    slot_mask("mpls_lse0", (1 << 32) - 1)
    | slot_mask("mpls_lse1", (1 << 32) - 1)
    | slot_mask("mpls_lse2", (1 << 32) - 1)
)


def looked_at(action: Action) -> int:
    """The bits that `action` itself looks at."""
    match action:
        case act.Output(port=OfPort.NORMAL):
            return _NORMAL
        case act.DecTtl():
            return slot_mask("nw_ttl", 0xFF)
        case act.DecMplsTtl() | act.PushMpls() | act.PopMpls() | act.CopyTtlIn() | act.CopyTtlOut():
            return _LABELS
        case Multipath(fields=fields) | Bundle(fields=fields):
            return looks_at(fields)
        case act.SetField(field=f, mask=mask):
            return mask << f.shift
        case (
            act.RegLoad(dst=sub)
            | act.RegMove(src=sub)
            | act.OutputReg(source=sub)
            | act.StackPush(source=sub)
            | act.StackPop(dst=sub)
            | Ct(zone_field=act.SubField() as sub)
        ):
            return ((1 << sub.n_bits) - 1) << sub.shift
        case _:
            return 0
