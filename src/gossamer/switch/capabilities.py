"""What our datapath can do, in the words of Datapath.capabilities (ovs-vswitchd.conf.db(5))."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from gossamer.switch.bridge import Bridge

CAPABILITIES: Final = MappingProxyType(
    {
        "max_vlan_headers": "2",
        "max_mpls_depth": "3",
        "recirc": "true",
        "ct_state": "true",
        "ct_zone": "true",
        "ct_mark": "true",
        "ct_label": "true",
        "ct_state_nat": "true",
        "ct_orig_tuple": "true",
        "ct_orig_tuple6": "true",
        "nd_ext": "true",
        "masked_set_action": "true",
        "tnl_push_pop": "true",
        "ufid": "true",
        "trunc": "true",
        "clone": "true",
        "sample_nesting": "false",
        "ct_eventmask": "false",
        "ct_clear": "true",
        "max_hash_alg": "0",
        "check_pkt_len": "true",
        "ct_timeout": "true",
        "explicit_drop_action": "true",
        "lb_output_action": "false",
        "ct_zero_snat": "true",
        "add_mpls": "true",
        "ct_flush": "true",
    }
)
"""The same for every type: there is one datapath."""

_FEATURES: Final = {
    "Masked set action": "masked_set_action",
    "Tunnel push pop": "tnl_push_pop",
    "Ufid": "ufid",
    "Truncate action": "trunc",
    "Clone action": "clone",
    "Sample nesting": "sample_nesting",
    "Conntrack eventmask": "ct_eventmask",
    "Conntrack clear": "ct_clear",
    "Max dp_hash algorithm": "max_hash_alg",
    "Check pkt length action": "check_pkt_len",
    "Conntrack timeout policy": "ct_timeout",
    "Explicit Drop action": "explicit_drop_action",
    "Optimized Balance TCP mode": "lb_output_action",
    "Conntrack all-zero IP SNAT": "ct_zero_snat",
    "MPLS Label add": "add_mpls",
    "Max VLAN headers": "max_vlan_headers",
    "Max MPLS depth": "max_mpls_depth",
    "Recirc": "recirc",
    "CT state": "ct_state",
    "CT zone": "ct_zone",
    "CT mark": "ct_mark",
    "CT label": "ct_label",
    "CT state NAT": "ct_state_nat",
    "CT orig tuple": "ct_orig_tuple",
    "CT orig tuple for IPv6": "ct_orig_tuple6",
    "IPv6 ND Extension": "nd_ext",
}
"""As ``dpif/show-dp-features`` calls them, in its order."""


def features() -> str:
    """The same, a line each."""
    said = {"true": "Yes", "false": "No"}
    values = {name: CAPABILITIES[key] for name, key in _FEATURES.items()}
    return "".join(f"{name}: {said.get(value, value)}\n" for name, value in values.items())


def datapath_type(bridge: Bridge) -> str:
    """The type of the datapath a bridge says it is in: "netdev", or "system" for any other."""
    return "netdev" if bridge.config.datapath_type == "netdev" else "system"
