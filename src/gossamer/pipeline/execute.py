"""The reference pipeline: what becomes of a packet, by tables and actions.

This is OpenFlow written once and plainly; the BPF datapath must do the same
(tests/property).  Packet-outs and traces run on it.

A packet runs through a bridge in two stages, as in the kernel: *translation*
(translation.py) walks tables and collects what is to be done, each with the key
it is to be done with; then that is *performed* (journey.py).

Sources: OpenFlow 1.3.5 sections 5.3 to 5.12, ovs-actions(7), ovs-fields(7).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from gossamer.pipeline.action import Action
from gossamer.pipeline.action_set import ActionSet
from gossamer.pipeline.commit import Frame
from gossamer.pipeline.conntrack.crossing import untracked
from gossamer.pipeline.frozen import Frozen
from gossamer.pipeline.journey import Journey
from gossamer.pipeline.packet import ALL_IN_SIGHT, InSight
from gossamer.pipeline.result import Result
from gossamer.pipeline.world import World


class Pipeline:
    """Runs packets through the bridges of a world."""

    def __init__(self, world: World) -> None:
        self.world = world

    def run(
        self,
        bridge: str,
        in_port: int,
        packet: bytes,
        brought: int = 0,
        n_bytes: int = 0,
        in_sight: InSight = ALL_IN_SIGHT,
    ) -> Result:
        """A packet that enters `bridge` by OpenFlow port `in_port`.

        `brought` are the bits of the key that it did not have in its headers: the tun_* fields,
        where it came out of a tunnel.  `n_bytes` was its length as it entered the switch, where
        it came from another bridge; 0: it is what it was.  `in_sight`: where a tag or a label
        was taken off in a bridge before, what stood behind is not seen yet.
        Learned addresses change in the world; counters of flows do not (see
        Result.flows).  Raises PacketError for a frame without Ethernet header.
        """
        journey = self._journey(in_port, packet, brought, n_bytes, in_sight)
        return journey.go(self.world.bridges[bridge], in_port, None)

    def execute_actions(
        self,
        bridge: str,
        in_port: int,
        packet: bytes,
        actions: Sequence[Action],
        brought: int = 0,
    ) -> Result:
        """A packet-out: `actions` on a packet as if it had come by `in_port`, which may be
        OFPP_CONTROLLER or OFPP_NONE (OpenFlow 1.3.5, 7.3.7).  `brought` and what is raised: as
        run()."""
        journey = self._journey(in_port, packet, brought)
        return journey.go(self.world.bridges[bridge], in_port, tuple(actions))

    def run_at(
        self,
        bridge: str,
        in_port: int,
        packet: bytes,
        table_id: int,
        brought: int,
        n_bytes: int = 0,
        action_set: ActionSet | None = None,
        in_sight: InSight = ALL_IN_SIGHT,
    ) -> Result:
        """A packet that goes on at a table, after a ct(): `brought` has all that it knows beside
        its headers, metadata, registers and its connection, `action_set` what was written by then;
        `n_bytes` and `in_sight` as in run()."""
        journey = self._journey(in_port, packet, brought, n_bytes, in_sight)
        return journey.go_on(
            self.world.bridges[bridge], in_port, table_id=table_id, action_set=action_set
        )

    def resume(
        self, bridge: str, in_port: int, packet: bytes, frozen: Frozen, brought: int
    ) -> Result:
        """A packet that waited at a controller; `brought` as in run_at(), what is raised as run()."""
        if not frozen.conntracked:
            brought = untracked(brought)
        journey = self._journey(in_port, packet, brought)
        return journey.go_on(
            self.world.bridges[bridge],
            in_port,
            frozen=frozen,
            action_set=ActionSet(frozen.action_set),
        )

    def _journey(
        self, in_port: int, packet: bytes, brought: int, n_bytes: int = 0, in_sight: InSight = ALL_IN_SIGHT
    ) -> Journey:
        frame = Frame.received(packet, in_port, in_sight)
        frame = replace(frame, key=frame.key | brought)
        return Journey(self.world, frame, n_bytes or len(packet))
