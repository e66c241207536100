"""What the switch holds and how full it is: upcall/show, memory/show, revalidator/* (ovs-vswitchd(8)).

The peer's handlers and revalidators are threads that look after its cache;
here the kernel does that itself.  The commands answer with what corresponds:
paths in the caches of the CPUs.
"""

from __future__ import annotations

import resource
from typing import TYPE_CHECKING

from gossamer.daemon.appctl import datapaths
from gossamer.daemon.appctl.dpctl import forget_paths
from gossamer.switch.show import Command

if TYPE_CHECKING:
    from gossamer.daemon.appctl.paths import PathCache
    from gossamer.switch.switch import Switch


class Load:
    """The commands, over a switch and the kernel's cache."""

    def __init__(self, switch: Switch, cache: PathCache) -> None:
        self._switch = switch
        self._cache = cache
        self._seen: list[int] = []
        """Paths there were, each time somebody asked."""

    def commands(self) -> dict[str, Command]:
        """The commands, by name."""
        return {
            "upcall/show": Command("", 0, 0, lambda argv: self.upcall_show()),
            "memory/show": Command("", 0, 0, lambda argv: self.memory_show()),
            "revalidator/wait": Command("", 0, 0, lambda argv: self.wait()),
            "revalidator/purge": Command("", 0, 0, lambda argv: self.purge()),
        }

    def upcall_show(self) -> str:
        """Paths now, on average and at most as far as asked for, and how long reading them took."""
        out = []
        for kind in datapaths.kinds(self._switch):
            reading = self._cache.read()
            ids = {b.ports.bridge_id for b in datapaths.bridges_of(self._switch, kind)}
            n = sum(1 for path in reading.paths if path.bridge_id in ids)
            self._seen.append(n)
            del self._seen[:-1000]
            out += [
                f"{datapaths.name_of(kind)}:",
                f"  flows         : (current {n}) (avg {sum(self._seen) // len(self._seen)}) "
                f"(max {max(self._seen)}) (limit {reading.capacity})",
                f"  dump duration : {max(1, round(reading.duration_s * 1000))}ms",
                "  ufid enabled : true",
                "",
            ]
            out += [f"  {cpu}: (keys {keys})" for cpu, keys in enumerate(reading.per_cpu)]
        return "".join(f"{line}\n" for line in out)

    def memory_show(self) -> str:
        """Counts of what takes memory, and the most of it this process ever had (KiB)."""
        bridges = self._switch.bridges.values()
        usage = {
            "maxrss": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
            "ports": sum(len(b.ports.ports) for b in bridges),
            "rules": sum(len(b.tables) for b in bridges),
            "udpif keys": len(self._cache.read().paths),
            "ct conns": self._switch.datapath.conntrack.count,
        }
        return " ".join(f"{name}:{n}" for name, n in sorted(usage.items()) if n) + "\n"

    def wait(self) -> str:
        """Every change is in the kernel when the command that made it is answered."""
        return ""

    def purge(self) -> str:
        """Forget all cached paths."""
        forget_paths(self._switch, list(self._switch.bridges.values()))
        return ""
