"""What random cases are made of: a name for each thing that can be left out of them."""

from __future__ import annotations

from typing import Final

FEATURES: Final = frozenset(
    (
        "group",  # all, indirect, select and fast failover, out of rules
        "group_chain",  # buckets that lead to groups, and watch them
        "group_in_action_set",
        "unpinned_fields",  # changes of fields that no match has made sure of
        "clone",
        "clone_tables",  # clones that resubmit, and have an action set of their own
        "clone_exit",
        "stack",
        "multipath",
        "bundle",
        "conjunction",
        "mpls",
        "copy_ttl",
        "pbb_header",  # backbone headers that come in
        "nsh",  # network service headers that come in
        "set_nsh",  # and are changed
        "pbb",  # and are pushed, popped and changed
        "ipv6_exthdr",
        "output_trunc",
        "check_pkt_larger",
        "meter",
        "actset_output",
        "dec_ttl_ids",
        "set_sctp",
        "set_in_port",
        "ct",
        "nat",
        "ct_among_others",  # in lists of all the rest, in clones, and in front of what goes up
        "sample",  # every packet: what is left to chance cannot be compared
        "fragments",  # hidden ports, or dropped
        "tunnel_fields",  # set and matched, whatever the ports are
    )
)
