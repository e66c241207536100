"""dpif-netdev/*: threads of the peer's userspace datapath (ovs-vswitchd(8)), of which there are none.

Packets are forwarded in the kernel, for bridges of either `datapath_type`.  So
the answer is the one that the peer gives where all bridges are its kernel's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from gossamer.switch.show import Command, CommandError

_COMMANDS: Final = (
    ("bond-show", "[dp]", 1),
    ("pmd-perf-show", "[-nh] [-it iter-history-len] [-ms ms-history-len] [-pmd core] [dp]", 8),
    ("pmd-rxq-rebalance", "[dp]", 1),
    ("pmd-rxq-show", "[-pmd core] [-secs secs] [dp]", 5),
    ("pmd-stats-clear", "[-pmd core] [dp]", 3),
    ("pmd-stats-show", "[-pmd core] [dp]", 3),
)
"""Name, usage, and how many arguments it takes."""


def commands() -> dict[str, Command]:
    """The commands, by name."""
    return {f"dpif-netdev/{name}": Command(usage, 0, n, _none) for name, usage, n in _COMMANDS}


def _none(argv: Sequence[str]) -> str:
    raise CommandError("please specify an existing datapath")
