"""How long connections live without packets (docs/conntrack.md, Timeouts)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

NS_PER_S: Final = 1_000_000_000
DEFAULTS: Final[Mapping[str, int]] = {
    "tcp_syn_sent": 30,
    "tcp_syn_recv": 30,
    "tcp_established": 24 * 60 * 60,
    "tcp_fin_wait": 15 * 60,
    "tcp_time_wait": 45,
    "tcp_close": 30,
    "udp_first": 60,
    "udp_single": 60,
    "udp_multiple": 30,
    "icmp_first": 60,
    "icmp_reply": 30,
}
"""Seconds, by the keys of CT_Timeout_Policy (ovs-vswitchd.conf.db(5))."""
