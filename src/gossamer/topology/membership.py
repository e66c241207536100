"""Which VLANs the ports of a bridge carry, and how a frame of one looks on them (IEEE 802.1Q)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from gossamer.topology.model import Topology
from gossamer.topology.names import patch_name


@dataclass(frozen=True, slots=True)
class Member:
    """A port of a bridge.

    `name` is as flows name it.  `native` is the VLAN of frames without a tag,
    0 for none of its own, None where such frames are refused; `tagged` has the
    VLANs that it carries with a tag, None for all.
    """

    name: str
    native: int | None
    tagged: frozenset[int] | None

    def form(self, vlan: int) -> str | None:
        """How frames of a VLAN leave: "untagged", "tagged", or None for not at all."""
        if vlan == self.native:
            return "untagged"
        if vlan and (self.tagged is None or vlan in self.tagged):
            return "tagged"
        return None


def members(topology: Topology, bridge: str) -> Iterator[Member]:
    """The ports that the file gives a bridge, its own among them."""
    for name, instance in topology.instances.items():
        for i, port in enumerate(instance.ports):
            if port.bridge == bridge and instance.host is None:
                yield _member(f'"{name}.eth{i}"', port.vlan, port.trunks, port.mode, port.protected)
    for patch in topology.patches:
        if bridge in patch.between:
            a, b = patch.between
            other = b if bridge == a else a
            yield _member(f'"{patch_name(bridge, other)}"', None, patch.trunks, None, False)
    for device in topology.bridges[bridge].devices:
        yield Member(f'"{device}"', 0, None)
    yield Member("LOCAL", 0, None)


def _member(
    name: str, vlan: int | None, trunks: tuple[int, ...], mode: str | None, protected: bool
) -> Member:
    if vlan is None:
        if protected:
            return Member(name, 0, frozenset())
        # As Open vSwitch has it: frames without a tag are of VLAN 0, which no list of trunks names.
        return Member(name, None if trunks else 0, frozenset(trunks) if trunks else None)
    if mode in (None, "access"):
        return Member(name, vlan, frozenset())
    tagged = frozenset(trunks) if trunks else None
    if mode == "native-tagged":
        return Member(name, None, None if tagged is None else tagged | {vlan})
    return Member(name, vlan, tagged)
