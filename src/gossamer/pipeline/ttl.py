"""Times to live counted down; where none is left the packet ends, and controllers may hear of it."""

from __future__ import annotations

from typing import Final

from gossamer.pipeline import action as act
from gossamer.pipeline import labels
from gossamer.pipeline.emit import emit
from gossamer.pipeline.fields import (
    BY_NAME,
    ETH_IPV4,
    ETH_IPV6,
    ETH_NSH,
    get,
    get_slot,
    put,
    put_slot,
)
from gossamer.pipeline.result import Reason
from gossamer.pipeline.state import At, State
from gossamer.pipeline.steps import Drop

_NSH_TTL: Final = BY_NAME["nsh_ttl"]


def dec_ttl(state: State, action: act.DecTtl, at: At) -> bool:
    """That of IP; False where the list of actions ends."""
    if get_slot(state.key, "eth_type") not in (ETH_IPV4, ETH_IPV6):
        return True
    ttl = get_slot(state.key, "nw_ttl")
    if ttl > 1:
        state.key = put_slot(state.key, "nw_ttl", ttl - 1)
        return True
    for controller_id in action.controller_ids:
        _tell(state, controller_id, at)
    version = 4 if get_slot(state.key, "eth_type") == ETH_IPV4 else 6
    at.step.warn(f"IPv{version} decrement TTL exception", Drop.TTL)
    return False


def dec_nsh_ttl(state: State, at: At) -> bool:
    """That of a network service header."""
    if get_slot(state.key, "eth_type") == ETH_NSH:
        ttl = get(state.key, _NSH_TTL)
        if ttl > 1:
            state.key = put(state.key, _NSH_TTL, ttl - 1)
            return True
        _tell(state, 0, at)
    at.step.warn("NSH decrement TTL exception", Drop.TTL)
    return False


def dec_mpls_ttl(state: State, at: At) -> bool:
    """That of the outermost label."""
    if labels.is_mpls(get_slot(state.key, "eth_type")):
        ttl = labels.ttl_of(get_slot(state.key, "mpls_lse0"))
        if ttl > 1:
            state.key = labels.with_ttl(state.key, 0, ttl - 1)
            return True
        _tell(state, 0, at)
    at.step.warn("MPLS decrement TTL exception", Drop.TTL)
    return False


def _tell(state: State, controller_id: int, at: At) -> None:
    to = act.Controller(controller_id=controller_id, reason=Reason.INVALID_TTL)
    emit(state, to, at, Reason.INVALID_TTL)
