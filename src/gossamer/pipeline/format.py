"""Matches, actions and packets as text, the way ovs-ofctl(8) and ovs-appctl(8) write them."""

from __future__ import annotations

from gossamer.pipeline.format_action import format_action, format_actions
from gossamer.pipeline.format_field import (
    TCP_FLAGS,
    PortNames,
    format_frag,
    format_hex,
    format_ip,
    format_mac,
    format_port,
    format_subfield,
    format_tcp_flags,
    format_value,
)
from gossamer.pipeline.format_match import (
    DEFAULT_PRIORITY,
    exact_match,
    format_key,
    format_match,
)

__all__ = [
    "DEFAULT_PRIORITY",
    "TCP_FLAGS",
    "PortNames",
    "exact_match",
    "format_action",
    "format_actions",
    "format_frag",
    "format_hex",
    "format_ip",
    "format_key",
    "format_mac",
    "format_match",
    "format_port",
    "format_subfield",
    "format_tcp_flags",
    "format_value",
]
