"""Changes of rules and barriers that come one after the other, carried out together.

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

from gossamer.errors import DatapathError, UnsupportedActionError
from gossamer.openflow import encode
from gossamer.openflow import message as m
from gossamer.openflow.codec import decode, decode_flow_mod
from gossamer.openflow.error import ErrorCode, OpenFlowError
from gossamer.switch.connection import HEADER_LEN
from gossamer.switch.rule_mod import METER_MOD, RuleMod, is_flow_mod

if TYPE_CHECKING:
    from gossamer.pipeline.flow import Flow
    from gossamer.switch.session import Session

log = logging.getLogger(__name__)


class RuleBatch:
    """The batch a session is gathering."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._raw: list[bytes] = []
        self._applied: list[bytes | list[Flow]] = []
        self._forwarded: list[tuple[m.GroupMod | m.MeterMod, int]] = []
        self._mark = (0, 0)
        self._now = 0.0

    def _begin(self) -> None:
        """Start a batch; everything in it happens at the same instant."""
        self._now = time.monotonic()
        self._mark = self._session.connection.output_mark()

    def change(self, raw: bytes) -> None:
        """Carry out a FLOW_MOD, GROUP_MOD or METER_MOD."""
        session = self._session
        if not self._raw:
            self._begin()
        self._raw.append(raw)
        try:
            session.require_writer()
            context = session.context
            message = decode_flow_mod(raw, context) if is_flow_mod(raw) else decode(raw, context)
            assert isinstance(message, RuleMod)
            xid = int.from_bytes(raw[4:8], "big")
            evicted = session.bridge.rules.apply(message, self._now, session, xid)
        except OpenFlowError as e:
            session.refuse(raw, e)
            return
        self._applied.append(raw)
        if evicted:
            self._applied.append(evicted)
        if not isinstance(message, m.FlowMod):
            self._forwarded.append((message, xid))
        elif message.buffer_id != m.NO_BUFFER:
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
        if not self._applied:
            return  # barriers, and what was refused
        bridge = self._session.bridge
        try:
            bridge.commit()
        except DatapathError as e:
            log.warning("bridge=%s: the datapath refuses a change: %s", bridge.name, e)
            self._applied.clear()
            self._forwarded.clear()
            self._session.connection.drop_output(self._mark)
            self._one_by_one(raw)
            return
        self._committed()

    def _committed(self) -> None:
        bridge = self._session.bridge
        if self._applied:
            bridge.rules.note(self._applied, self._session.context, self._now)
            self._applied.clear()
        for message, xid in self._forwarded:
            bridge.forward_request(message, xid, self._session)
        self._forwarded.clear()

    def _one_by_one(self, messages: list[bytes]) -> None:
        bridge = self._session.bridge
        for raw in messages:
            if len(raw) == HEADER_LEN:
                self.barrier(raw)
                self._raw.clear()
                continue
            self.change(raw)
            self._raw.clear()
            try:
                bridge.commit()
            except DatapathError as e:
                self._applied.clear()
                self._forwarded.clear()
                self._session.refuse(raw, OpenFlowError(refusal_of(raw, e), e.message))
                continue
            self._committed()


def refusal_of(raw: bytes, error: DatapathError) -> ErrorCode:
    """The error for a change that the datapath cannot carry out, or has no room for."""
    if isinstance(error, UnsupportedActionError):
        return ErrorCode.BAD_ACTION_BAD_TYPE
    if is_flow_mod(raw):
        return ErrorCode.FLOW_MOD_FAILED_TABLE_FULL
    if raw[1] == METER_MOD:
        return ErrorCode.METER_MOD_FAILED_OUT_OF_METERS
    return ErrorCode.GROUP_MOD_FAILED_OUT_OF_GROUPS
