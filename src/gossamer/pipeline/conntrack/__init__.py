"""Connection tracking and NAT, as docs/conntrack.md has them, over packets and a time passed in.

`tracker.py` is the way in; a module an idea: `tuple.py`, `reading.py` (what is read of a packet),
`fragments.py`, `tcp.py` and `others.py` (states), `connection.py`, `timeouts.py`, `nat.py`, `expected.py`,
`quoted.py` (what ICMP errors quote), `crossing.py` (what becomes of the packet), `foreseen.py`
(for traces, which track nothing).
"""
