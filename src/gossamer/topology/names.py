"""Names and addresses that follow from those in the file: the same every time."""

from __future__ import annotations

import hashlib
from typing import Final

_DEVICE_NAME_LENGTH: Final = 15
_DIGITS: Final = "0123456789abcdefghijklmnopqrstuvwxyz"


def netns_name(topology: str, instance: str) -> str:
    """The network namespace of an instance."""
    return f"{topology}-{instance}"


def veth_name(topology: str, instance: str, index: int) -> str:
    """The host's end of an instance's port; at most 15 characters, the same every time."""
    number = int.from_bytes(_digest(f"{topology}/{instance}")[:8], "big")
    short = "".join(_DIGITS[number // 36**i % 36] for i in range(5))
    suffix = f"-{short}.{index}"
    return instance[: _DEVICE_NAME_LENGTH - len(suffix)] + suffix


def default_mac(topology: str, instance: str, index: int) -> str:
    """The address of a port that the file gives none: locally administered, the same every time."""
    return "02:" + _digest(f"{topology}/{instance}/{index}")[:5].hex(":")


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def patch_name(here: str, there: str) -> str:
    """A patch port on bridge `here`."""
    return f"{here}-to-{there}"
