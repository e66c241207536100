"""Fields that are views of others: registers side by side, and in_port under its other names."""

from __future__ import annotations

from typing import Final

from gossamer.pipeline.fields import NONE, NXM_0, NXM_1, OXM_BASIC, OXM_PACKET_REGS, Field

NXM_IN_PORT: Final = Field("in_port", "in_port", 32, 2, None, (NXM_0, 0), False, True, NONE)
"""NXM_OF_IN_PORT: in_port, spelled with OpenFlow 1.0's 16-bit numbers."""

IN_PHY_PORT: Final = Field(
    "in_phy_port", "in_port", 32, 4, (OXM_BASIC, 1), None, False, False, NONE
)
"""The physical port below in_port: every port of ours is its own."""

XREGS: Final = tuple(
    Field(f"xreg{i}", f"reg{2 * i + 1}", 64, 8, (OXM_PACKET_REGS, i), None, True, True, NONE)
    for i in range(8)
)
"""OXM_OF_PKT_REG: two registers side by side; the second holds the lower bits."""
XXREGS: Final = tuple(
    Field(f"xxreg{i}", f"reg{4 * i + 3}", 128, 16, None, (NXM_1, 111 + i), True, True, NONE)
    for i in range(4)
)
"""Four registers side by side."""

_NAMED_BITS: Final = {"arp_op": 16, "vlan_vid": 12, "tun_flags": 1}


def named_bits(field: Field) -> int:
    """How many bits a field has to those who name its bits, as in ``OXM_OF_VLAN_VID[0..11]``.

    The others of the wire, or of the key, mean something else or nothing.
    """
    if field.nxm == NXM_IN_PORT.nxm:
        return 16
    return _NAMED_BITS.get(field.name, field.n_bits)
