"""All OpenFlow connections of one bridge.

Primary controllers are those of the Controller table, whichever side connects.
Service connections come in through the socket BRIDGE.mgmt (`ovs-ofctl`): they
get asynchronous messages only when they ask for them, and the bridge does not
count them as controllers.  BRIDGE.snoop copies what passes between the bridge
and its best primary controller (ovs-vswitchd(8), ovs-ofctl(8) snoop).
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterable, Iterator
from enum import Enum
from typing import TYPE_CHECKING, Final

from gossamer.switch.config import OPENFLOW_PROTOCOLS, ControllerConfig, FailMode, SslConfig
from gossamer.switch.connection import ECHO_REQUEST, HEADER_LEN, Connection, header
from gossamer.switch.contract import Poller
from gossamer.switch.pacing import PacketInLimits
from gossamer.switch.reconnect import Reconnect, State
from gossamer.switch.role import Role
from gossamer.switch.session import Session
from gossamer.switch.snoop import Snooper
from gossamer.switch.status import ControllerStatus
from gossamer.switch.transport import Listener, TransportError, is_passive, open_active

if TYPE_CHECKING:
    from gossamer.switch.bridge import Bridge

log = logging.getLogger(__name__)

_LISTEN_AGAIN_S: Final = 5.0
FAIL_OPEN_PROBES: Final = 3
"""Probe intervals without any controller after which a standalone bridge forwards by itself."""
_DEFAULT_PROBE_S: Final = 5.0


def versions_of(protocols: Iterable[str]) -> frozenset[int]:
    """Wire versions for Bridge.protocols; none named means all."""
    named = frozenset(
        OPENFLOW_PROTOCOLS.index(name) + 1 for name in protocols if name in OPENFLOW_PROTOCOLS
    )
    return named or frozenset(range(1, len(OPENFLOW_PROTOCOLS) + 1))


def _limits(config: ControllerConfig) -> PacketInLimits:
    return PacketInLimits(
        config.controller_rate_limit, config.controller_burst_limit, config.controller_queue_size
    )


class Peer:
    """One connection with its session and the clock that watches over it."""

    def __init__(self, connection: Connection, session: Session, clock: Reconnect) -> None:
        self.connection = connection
        self.session = session
        self.clock = clock
        self._heard_s = connection.last_received_s

    def run(self, now: float) -> None:
        """Receive, answer, probe a silent peer, give up on a dead one."""
        connection, clock = self.connection, self.clock
        connection.run()
        if connection.established and clock.state is State.CONNECTING:
            clock.connected(now)
        if connection.last_received_s != self._heard_s:
            self._heard_s = connection.last_received_s
            clock.received(now)
        if connection.closed:
            return
        if clock.attempt_is_over(now):
            connection.close(OSError(110, os.strerror(110)))  # ETIMEDOUT
        elif clock.is_dead(now):
            log.info("connection=%s: no response to inactivity probe", connection.name)
            connection.close(OSError(110, os.strerror(110)))
        elif clock.wants_probe(now, connection.last_received_s):
            version = connection.version or 1
            connection.send(header(version, ECHO_REQUEST, HEADER_LEN, 0))
            connection.run()
        self.session.run(now)

    def wait(self, poller: Poller, now: float) -> None:
        """Say what to wake for."""
        events = self.connection.events()
        if not events:
            poller.immediate_wake()
            return
        poller.fd_wait(self.connection.transport.fileno(), events)
        for moment in (self.clock.next_s(self.connection.last_received_s), self.session.next_s()):
            if moment is not None:
                poller.timer_wait_until(int(moment * 1000) + 1)

    def close(self) -> None:
        """End it."""
        self.connection.close()
        self.session.ended()


class ActiveController:
    """A controller that we connect to."""

    def __init__(self, config: ControllerConfig) -> None:
        self.config = config
        self.peer: Peer | None = None
        self.clock = Reconnect(config.max_backoff_ms / 1000, config.inactivity_probe_ms / 1000)
        self.versions: frozenset[int] = frozenset()

    def configure(self, config: ControllerConfig) -> None:
        """Take other settings without a reconnection."""
        self.config = config
        self.clock.max_backoff_s = config.max_backoff_ms / 1000
        self.clock.probe_interval_s = config.inactivity_probe_ms / 1000
        if self.peer:
            self.peer.session.configure(_limits(config), config.enable_async_messages)

    def run(self, now: float, controllers: Controllers) -> bool:
        """Connect, talk, reconnect; True when the status changed."""
        state = self.clock.state
        if self.peer is None and self.clock.should_connect(now):
            self._connect(now, controllers)
        if self.peer is not None:
            self.peer.run(now)
            if self.peer.connection.closed:
                self._disconnected(now)
        return state is not self.clock.state

    def _connect(self, now: float, controllers: Controllers) -> None:
        self.clock.connecting(now)
        try:
            transport = open_active(self.config.target, controllers.ssl)
        except (OSError, TransportError) as e:
            text = e.strerror if isinstance(e, OSError) and e.strerror else str(e)
            log.debug("controller=%s: %s", self.config.target, text)
            self.clock.disconnected(now, text)
            return
        session = Session(controllers.bridge, service=False)
        connection = Connection(transport, controllers.versions, session)
        session.attach(connection)
        session.configure(_limits(self.config), self.config.enable_async_messages)
        self.peer = Peer(connection, session, self.clock)

    def _disconnected(self, now: float) -> None:
        assert self.peer is not None
        error = self.peer.connection.error
        self.peer.session.ended()
        self.peer = None
        text = error.strerror or str(error) if isinstance(error, OSError) else error or ""
        if self.clock.state in (State.ACTIVE, State.IDLE):
            log.info("controller=%s: connection closed %s", self.config.target, text)
        self.clock.disconnected(now, text)

    def reconnect(self, now: float) -> None:
        """Drop the connection; a new one follows at once."""
        if self.peer is not None:
            self.peer.close()
            self.peer = None
            self.clock.enter(State.BACKOFF, now)
            self.clock.backoff_until_s = now

    def close(self) -> None:
        """End it for good."""
        if self.peer is not None:
            self.peer.close()
            self.peer = None


class PassiveController:
    """A socket that controllers, or tools, connect to."""

    def __init__(self, config: ControllerConfig, *, service: bool) -> None:
        self.config = config
        self.service = service
        self.listener: Listener | None = None
        self.peers: list[Peer] = []
        self.error = ""
        self._retry_s = 0.0

    def configure(self, config: ControllerConfig) -> None:
        """Take other settings without a reconnection."""
        self.config = config
        for peer in self.peers:
            peer.clock.probe_interval_s = config.inactivity_probe_ms / 1000
            peer.session.configure(_limits(config), config.enable_async_messages)

    def listen(self, now: float, controllers: Controllers) -> None:
        """Start to listen; where that fails, try again after a while."""
        if self.listener is not None or now < self._retry_s:
            return
        try:
            self.listener = Listener(self.config.target, controllers.ssl)
            self.error = ""
        except TransportError as e:
            self.error = e.message
            self._retry_s = now + _LISTEN_AGAIN_S
            log.warning("controller=%s: %s", self.config.target, e.message)

    def run(self, now: float, controllers: Controllers) -> bool:
        """Accept and talk; True when the status changed."""
        self.listen(now, controllers)
        changed = False
        while self.listener is not None and (transport := self.listener.accept()) is not None:
            session = Session(controllers.bridge, service=self.service)
            connection = Connection(transport, controllers.versions, session)
            session.attach(connection)
            session.configure(_limits(self.config), self.config.enable_async_messages)
            clock = Reconnect(0.0, self.config.inactivity_probe_ms / 1000)
            clock.connecting(now)
            clock.backoff_s = 10.0  # seconds a peer has for its HELLO
            self.peers.append(Peer(connection, session, clock))
            changed = True
        for peer in self.peers:
            peer.run(now)
            if peer.connection.closed:
                peer.session.ended()
                changed = True
        self.peers = [p for p in self.peers if not p.connection.closed]
        return changed

    def close(self) -> None:
        """End all."""
        for peer in self.peers:
            peer.close()
        self.peers.clear()
        if self.listener is not None:
            self.listener.close()
            self.listener = None


class _FailOpen(Enum):
    OFF = 0
    OPEN = 1


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
        self._fail_open = _FailOpen.OFF
        self._alone_since_s = time.monotonic()
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
            self._alone_since_s = now
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
        self._run_fail_open(now)
        return changed

    def _run_fail_open(self, now: float) -> None:
        connected = any(True for _ in self.primary_sessions())
        if connected or not self.has_controllers:
            self._alone_since_s = now
        if connected or self.fail_mode == FailMode.SECURE or not self.has_controllers:
            if self._fail_open is _FailOpen.OPEN:
                self._fail_open = _FailOpen.OFF
                self.bridge.leave_fail_open()
            return
        if self._fail_open is _FailOpen.OFF and now >= self._fail_open_at():
            log.warning(
                "bridge=%s: could not connect to controller for %d seconds, failing open",
                self.bridge.name,
                now - self._alone_since_s,
            )
            self._fail_open = _FailOpen.OPEN
            self.bridge.enter_fail_open()

    def _fail_open_at(self) -> float:
        probes = [c.config.inactivity_probe_ms / 1000 for c in self._active.values()]
        return self._alone_since_s + FAIL_OPEN_PROBES * (max(probes, default=0) or _DEFAULT_PROBE_S)

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
        waiting = standalone and self._fail_open is _FailOpen.OFF
        if waiting and not any(True for _ in self.primary_sessions()):
            poller.timer_wait_until(int(self._fail_open_at() * 1000) + 1)

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
