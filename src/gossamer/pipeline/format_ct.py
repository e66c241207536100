"""Connection tracking as text, the way ovs-ofctl(8) writes it (ovs-actions(7))."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from gossamer.pipeline import action as act
from gossamer.pipeline.action_ct import CT_ALG_FTP, CT_ALG_TFTP, Ct, Nat
from gossamer.pipeline.format_field import format_ip, format_subfield

_IPV6_BITS: Final = 128
_ALGS: Final = {CT_ALG_FTP: "ftp", CT_ALG_TFTP: "tftp"}


def format_ct(action: Ct, format_list: Callable[[act.Actions], str]) -> str:
    """A ct action; `format_list` writes the actions inside of exec(...)."""
    parts = []
    if action.commit:
        parts.append("commit")
    if action.force:
        parts.append("force")
    if action.table is not None:
        parts.append(f"table={action.table}")
    if action.zone_field is not None:
        parts.append(f"zone={format_subfield(action.zone_field)}")
    elif action.zone:
        parts.append(f"zone={action.zone}")
    if action.nat is not None:
        parts.append(format_nat(action.nat))
    if action.actions:
        parts.append(f"exec({format_list(action.actions)})")
    if action.alg:
        parts.append(f"alg={_ALGS.get(action.alg, action.alg)}")
    return f"ct({','.join(parts)})"


def format_nat(nat: Nat) -> str:
    """The nat part of a ct action."""
    if not (nat.src or nat.dst):
        return "nat"
    head = "src" if nat.src else "dst"
    parts = [f"{head}={_range(nat)}" if nat.addresses else head]
    if nat.addresses:
        parts += [name for name in ("persistent", "hash", "random") if getattr(nat, name)]
    return f"nat({','.join(parts)})"


def _range(nat: Nat) -> str:
    assert nat.addresses is not None
    first, last = (_address(a, bracket=nat.ports is not None) for a in nat.addresses)
    text = first if first == last else f"{first}-{last}"
    if nat.ports is not None:
        low, high = nat.ports
        text += f":{low}" if low == high else f":{low}-{high}"
    return text


def _address(packed: bytes, *, bracket: bool) -> str:
    n_bits = 8 * len(packed)
    text = format_ip(int.from_bytes(packed, "big"), (1 << n_bits) - 1, n_bits)
    return f"[{text}]" if bracket and n_bits == _IPV6_BITS else text
