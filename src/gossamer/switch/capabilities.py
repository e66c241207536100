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
        "nd_ext": "false",
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


def datapath_type(bridge: Bridge) -> str:
    """The type of the datapath a bridge says it is in: "netdev", or "system" for any other."""
    return "netdev" if bridge.config.datapath_type == "netdev" else "system"
