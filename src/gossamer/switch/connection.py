"""One OpenFlow connection: framing, version negotiation, and output that waits its turn.

What the messages mean is the session's business (`session.py`).  A connection
reads all that is there, up to a bound, and hands it over as one batch; it goes
on reading only when the peer takes what it is sent, so that a peer that asks
and never listens costs bounded memory.
"""

from __future__ import annotations

import logging
import os
import select
import time
from collections import deque
from collections.abc import Iterator
from typing import Final, Protocol

from gossamer.switch.transport import Transport, TransportError

log = logging.getLogger(__name__)

READ_BYTES: Final = 64 * 1024
"""Read in one go: some 600 flow-mods, 15 ms of work, for which a link that goes down may have to
wait.  More at a time is no faster."""
MAX_OUTPUT_BYTES: Final = 1 << 20
"""Waiting to be sent before the peer is no longer listened to."""
ROUND_S: Final = 0.010
"""Longest a connection keeps the event loop for one round."""
LINGER_MS: Final = 1
"""A peer that sends one message, waits for its barrier reply and then sends the next (ovs-ofctl
add-flows) is answered without going round the event loop, which would cost it many times more."""
AWAKE_S: Final = 100e-6
"""The first of that without going to sleep: such a peer takes some 30 us, as long as it takes to
wake us up, twice a flow.  The CPU is whose it can be meanwhile, the peer's above all."""

HELLO: Final = 0
ERROR: Final = 1
ECHO_REQUEST: Final = 2
ECHO_REPLY: Final = 3
HEADER_LEN: Final = 8
_ANY_VERSION: Final = frozenset({HELLO, ERROR, ECHO_REQUEST, ECHO_REPLY})
_HELLO_FAILED: Final = 0
_INCOMPATIBLE: Final = 0
_BAD_REQUEST: Final = 1
_BAD_VERSION: Final = 0


def header(version: int, message_type: int, length: int, xid: int) -> bytes:
    """An OpenFlow header (OpenFlow 1.3.5, 7.1)."""
    return bytes((version, message_type)) + length.to_bytes(2, "big") + xid.to_bytes(4, "big")


def hello(versions: frozenset[int], xid: int) -> bytes:
    """OFPT_HELLO that offers `versions` (wire numbers), with the bitmap of OpenFlow 1.3.1."""
    bitmap = sum(1 << v for v in versions)
    element = b"\x00\x01\x00\x08" + bitmap.to_bytes(4, "big")
    return header(max(versions), HELLO, HEADER_LEN + len(element), xid) + element


def offered_versions(message: bytes) -> frozenset[int]:
    """The versions a HELLO offers: its bitmap, or all up to that of its header."""
    offset = HEADER_LEN
    while offset + 4 <= len(message):
        kind = int.from_bytes(message[offset : offset + 2], "big")
        length = int.from_bytes(message[offset + 2 : offset + 4], "big")
        if length < 4 or offset + length > len(message):
            break
        if kind == 1 and length >= 8:
            bitmap = int.from_bytes(message[offset + 4 : offset + 8], "big")
            return frozenset(v for v in range(32) if bitmap >> v & 1)
        offset += (length + 7) // 8 * 8
    return frozenset(range(1, message[0] + 1))


def negotiate(ours: frozenset[int], peer: bytes) -> int | None:
    """The highest version both speak, None where there is none (OpenFlow 1.3.5, 6.3.1)."""
    return max(ours & offered_versions(peer), default=None)


class Session(Protocol):
    """Who gives messages a meaning."""

    def started(self, version: int) -> None:
        """The version is settled."""

    def receive(self, messages: list[bytes]) -> None:
        """Messages in the order they came, each whole and of the settled version."""

    def transmitted(self, message: bytes) -> None:
        """A message was queued; for snoopers."""


class Connection:
    """One connection, from the moment its transport exists."""

    def __init__(self, transport: Transport, versions: frozenset[int], session: Session) -> None:
        self.transport = transport
        self.name = transport.name
        self.version: int | None = None
        self.error: OSError | str | None = None
        """Why it ended; "" for an orderly end, None while it lives."""
        self.last_received_s = time.monotonic()
        self.n_dropped = 0
        """Packet-ins this peer did not get because it does not keep up."""
        self._versions = versions
        self._session = session
        self._said_hello = False
        self._closing = False
        self._partial = b""
        self._output: deque[bytes] = deque()
        self._output_bytes = 0
        self._producers: deque[Iterator[bytes]] = deque()
        self._backlog: list[bytes] = []
        self._poll = select.poll()
        self._next_xid = 1

    @property
    def closed(self) -> bool:
        """Nothing more will come or go."""
        return self.error is not None

    @property
    def established(self) -> bool:
        """A version is settled and the connection lives."""
        return self.version is not None and self.error is None

    @property
    def congested(self) -> bool:
        """More waits to be sent than we are willing to hold."""
        return self._output_bytes > MAX_OUTPUT_BYTES

    @property
    def output_bytes(self) -> int:
        """Waiting to be sent."""
        return self._output_bytes

    def new_xid(self) -> int:
        """A transaction id for a message of our own."""
        self._next_xid = self._next_xid % 0xFFFFFFFF + 1
        return self._next_xid

    def send(self, message: bytes) -> None:
        """Queue one message; it goes out at the end of the round."""
        self._output.append(message)
        self._output_bytes += len(message)
        self._session.transmitted(message)

    def send_lazily(self, messages: Iterator[bytes]) -> None:
        """Send what an iterator yields, no faster than the peer takes it.

        Nothing else is received meanwhile, so that replies keep their order.
        An empty message is a step of work that sends nothing.
        """
        self._producers.append(messages)

    @property
    def streaming(self) -> bool:
        """A reply is still being produced."""
        return bool(self._producers)

    def output_mark(self) -> tuple[int, int]:
        """A point in the output that `drop_output()` can return to, before the next `run()`."""
        return len(self._output), self._output_bytes

    def drop_output(self, mark: tuple[int, int]) -> None:
        """Take back what was queued since the mark."""
        while len(self._output) > mark[0]:
            self._output.pop()
        self._output_bytes = mark[1]

    def close(self, reason: OSError | str = "") -> None:
        """End the connection now."""
        if self.error is None:
            self.error = reason
            for producer in self._producers:
                closer = getattr(producer, "close", None)
                if closer:
                    closer()
            self._producers.clear()
            self._output.clear()
            self._output_bytes = 0
            self.transport.close()

    def run(self) -> None:
        """Receive, have it handled, send.  Takes at most about `ROUND_S`."""
        if self.error is not None:
            return
        try:
            self._run()
        except OSError as e:
            self.close(e)
        except TransportError as e:
            self.close(e.message)
        except Exception:
            # One peer's message must not end the switch for all others.
            log.exception("connection=%s: closed after an internal error", self.name)
            self.close("internal error")

    def _run(self) -> None:
        if not self.transport.established and not self.transport.connect():
            return
        if not self._said_hello:
            self._said_hello = True
            self.send(hello(self._versions, self.new_xid()))
            self._poll.register(self.transport.fileno(), select.POLLIN)
        deadline = time.monotonic() + ROUND_S
        while True:
            if self._producers:
                self._produce(deadline)
            if self._output_bytes:
                self._flush()
            if self._closing and not self._output_bytes:
                self.close(self._closing_reason)
            if self.closed or self._closing or self.congested or self._producers:
                return
            if time.monotonic() > deadline:
                return
            if self._lockstep and not self._backlog and not self._hears_at_once():
                self._lockstep = False
                return
            if not self._receive() and not self._output_bytes:
                return

    def _hears_at_once(self) -> bool:
        """Whether a peer in lock step has said something, or says it soon."""
        poll = self._poll.poll
        until = time.monotonic() + AWAKE_S
        while time.monotonic() < until:
            if poll(0):
                return True
            os.sched_yield()
        return bool(poll(LINGER_MS))

    _closing_reason: OSError | str = ""
    _lockstep = False

    def _receive(self) -> bool:
        if self._backlog:
            messages, self._backlog = self._backlog, []
            self._handle(messages)
            return True
        data = self.transport.recv(READ_BYTES)
        if data is None:
            return False
        if not data:
            self.close()
            return False
        self.last_received_s = time.monotonic()
        messages = self._split(data)
        if messages:
            self._handle(messages)
            # One small message at a time, each answered at once: a peer in lock step.
            self._lockstep = len(messages) <= 2
        return True

    def _split(self, data: bytes) -> list[bytes]:
        if self._partial:
            data = self._partial + data
        messages: list[bytes] = []
        offset, end = 0, len(data)
        while end - offset >= HEADER_LEN:
            length = data[offset + 2] << 8 | data[offset + 3]
            if length < HEADER_LEN:
                self._closing = True
                self._closing_reason = "message shorter than its header"
                break
            if length > end - offset:
                break
            messages.append(data[offset : offset + length])
            offset += length
        self._partial = data[offset:]
        return messages

    def _handle(self, messages: list[bytes]) -> None:
        if self.version is None:
            self._negotiate(messages.pop(0))
            if self.version is None:
                return
        version = self.version
        for i, message in enumerate(messages):
            if message[0] != version and message[1] not in _ANY_VERSION:
                messages, wrong = messages[:i], message
                if messages:
                    self._session.receive(messages)
                self._refuse(wrong, _BAD_REQUEST, _BAD_VERSION, wrong[:64])
                return
        if messages:
            self._session.receive(messages)

    def defer(self, messages: list[bytes]) -> None:
        """Give back messages that must wait until a lazy reply is out."""
        self._backlog = messages + self._backlog

    def _negotiate(self, first: bytes) -> None:
        if first[1] != HELLO:
            log.warning("connection=%s: expected HELLO, got type %d", self.name, first[1])
            self.close(f"received message type {first[1]} while expecting hello")
            return
        self.version = negotiate(self._versions, first)
        if self.version is None:
            text = "version negotiation failed: we speak " + ", ".join(
                f"0x{v:02x}" for v in sorted(self._versions)
            )
            log.warning("connection=%s: %s", self.name, text)
            self._refuse(first, _HELLO_FAILED, _INCOMPATIBLE, text.encode())
            return
        self._session.started(self.version)

    def _refuse(self, message: bytes, kind: int, code: int, data: bytes) -> None:
        version = self.version or min(max(self._versions), message[0])
        body = kind.to_bytes(2, "big") + code.to_bytes(2, "big") + data
        xid = int.from_bytes(message[4:8], "big")
        self.send(header(version, ERROR, HEADER_LEN + len(body), xid) + body)
        self._closing = True
        self._closing_reason = OSError(71, os.strerror(71))  # EPROTO

    def _produce(self, deadline: float) -> None:
        while self._producers and not self.congested:
            message = next(self._producers[0], None)
            if message is None:
                self._producers.popleft()
                continue
            if message:
                self.send(message)
            if time.monotonic() > deadline:
                return

    def _flush(self) -> None:
        while self._output_bytes:
            data = b"".join(self._output) if len(self._output) > 1 else self._output[0]
            self._output.clear()
            n = self.transport.send(data)
            self._output_bytes = len(data) - n
            if n < len(data):
                self._output.append(data[n:] if n else data)
            if n == 0:
                return

    def events(self) -> int:
        """What to poll for: select.POLLIN and POLLOUT, or 0 for 'run me at once'."""
        if not self.transport.established:
            return select.POLLOUT if self.transport.waits_for_write else select.POLLIN
        if not self._said_hello or (self._producers and not self.congested) or self._backlog:
            return 0
        wanted = 0 if self.congested else select.POLLIN
        return wanted | (select.POLLOUT if self._output_bytes else 0)
