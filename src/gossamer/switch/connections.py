"""All OpenFlow connections of one bridge.

Primary controllers are those of the Controller table, whichever side connects.
Service connections come in through the socket BRIDGE.mgmt (`ovs-ofctl`): they
get asynchronous messages only when they ask for them, and the bridge does not
count them as controllers.  BRIDGE.snoop copies what passes between the bridge
and its best primary controller (ovs-vswitchd(8), ovs-ofctl(8) snoop).
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from gossamer.switch.config import OPENFLOW_PROTOCOLS, ControllerConfig, FailMode, SslConfig
from gossamer.switch.contract import Poller
from gossamer.switch.controller import ActiveController, PassiveController, Peer
from gossamer.switch.fail_open import FailOpen
from gossamer.switch.role import Role
from gossamer.switch.session import Session
from gossamer.switch.snoop import Snooper
from gossamer.switch.status import ControllerStatus
from gossamer.switch.transport import is_passive

if TYPE_CHECKING:
    from gossamer.switch.bridge import Bridge


def versions_of(protocols: Iterable[str]) -> frozenset[int]:
    """Wire versions for Bridge.protocols; none named means all."""
    named = frozenset(
        OPENFLOW_PROTOCOLS.index(name) + 1 for name in protocols if name in OPENFLOW_PROTOCOLS
    )
    return named or frozenset(range(1, len(OPENFLOW_PROTOCOLS) + 1))


class Controllers:
    """The connections of one bridge, and what is done without any."""

    def __init__(self, bridge: Bridge) -> None:
        self.bridge = bridge
        self.ssl: SslConfig | None = None
        self.versions = versions_of(())
        self.fail_mode = FailMode.STANDALONE
        self._active: dict[str, ActiveController] = {}
        self._passive: dict[str, PassiveController] = {}
        management = f"punix:{bridge.rundir / bridge.name}.mgmt"
        self._management = PassiveController(
            ControllerConfig(management, inactivity_probe_ms=0), service=True
        )
        self.snooper = Snooper(f"punix:{bridge.rundir / bridge.name}.snoop")
        self._fail_open = FailOpen(bridge)
        self.generation_id: int | None = None
        """The newest generation of masters seen (OpenFlow 1.3.5, 6.3.6)."""

    def accept_generation(self, generation_id: int) -> bool:
        """False for a role request that an older master sent; otherwise it is the newest."""
        if self.generation_id is not None:
            distance = (generation_id - self.generation_id) & 0xFFFFFFFFFFFFFFFF
            if distance >= 1 << 63:
                return False
        self.generation_id = generation_id
        return True

    def demote_masters(self, new: Session) -> None:
        """There is one master at most: the others become slaves."""
        for session in self.sessions():
            if session is not new and session.role is Role.MASTER:
                session.demote()

    @property
    def has_controllers(self) -> bool:
        """Some primary controller is configured, connected or not."""
        return bool(self._active or self._passive)

    def configure(
        self,
        configs: Iterable[ControllerConfig],
        protocols: Iterable[str],
        fail_mode: FailMode,
        ssl: SslConfig | None,
    ) -> None:
        """Converge to the configured controllers."""
        versions = versions_of(protocols)
        if versions != self.versions or ssl != self.ssl:
            if ssl != self.ssl:
                for passive in self._passive.values():
                    passive.renew()
            self.versions, self.ssl = versions, ssl
            self.reconnect()
        self.fail_mode = fail_mode
        wanted = {c.target: c for c in configs if c.type != "service"}
        for target in [t for t in self._active if t not in wanted]:
            self._active.pop(target).close()
        for target in [t for t in self._passive if t not in wanted]:
            self._passive.pop(target).close()
        had = self.has_controllers
        for target, config in wanted.items():
            if is_passive(target):
                if target not in self._passive:
                    self._passive[target] = PassiveController(config, service=False)
                self._passive[target].configure(config)
            else:
                if target not in self._active:
                    self._active[target] = ActiveController(config)
                self._active[target].configure(config)
        now = time.monotonic()
        if not had:
            self._fail_open.begin(now)
        # Who waited for the bridge to be there may connect the moment after.
        for passive in (*self._passive.values(), self._management):
            passive.listen(now, self)
        self.snooper.listen()

    def reconnect(self) -> None:
        """Drop all primary and service connections, so that peers see what changed."""
        now = time.monotonic()
        for controller in self._active.values():
            controller.reconnect(now)
        for passive in (*self._passive.values(), self._management):
            for peer in passive.peers:
                peer.close()

    def sessions(self) -> Iterator[Session]:
        """All sessions whose version is settled."""
        for peer in self._peers():
            if peer.connection.established:
                yield peer.session

    def primary_sessions(self) -> Iterator[Session]:
        """Those of controllers."""
        return (s for s in self.sessions() if not s.service)

    def _peers(self) -> Iterator[Peer]:
        for controller in self._active.values():
            if controller.peer is not None:
                yield controller.peer
        for passive in (*self._passive.values(), self._management):
            yield from passive.peers

    def run(self) -> bool:
        """Everything that is ready; True when a controller's status changed."""
        now = time.monotonic()
        changed = False
        for controller in self._active.values():
            changed |= controller.run(now, self)
        for passive in self._passive.values():
            changed |= passive.run(now, self)
        self._management.run(now, self)
        self.snooper.run(self)
        if self.has_controllers:
            connected = any(True for _ in self.primary_sessions())
            self._fail_open.run(
                now, self.fail_mode, connected=connected, probes_s=self._probes_s()
            )
        else:
            self._fail_open.end()
        return changed

    def _probes_s(self) -> list[float]:
        return [c.config.inactivity_probe_ms / 1000 for c in self._active.values()]

    def wait(self, poller: Poller) -> None:
        """Say what to wake for."""
        now = time.monotonic()
        for peer in self._peers():
            peer.wait(poller, now)
        for controller in self._active.values():
            if controller.peer is None:
                moment = controller.clock.next_s(now)
                if moment is not None:
                    poller.timer_wait_until(int(moment * 1000) + 1)
        for passive in (*self._passive.values(), self._management):
            if passive.listener is not None:
                poller.fd_wait(passive.listener.socket.fileno(), 1)
            else:
                poller.timer_wait_until(int(now * 1000) + 1000)
        self.snooper.wait(poller)
        standalone = self.fail_mode == FailMode.STANDALONE and self.has_controllers
        alone = standalone and not any(True for _ in self.primary_sessions())
        if alone and not self._fail_open.is_open:
            poller.timer_wait_until(int(self._fail_open.next_s(self._probes_s()) * 1000) + 1)

    def status(self) -> dict[str, ControllerStatus]:
        """By target."""
        now = time.monotonic()
        out: dict[str, ControllerStatus] = {}
        for target, controller in self._active.items():
            peer = controller.peer
            connected = peer is not None and peer.connection.established
            role = peer.session.role.database_name if peer is not None and connected else None
            out[target] = ControllerStatus(target, connected, role, controller.clock.status(now))
        for target, passive in self._passive.items():
            peers = [p for p in passive.peers if p.connection.established]
            if not peers:
                status = {"last_error": passive.error} if passive.error else {}
                out[target] = ControllerStatus(target, status=status)
                continue
            best = max(peers, key=lambda p: p.session.role.rank)
            out[target] = ControllerStatus(
                target, True, best.session.role.database_name, best.clock.status(now)
            )
        return out

    def close(self) -> None:
        """End everything."""
        for controller in self._active.values():
            controller.close()
        for passive in (*self._passive.values(), self._management):
            passive.close()
        self.snooper.close()
