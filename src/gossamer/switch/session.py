"""One OpenFlow connection to a bridge: what it has agreed on, and its messages on their way.

A session gets the messages of its connection in batches.  Changes of rules and
barriers that follow each other are carried out together in one transaction of
the datapath (`rule_batch.py`); everything else is answered one by one
(`requests.py`).  What it hears of its own accord is its `feed`.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from gossamer.openflow import message as m
from gossamer.openflow.codec import decode
from gossamer.openflow.context import Context
from gossamer.openflow.error import ErrorCode, OpenFlowError, encode_error
from gossamer.switch.bundle import Bundles
from gossamer.switch.connection import HEADER_LEN, Connection
from gossamer.switch.feed import Feed
from gossamer.switch.pacing import PacketInLimits
from gossamer.switch.requests import HANDLERS
from gossamer.switch.role import Role
from gossamer.switch.rule_batch import RuleBatch
from gossamer.switch.rule_mod import is_rule_mod

if TYPE_CHECKING:
    from gossamer.switch.bridge import Bridge
    from gossamer.switch.snoop import Snooper

log = logging.getLogger(__name__)

_BARRIER10: Final = 18
_BARRIER: Final = 20
_PART: Final = 64
"""Messages between two breaths."""
_MASTER_REQUEST: Final = 0
"""OFPCRR_MASTER_REQUEST: another controller became master."""


class Session:
    """The state of one OpenFlow connection to `bridge`."""

    def __init__(self, bridge: Bridge, *, service: bool) -> None:
        self.bridge = bridge
        self.service = service
        self.role = Role.EQUAL
        self.context = Context(1)
        self.snooper: Snooper | None = None
        self.wanted_tables: tuple[m.TableFeatures, ...] = ()
        """Table features asked for by a request of which more is to come."""
        self.feed: Feed = Feed(self)
        self.bundles: Bundles = Bundles(self)
        self._barrier = _BARRIER10
        self._batch = RuleBatch(self)
        self._connection: Connection | None = None

    # -- what the connection calls ----------------------------------------------------------

    @property
    def connection(self) -> Connection:
        """The connection this session speaks over."""
        assert self._connection is not None
        return self._connection

    @property
    def version(self) -> int:
        """The wire version settled."""
        return self.context.version

    def attach(self, connection: Connection) -> None:
        """Join session and connection."""
        self._connection = connection

    def configure(self, limits: PacketInLimits, asynchronous: bool) -> None:
        """Take the settings of the Controller row."""
        self.feed.configure(limits, asynchronous)

    def started(self, version: int) -> None:
        """The version is settled."""
        self.context = Context(version)
        self.feed.started(version)
        self._barrier = _BARRIER10 if version == m.Version.V10 else _BARRIER
        self.bridge.update_table_miss()

    def ended(self) -> None:
        """The connection is gone."""
        self.feed.ended()
        self.bundles.clear()
        self.snooper = None
        self.bridge.update_table_miss()

    def transmitted(self, message: bytes) -> None:
        """A message was queued."""
        if self.snooper is not None:
            self.snooper.copy(message)

    def receive(self, messages: list[bytes]) -> None:
        """Carry out messages in order."""
        if self.snooper is not None:
            for raw in messages:
                self.snooper.copy(raw)
        try:
            self._carry_out(messages)
        except Exception:
            # A fault of ours; the connection ends, what it left half done does not stay.
            self.bridge.rules.rollback()
            raise

    def _carry_out(self, messages: list[bytes]) -> None:
        batch, barrier, connection = self._batch, self._barrier, self.connection
        breathe = self.bridge.datapath.breathe
        for i, raw in enumerate(messages):
            if not i % _PART:
                breathe()
            if is_rule_mod(raw):
                batch.change(raw)
            elif raw[1] == barrier and len(raw) == HEADER_LEN:
                batch.barrier(raw)
            else:
                batch.commit()
                self._dispatch(raw)
                if connection.streaming:
                    connection.defer(messages[i + 1 :])
                    return
        batch.commit()

    def run(self, now: float) -> None:
        """Send packet-ins whose time has come; forget bundles that were forgotten."""
        self.feed.run(now)
        self.bundles.run(now)

    def next_s(self) -> float | None:
        """When `run()` has something to do."""
        return self.feed.next_s()

    # -- requests -----------------------------------------------------------------------------

    def refuse(self, raw: bytes, error: OpenFlowError) -> None:
        """Answer a request with an error."""
        xid = int.from_bytes(raw[4:8], "big")
        self.connection.send(encode_error(error.code, self.version, raw, xid))

    def _dispatch(self, raw: bytes) -> None:
        try:
            message = decode(raw, self.context)
            handler = HANDLERS.get(type(message))
            if handler is None:
                raise OpenFlowError(ErrorCode.BAD_REQUEST_BAD_TYPE)
            handler(self, message, int.from_bytes(raw[4:8], "big"))
        except OpenFlowError as e:
            log.debug("bridge=%s peer=%s: %s", self.bridge.name, self.connection.name, e)
            self.refuse(raw, e)

    def require_writer(self) -> None:
        """Raises OpenFlowError(IS_SLAVE) where this controller may only look."""
        if self.is_slave:
            raise OpenFlowError(ErrorCode.BAD_REQUEST_IS_SLAVE)

    @property
    def is_slave(self) -> bool:
        """This controller may only look."""
        return self.role is Role.SLAVE

    def demote(self) -> None:
        """Another controller became master; this one is told where its version can say so."""
        self.role = Role.SLAVE
        self.feed.role_status(_MASTER_REQUEST)
