"""Reserved port numbers of OpenFlow."""

from __future__ import annotations

from enum import IntEnum


class OfPort(IntEnum):
    """Reserved port numbers, in their 32-bit form (OpenFlow 1.3.5, 7.2.1)."""

    MAX = 0xFFFFFF00
    IN_PORT = 0xFFFFFFF8
    TABLE = 0xFFFFFFF9
    NORMAL = 0xFFFFFFFA
    FLOOD = 0xFFFFFFFB
    ALL = 0xFFFFFFFC
    CONTROLLER = 0xFFFFFFFD
    LOCAL = 0xFFFFFFFE
    ANY = 0xFFFFFFFF  # OFPP_NONE in OpenFlow 1.0
