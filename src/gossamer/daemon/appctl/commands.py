"""All commands of the daemon beside those of switch/show.py, put together."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gossamer.daemon.appctl import protocols, tunnels, userspace, vlog
from gossamer.daemon.appctl.conntrack import ConntrackCommands, coverage_name
from gossamer.daemon.appctl.coverage import Coverage
from gossamer.daemon.appctl.ct_answers import Answers
from gossamer.daemon.appctl.dpctl import Dpctl
from gossamer.daemon.appctl.fdb import FdbCommands
from gossamer.daemon.appctl.kernel_run import KernelRun
from gossamer.daemon.appctl.load import Load
from gossamer.daemon.appctl.paths import PathCache
from gossamer.daemon.appctl.tracing import Tracing
from gossamer.daemon.control import ANY_NUMBER
from gossamer.datapath.drop_reasons import DROP_REASONS
from gossamer.datapath.layout import CT_COUNTS

if TYPE_CHECKING:
    from ovs.poller import Poller

    from gossamer.daemon.control import Control, Reply
    from gossamer.daemon.slices import Slices
    from gossamer.datapath import Datapath
    from gossamer.switch.show import Command
    from gossamer.switch.switch import Switch


class AppctlCommands:
    """The commands over a switch and the datapath pinned under `pin_dir`.

    What takes long is done in `slices`.  Raises DatapathError where nothing is pinned there.
    """

    def __init__(
        self, switch: Switch, datapath: Datapath, pin_dir: Path, slices: Slices
    ) -> None:
        self._switch = switch
        self._cache = PathCache(pin_dir)
        self._fdb = FdbCommands(switch)
        self._datapath = datapath
        self._answers = Answers()
        connections = ConntrackCommands(switch, slices, self._answers)
        self._dpctl = Dpctl(switch, self._cache, datapath.drops, connections)
        self._kernel = KernelRun(datapath, pin_dir)
        self._tracing = Tracing(switch, self._kernel, lambda: self._cache.read().paths)
        known = {f"drop_{reason}" for reason in DROP_REASONS[1:]} | {"bridge_reconfigure"}
        known |= {coverage_name(count) for count in CT_COUNTS}
        self.coverage = Coverage(self._counts, frozenset(known), time.monotonic())

    def _counts(self) -> dict[str, int]:
        counters = self._datapath.conntrack.counters()
        return {
            **{f"drop_{reason}": n for reason, n in self._datapath.drops().items()},
            **{coverage_name(count): n for count, n in counters.items() if n},
        }

    def commands(self) -> dict[str, Command]:
        """The commands, by name."""
        return {
            **vlog.commands(),
            **protocols.commands(self._switch),
            **tunnels.commands(self._switch),
            **userspace.commands(),
            **self._fdb.commands(),
            **self.coverage.commands(),
            **self._dpctl.commands(),
            **Load(self._switch, self._cache).commands(),
        }

    def register(self, control: Control) -> None:
        """Make all of them known, in place of others of the same name."""
        control.add_all(self.commands())
        flow = "{[dp_name] odp_flow | bridge br_flow} [OPTIONS...] [-generate|packet]"
        control.add(
            "ofproto/trace-packet-out",
            f"[-consistent] {flow} actions",
            2,
            ANY_NUMBER,
            self._tracing.trace_packet_out,
        )
        for name, c in self._dpctl.deferring().items():
            control.add_deferring(name, c.usage, c.low, c.high, c.run)
        control.add_deferring("ofproto/trace", flow, 1, ANY_NUMBER, self._trace)

    def _trace(self, argv: Sequence[str], reply: Reply) -> None:
        self._tracing.trace(argv, reply.ok, reply.error)

    def run(self) -> None:
        """Go on with what waits for something; never blocks."""
        self._kernel.run_waiting()
        self._answers.run()

    def wait(self, poller: Poller) -> None:
        """Say what to wake for."""
        self._kernel.wait(poller)
        self._answers.wait(poller)

    def each_second(self, now_s: float) -> None:
        """What is to be done about once a second."""
        self.coverage.run(now_s)
        self._kernel.forget_if_idle(now_s)

    def close(self) -> None:
        """Let go of the maps."""
        self._answers.close()
        self._cache.close()
        self._kernel.close()
