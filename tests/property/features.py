"""What random cases are made of: a name for each thing that can be left out of them.

What none of them has, and why; the tests that have it instead:

- controller(pause), encap and decap: Open vSwitch itself is asked (test_peer_pause.py, test_peer_actions.py).
- learn, fin_timeout: flows are the daemon's, and come after the packet (tests/unit/switch).
- set_queue and enqueue: a queue is not in the packet (tests/system/test_qos.py).
- matches of ct_* among others: which connection a packet has is connections.py's, whose rules match them.
- packet_type, dp_hash: frames have one, and hashes are each side's own.
- tunnels' outer headers: tunnels/.  What helpers read in texts: test_helpers.py; how numbers
  move after it: test_sequences.py; what they announce: test_expectations.py.
- meters between nothing and everything, and sample by chance: time and dice are each side's own.

Of what they have, compare.py lets pass unseen: how far a packet gets that is dropped as a loop; paths beyond the
kernel's bounds; which connection goes where several might; DEI bits behind truncated copies and the daemon's.
"""

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
        "ct_in_action_set",
        "sample",  # every packet: what is left to chance cannot be compared
        "fragments",  # hidden ports, or dropped
        "tunnel_fields",  # set and matched, whatever the ports are
    )
)
