"""Parts of a key that are no headers, as masks."""

from __future__ import annotations

from typing import Final

from gossamer.pipeline.fields import KEY_LEN, PACKET_OFFSET, SLOTS

_STATE_END: Final = SLOTS["tun_id"].offset
STATE_BITS: Final = ((1 << (_STATE_END - SLOTS["metadata"].offset) * 8) - 1) << (
    (KEY_LEN - _STATE_END) * 8
)
"""Metadata and registers: zero when a packet enters a bridge."""
_TUNNEL_END: Final = SLOTS["pkt_mark"].offset
TUNNEL_BITS: Final = ((1 << (_TUNNEL_END - _STATE_END) * 8) - 1) << ((KEY_LEN - _TUNNEL_END) * 8)
"""What a packet brought out of its tunnel: gone when it enters another bridge."""
BESIDE_HEADERS: Final = ((1 << PACKET_OFFSET * 8) - 1) << ((KEY_LEN - PACKET_OFFSET) * 8)
"""What a key says of a packet that is not in its headers."""
