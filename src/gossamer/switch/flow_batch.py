"""FLOW_MODs and barriers that come one after the other, carried out together.

One batch is one transaction of the datapath and one record of the journal.
Replies wait in the output until the batch is committed, so that a barrier's
reply says what it must: everything before it is in effect.  Where the datapath
refuses a batch, it is taken back and its messages are carried out again one by
one, so that only those that do not fit are refused.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from gossamer.errors import DatapathError
from gossamer.openflow import encode
from gossamer.openflow.codec import decode_flow_mod
from gossamer.openflow.error import ErrorCode, OpenFlowError
from gossamer.openflow.message import NO_BUFFER
from gossamer.switch.connection import HEADER_LEN

if TYPE_CHECKING:
    from gossamer.pipeline.flow import Flow
    from gossamer.switch.session import Session

log = logging.getLogger(__name__)


class FlowBatch:
    """The batch a session is gathering."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._raw: list[bytes] = []
        self._applied: list[bytes | list[Flow]] = []
        self._mark = (0, 0)
        self._now = 0.0

    def _begin(self) -> None:
        """Start a batch; everything in it happens at the same instant."""
        self._now = time.monotonic()
        self._mark = self._session.connection.output_mark()

    def flow_mod(self, raw: bytes) -> None:
        """Carry out a FLOW_MOD in the tables."""
        session = self._session
        if not self._raw:
            self._begin()
        self._raw.append(raw)
        try:
            session.require_writer()
            message = decode_flow_mod(raw, session.context)
            flow_mods = session.bridge.flow_mods
            flow_mods.apply(message, self._now, session)
        except OpenFlowError as e:
            session.refuse(raw, e)
            return
        self._applied.append(raw)
        if flow_mods.evicted:
            self._applied.append(flow_mods.take_evicted())
        if message.buffer_id != NO_BUFFER:
            # No packet is ever buffered here; the flow stands all the same.
            session.refuse(raw, OpenFlowError(ErrorCode.BAD_REQUEST_BUFFER_UNKNOWN))

    def barrier(self, raw: bytes) -> None:
        """Answer a barrier; the answer leaves when the batch is committed."""
        if not self._raw:
            self._begin()
        self._raw.append(raw)
        session = self._session
        xid = int.from_bytes(raw[4:8], "big")
        session.connection.send(encode.barrier_reply(session.version, xid))

    def commit(self) -> None:
        """Make the batch take effect."""
        raw = self._raw
        if not raw:
            return
        self._raw = []
        bridge = self._session.bridge
        try:
            bridge.commit()
        except DatapathError as e:
            log.warning("bridge=%s: the datapath refuses flows: %s", bridge.name, e)
            self._applied.clear()
            self._session.connection.drop_output(self._mark)
            self._one_by_one(raw)
            return
        if self._applied:
            bridge.note(self._applied, self._session.context, self._now)
            self._applied.clear()

    def _one_by_one(self, messages: list[bytes]) -> None:
        bridge = self._session.bridge
        for raw in messages:
            if len(raw) == HEADER_LEN:
                self.barrier(raw)
                self._raw.clear()
                continue
            self.flow_mod(raw)
            self._raw.clear()
            try:
                bridge.commit()
            except DatapathError:
                self._applied.clear()
                full = OpenFlowError(ErrorCode.FLOW_MOD_FAILED_TABLE_FULL)
                self._session.refuse(raw, full)
                continue
            if self._applied:
                bridge.note(self._applied, self._session.context, self._now)
                self._applied.clear()
