"""The socket BRIDGE.snoop: copies of what passes between a bridge and its controller."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING, Protocol

from gossamer.switch.connection import Connection
from gossamer.switch.contract import Poller
from gossamer.switch.transport import Listener, TransportError

if TYPE_CHECKING:
    from gossamer.switch.session import Session

log = logging.getLogger(__name__)


class _Snooped(Protocol):
    versions: frozenset[int]

    def primary_sessions(self) -> Iterator[Session]: ...


class _Tap:
    """Session of a snooping peer: it only listens."""

    def __init__(self) -> None:
        self.ready = False

    def started(self, version: int) -> None:
        """The peer said hello."""
        self.ready = True

    def receive(self, messages: list[bytes]) -> None:
        """A snooper has nothing to say."""

    def transmitted(self, message: bytes) -> None:
        """Nobody snoops on snoopers."""


class Snooper:
    """Accepts snooping peers and feeds them."""

    def __init__(self, target: str) -> None:
        self._target = target
        self._listener: Listener | None = None
        self._peers: list[tuple[Connection, _Tap]] = []
        self._source: Session | None = None

    def listen(self) -> None:
        """Start to listen."""
        if self._listener is None:
            try:
                self._listener = Listener(self._target, None)
            except TransportError as e:
                log.warning("%s", e)

    def run(self, controllers: _Snooped) -> None:
        """Accept peers; choose whom to listen to: the controller of the highest role."""
        if self._listener is None:
            return
        while (transport := self._listener.accept()) is not None:
            tap = _Tap()
            self._peers.append((Connection(transport, controllers.versions, tap), tap))
        if not self._peers and self._source is None:
            return
        for connection, _ in self._peers:
            connection.run()
        self._peers = [(c, t) for c, t in self._peers if not c.closed]
        source = None
        if self._peers:
            source = max(controllers.primary_sessions(), key=lambda s: s.role.rank, default=None)
        if source is not self._source:
            if self._source is not None:
                self._source.snooper = None
            if source is not None:
                source.snooper = self
            self._source = source

    def copy(self, message: bytes) -> None:
        """Give a message to all; one who does not keep up misses some."""
        for connection, tap in self._peers:
            if tap.ready and not connection.congested:
                connection.send(message)

    def wait(self, poller: Poller) -> None:
        """Say what to wake for."""
        if self._listener is not None:
            poller.fd_wait(self._listener.socket.fileno(), 1)
        for connection, _ in self._peers:
            events = connection.events()
            if events:
                poller.fd_wait(connection.transport.fileno(), events)
            else:
                poller.immediate_wake()

    def close(self) -> None:
        """End all."""
        for connection, _ in self._peers:
            connection.close()
        self._peers.clear()
        if self._listener is not None:
            self._listener.close()
            self._listener = None
