"""One row of the Controller table: who we connect to, or who connects to us."""

from __future__ import annotations

import logging
import os
import ssl
from typing import TYPE_CHECKING, Final

from gossamer.switch.config import ControllerConfig
from gossamer.switch.connection import ECHO_REQUEST, HEADER_LEN, Connection, header
from gossamer.switch.contract import Poller
from gossamer.switch.pacing import PacketInLimits
from gossamer.switch.reconnect import TALKING, Reconnect, State
from gossamer.switch.session import Session
from gossamer.switch.transport import Listener, TransportError, error_text, open_active

if TYPE_CHECKING:
    from gossamer.switch.connections import Controllers

log = logging.getLogger(__name__)

_LISTEN_AGAIN_S: Final = 5.0


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
        before = (self.clock.state, self.clock.last_error)
        if self.peer is None and self.clock.should_connect(now):
            self._connect(now, controllers)
        if self.peer is not None:
            self.peer.run(now)
            if self.peer.connection.closed:
                self._disconnected(now)
        # From BACKOFF, too: a controller on this host may accept within one run.
        if before[0] not in TALKING and self.clock.state in TALKING:
            log.info("controller=%s: connected", self.config.target)
        return before != (self.clock.state, self.clock.last_error)

    def _connect(self, now: float, controllers: Controllers) -> None:
        self.clock.connecting(now)
        try:
            transport = open_active(self.config.target, controllers.ssl)
        except (OSError, TransportError) as e:
            text = error_text(e)
            if isinstance(e, TransportError):
                self._warn_once(text, e.remedy)
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
        text = error_text(error) if isinstance(error, OSError) else error or ""
        if isinstance(error, ssl.SSLError):
            self._warn_once(text, "")
        elif self.clock.state is State.CONNECTING and text != self.clock.last_error:
            log.info("controller=%s: cannot connect: %s", self.config.target, text)
        if self.clock.state in TALKING:
            log.info("controller=%s: connection closed %s", self.config.target, text)
        self.clock.disconnected(now, text)

    def _warn_once(self, text: str, remedy: str) -> None:
        """Say what a person must mend, but not again with every attempt."""
        if text != self.clock.last_error:
            hint = f" ({remedy})" if remedy else ""
            log.warning("controller=%s: %s%s", self.config.target, text, hint)

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
        error = self.error
        self.listen(now, controllers)
        changed = error != self.error
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

    def renew(self) -> None:
        """Listen anew with the next `listen()`: the keys of table SSL are other ones."""
        if self.config.target.startswith("pssl:"):
            self.close()
            self._retry_s = 0.0

    def close(self) -> None:
        """End all."""
        for peer in self.peers:
            peer.close()
        self.peers.clear()
        if self.listener is not None:
            self.listener.close()
            self.listener = None
