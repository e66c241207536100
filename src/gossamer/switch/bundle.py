"""Bundles: several messages that take effect together or not at all (OpenFlow 1.4.1, 6.8, 7.3.9).

A message is decoded when it is added, so that most mistakes are told then.
Commit carries all out in the tables, in order, and hands the datapath one
transaction; the first failure takes everything back.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING, Final

from gossamer.breath import let_go
from gossamer.errors import DatapathError
from gossamer.openflow import encode
from gossamer.openflow import message as m
from gossamer.openflow.codec import decode
from gossamer.openflow.error import ErrorCode, OpenFlowError
from gossamer.switch.rule_mod import RuleMod

if TYPE_CHECKING:
    from gossamer.pipeline.flow import Flow
    from gossamer.switch.session import Session

log = logging.getLogger(__name__)

IDLE_S: Final = 10.0
"""An open bundle nobody adds to is dropped after this."""
MAX_BUNDLES: Final = 64
_PART: Final = 256
"""Messages between two breaths."""
_FLAGS: Final = 0b11  # atomic, ordered


class Control(IntEnum):
    """ofp_bundle_ctrl_type."""

    OPEN_REQUEST = 0
    OPEN_REPLY = 1
    CLOSE_REQUEST = 2
    CLOSE_REPLY = 3
    COMMIT_REQUEST = 4
    COMMIT_REPLY = 5
    DISCARD_REQUEST = 6
    DISCARD_REPLY = 7


BundledMessage = m.FlowMod | m.GroupMod | m.MeterMod | m.PortMod | m.PacketOut


@dataclass(slots=True)
class Bundle:
    """Messages that wait for the commit."""

    flags: int
    used_s: float
    closed: bool = False
    messages: list[tuple[bytes, BundledMessage]] = field(default_factory=list)


class Bundles:
    """The open bundles of one session."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._bundles: dict[int, Bundle] = {}

    def clear(self) -> None:
        """The connection is gone: nothing will be committed."""
        self._bundles.clear()

    def run(self, now: float) -> None:
        """Drop bundles that were forgotten."""
        if self._bundles:
            for bundle_id in [i for i, b in self._bundles.items() if now - b.used_s > IDLE_S]:
                log.info("bridge=%s: bundle %#x timed out", self._session.bridge.name, bundle_id)
                del self._bundles[bundle_id]

    def control(self, message: m.BundleControl, xid: int) -> None:
        """Open, close, commit or discard.

        Raises OpenFlowError as OpenFlow 1.4.1, 7.5.4.18 says.
        """
        session = self._session
        session.require_writer()
        bundle_id = message.bundle_id
        if message.flags & ~_FLAGS:
            raise OpenFlowError(ErrorCode.BUNDLE_FAILED_BAD_FLAGS)
        if message.type == Control.OPEN_REQUEST:
            self._open(bundle_id, message.flags)
        elif message.type == Control.CLOSE_REQUEST:
            bundle = self._open_one(bundle_id, message.flags)
            bundle.closed = True
        elif message.type == Control.COMMIT_REQUEST:
            self._commit(bundle_id, message.flags)
        elif message.type == Control.DISCARD_REQUEST:
            if self._bundles.pop(bundle_id, None) is None:
                raise OpenFlowError(ErrorCode.BUNDLE_FAILED_BAD_ID)
        else:
            raise OpenFlowError(ErrorCode.BUNDLE_FAILED_BAD_TYPE)
        reply = m.BundleControl(bundle_id, message.type + 1, message.flags, message.onf)
        session.connection.send(encode.bundle_control(reply, session.version, xid))

    def _open(self, bundle_id: int, flags: int) -> Bundle:
        if self._bundles.pop(bundle_id, None) is not None:
            raise OpenFlowError(ErrorCode.BUNDLE_FAILED_BAD_ID)
        if len(self._bundles) >= MAX_BUNDLES:
            raise OpenFlowError(ErrorCode.BUNDLE_FAILED_OUT_OF_BUNDLES)
        bundle = self._bundles[bundle_id] = Bundle(flags, time.monotonic())
        return bundle

    def _open_one(self, bundle_id: int, flags: int) -> Bundle:
        bundle = self._bundles.get(bundle_id)
        if bundle is None:
            raise OpenFlowError(ErrorCode.BUNDLE_FAILED_BAD_ID)
        if bundle.closed:
            del self._bundles[bundle_id]
            raise OpenFlowError(ErrorCode.BUNDLE_FAILED_BUNDLE_CLOSED)
        if bundle.flags != flags:
            del self._bundles[bundle_id]
            raise OpenFlowError(ErrorCode.BUNDLE_FAILED_BAD_FLAGS)
        return bundle

    def add(self, message: m.BundleAdd, xid: int) -> None:
        """Add a message to a bundle, which is opened where it is not.

        Raises OpenFlowError where the message could never be carried out.
        """
        session = self._session
        session.require_writer()
        if message.flags & ~_FLAGS:
            raise OpenFlowError(ErrorCode.BUNDLE_FAILED_BAD_FLAGS)
        raw = message.message
        if int.from_bytes(raw[4:8], "big") != xid:
            raise OpenFlowError(ErrorCode.BUNDLE_FAILED_MSG_BAD_XID)
        decoded = decode(raw, session.context)
        if not isinstance(decoded, BundledMessage):
            raise OpenFlowError(ErrorCode.BUNDLE_FAILED_MSG_UNSUP)
        if message.bundle_id in self._bundles:
            bundle = self._open_one(message.bundle_id, message.flags)
        else:
            bundle = self._open(message.bundle_id, message.flags)
        bundle.used_s = time.monotonic()
        bundle.messages.append((raw, decoded))

    def _commit(self, bundle_id: int, flags: int) -> None:
        bundle = self._bundles.pop(bundle_id, None)
        if bundle is None:
            raise OpenFlowError(ErrorCode.BUNDLE_FAILED_BAD_ID)
        if bundle.flags != flags:
            raise OpenFlowError(ErrorCode.BUNDLE_FAILED_BAD_FLAGS)
        session, bridge = self._session, self._session.bridge
        now = time.monotonic()
        applied: list[bytes | list[Flow]] = []
        breathe = bridge.datapath.breathe
        others: list[tuple[bytes, m.GroupMod | m.MeterMod | m.PortMod | m.PacketOut]] = []
        for i, (raw, message) in enumerate(bundle.messages):
            if not i % _PART:
                breathe()
            if not isinstance(message, m.FlowMod):
                others.append((raw, message))
            try:
                if isinstance(message, RuleMod):
                    xid = int.from_bytes(raw[4:8], "big")
                    evicted = bridge.rules.apply(message, now, session, xid)
                    applied.append(raw)
                    if evicted:
                        applied.append(evicted)
                elif isinstance(message, m.PortMod):
                    bridge.check_port_mod(message)
                else:
                    bridge.check_packet_out(message)
            except OpenFlowError as e:
                bridge.rules.rollback()
                session.refuse(raw, e)
                raise OpenFlowError(ErrorCode.BUNDLE_FAILED_MSG_FAILED) from e
        try:
            bridge.commit()
        except DatapathError as e:
            raise OpenFlowError(ErrorCode.BUNDLE_FAILED_MSG_FAILED, str(e)) from e
        breathe()
        if applied:
            bridge.rules.note(applied, session.context, now)
        breathe()
        let_go(bundle.messages, breathe)
        let_go(applied, breathe)
        for raw, message in others:
            try:
                if isinstance(message, m.PortMod):
                    bridge.port_mod(message, session)
                elif isinstance(message, m.PacketOut):
                    bridge.packet_out(message)
                else:
                    bridge.forward_request(message, int.from_bytes(raw[4:8], "big"), session)
            except OpenFlowError as e:
                # Checked above, so a device went in between: too late to take all back.
                session.refuse(raw, e)
