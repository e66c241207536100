"""The controller's end of an OpenFlow 1.3 connection, one request at a time."""

from __future__ import annotations

import socket
import time
from collections import deque
from types import TracebackType
from typing import Any

from os_ken.ofproto import ofproto_parser, ofproto_protocol
from os_ken.ofproto import ofproto_v1_3 as ofp
from os_ken.ofproto import ofproto_v1_3_parser as parser

from tests.conformance.cases import Message

_HEADER_BYTES = 8
_ANSWER_S = 30.0
_CODES = {
    "OFPET_BAD_REQUEST": "OFPBRC_",
    "OFPET_BAD_ACTION": "OFPBAC_",
    "OFPET_BAD_INSTRUCTION": "OFPBIC_",
    "OFPET_BAD_MATCH": "OFPBMC_",
    "OFPET_FLOW_MOD_FAILED": "OFPFMFC_",
    "OFPET_GROUP_MOD_FAILED": "OFPGMFC_",
    "OFPET_METER_MOD_FAILED": "OFPMMFC_",
}
"""How the names of an error's codes begin (OpenFlow 1.3.5, 7.4.4)."""

DATAPATH = ofproto_protocol.ProtocolDesc(ofp.OFP_VERSION)
"""What os-ken's messages want to know of the switch: its version."""


class Refused(Exception):
    """The switch answered with an error."""

    def __init__(self, message: Any) -> None:
        kind = _name("OFPET_", message.type)
        # An experimenter's error has a code that only the experimenter knows.
        code = _name(_CODES.get(kind, ""), getattr(message, "code", -1))
        super().__init__(f"{kind} {code}")


def _name(prefix: str, value: int) -> str:
    names = [k for k, v in vars(ofp).items() if prefix and k.startswith(prefix) and v == value]
    return names[0] if names else str(value)


class Silent(Exception):
    """The switch did not answer, or hung up."""


def from_json(message: Message) -> Any:
    """A message of a case, as os-ken has it, with its lengths filled in.

    Making it complete takes two steps there, and only complete ones compare
    equal to what the switch reports.
    """
    made = ofproto_parser.ofp_msg_from_jsondict(DATAPATH, message)
    made.serialize()
    return made


class Channel:
    """A connection that a switch opened.  The greeting is over when it is made."""

    def __init__(self, listener: socket.socket, timeout_s: float = 60) -> None:
        listener.settimeout(timeout_s)
        self._socket, _ = listener.accept()
        self._socket.settimeout(_ANSWER_S)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._received = bytearray()
        self._next_xid = 1
        self.packet_ins: deque[Any] = deque()
        """Those that came, oldest first."""
        self._send(parser.OFPHello(DATAPATH))
        self.ask(parser.OFPFeaturesRequest(DATAPATH))
        self.tell(parser.OFPSetConfig(DATAPATH, ofp.OFPC_FRAG_NORMAL, ofp.OFPCML_NO_BUFFER))

    def __enter__(self) -> Channel:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._socket.close()

    def fileno(self) -> int:
        """To wait for it with others."""
        return self._socket.fileno()

    def tell(self, *messages: Any) -> None:
        """Send messages, and wait until the switch has done them.

        Raises Refused for the first one that it answers with an error.
        """
        self.ask(*messages)

    def ask(self, *messages: Any) -> list[Any]:
        """Like ``tell``; returns the answers, the parts of a long one each by itself."""
        xids = {self._send(message) for message in messages}
        last = self._send(parser.OFPBarrierRequest(DATAPATH))
        answers = []
        until = time.monotonic() + _ANSWER_S
        while True:
            message = self._receive(until)
            if message.xid == last and isinstance(message, parser.OFPBarrierReply):
                break
            if message.xid in xids:
                answers.append(message)
        for answer in answers:
            if isinstance(answer, parser.OFPErrorMsg):
                raise Refused(answer)
        return answers

    def take_in(self) -> None:
        """Read what has come without being asked for; packets go to ``packet_ins``."""
        self._socket.settimeout(0)
        try:
            while data := self._socket.recv(65536):
                self._received += data
        except BlockingIOError:
            pass
        finally:
            self._socket.settimeout(_ANSWER_S)
        while self._take() is not None:
            pass

    def _send(self, message: Any) -> int:
        xid, self._next_xid = self._next_xid, self._next_xid + 1
        message.xid = None
        message.set_xid(xid)
        message.serialize()
        self._socket.sendall(message.buf)
        return xid

    def _receive(self, until: float) -> Any:
        while (message := self._take()) is None:
            if time.monotonic() > until:
                raise Silent("no answer to a barrier")
            try:
                data = self._socket.recv(65536)
            except TimeoutError:
                raise Silent("no answer to a barrier") from None
            if not data:
                raise Silent("the switch closed the connection")
            self._received += data
        return message

    def _take(self) -> Any | None:
        """The next message that is none of the connection's own business."""
        while len(self._received) >= _HEADER_BYTES:
            version, kind, length, xid = ofproto_parser.header(self._received)
            if len(self._received) < length:
                return None
            data = bytes(self._received[:length])
            del self._received[:length]
            if kind == ofp.OFPT_HELLO:
                continue
            message = ofproto_parser.msg(DATAPATH, version, kind, length, xid, data)
            if isinstance(message, parser.OFPEchoRequest):
                answer = parser.OFPEchoReply(DATAPATH, data=message.data)
                answer.set_xid(xid)
                answer.serialize()
                self._socket.sendall(answer.buf)
            elif isinstance(message, parser.OFPPacketIn):
                self.packet_ins.append(message)
                return message
            elif message is not None:
                return message
        return None
