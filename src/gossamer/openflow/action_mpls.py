"""Actions on MPLS labels, whichever version they come from."""

from __future__ import annotations

from typing import Final

from gossamer.openflow.error import ErrorCode, OpenFlowError
from gossamer.pipeline import action as act
from gossamer.pipeline.fields import BY_NAME, ETH_MPLS, ETH_MPLS_MC

_LABEL: Final = BY_NAME["mpls_label"]
_TC: Final = BY_NAME["mpls_tc"]
_TTL: Final = BY_NAME["mpls_ttl"]


def push_mpls(ethertype: int) -> act.PushMpls:
    """Raises OpenFlowError(BAD_ARGUMENT) for what is no ethertype of MPLS."""
    if ethertype not in (ETH_MPLS, ETH_MPLS_MC):
        raise OpenFlowError(ErrorCode.BAD_ACTION_BAD_ARGUMENT, f"ethertype {ethertype:#06x}")
    return act.PushMpls(ethertype)


def set_label(label: int) -> act.NamedSet:
    """OFPAT_SET_MPLS_LABEL.  Raises OpenFlowError(BAD_ARGUMENT) for more than 20 bits."""
    if label >> 20:
        raise OpenFlowError(ErrorCode.BAD_ACTION_BAD_ARGUMENT, f"label {label:#x}")
    return act.NamedSet(_LABEL, label, 0xFFFFF, "set_mpls_label")


def set_tc(tc: int) -> act.NamedSet:
    """OFPAT_SET_MPLS_TC.  Raises OpenFlowError(BAD_ARGUMENT) for more than 3 bits."""
    if tc >> 3:
        raise OpenFlowError(ErrorCode.BAD_ACTION_BAD_ARGUMENT, f"traffic class {tc:#x}")
    return act.NamedSet(_TC, tc, 7, "set_mpls_tc")


def set_ttl(ttl: int) -> act.NamedSet:
    """OFPAT_SET_MPLS_TTL."""
    return act.NamedSet(_TTL, ttl, 0xFF, "set_mpls_ttl")
