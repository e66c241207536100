"""A port of the switch, held at its other end by a packet socket."""

from __future__ import annotations

import socket
import struct
import subprocess
from pathlib import Path

_ETH_P_ALL = 3
_SOL_PACKET = 263
_PACKET_AUXDATA = 8
_PACKET_IGNORE_OUTGOING = 23
_SO_RCVBUFFORCE = 33
_TP_STATUS_VLAN_VALID = 1 << 4
_TP_STATUS_VLAN_TPID_VALID = 1 << 6
_AUXDATA = struct.Struct("=IIIHHHH")
"""struct tpacket_auxdata: status, len, snaplen, mac, net, vlan_tci, vlan_tpid."""
_BUFFER_BYTES = 64 << 20


class Wire:
    """A veth pair; frames as they are on the wire, VLAN tags in their place."""

    def __init__(self, device: str) -> None:
        self.device = device
        """The end for the switch."""
        far = f"{device}x"
        _ip("link", "add", device, "type", "veth", "peer", "name", far)
        for end in (device, far):
            # What arrives comes from the tester or the switch, never from this host's kernel.
            Path(f"/proc/sys/net/ipv6/conf/{end}/disable_ipv6").write_text("1")
            _ip("link", "set", end, "up", "arp", "off")
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER_BYTES)
        self._socket.setsockopt(_SOL_PACKET, _PACKET_AUXDATA, 1)
        self._socket.setsockopt(_SOL_PACKET, _PACKET_IGNORE_OUTGOING, 1)
        self._socket.bind((far, _ETH_P_ALL))
        self._socket.setblocking(False)
        self._head = bytearray(64)

    def fileno(self) -> int:
        """To wait for it with others."""
        return self._socket.fileno()

    def send(self, frame: bytes) -> None:
        """Into the switch."""
        self._socket.send(frame)

    def receive(self) -> bytes | None:
        """The next frame out of the switch; None where there is none."""
        try:
            data, extra, _, _ = self._socket.recvmsg(65536, socket.CMSG_SPACE(_AUXDATA.size))
        except BlockingIOError:
            return None
        for level, kind, content in extra:
            if (level, kind) == (_SOL_PACKET, _PACKET_AUXDATA):
                status, _, _, _, _, tci, tpid = _AUXDATA.unpack_from(content)
                if status & _TP_STATUS_VLAN_VALID:
                    # The kernel takes the outermost tag out of the frame.
                    if not status & _TP_STATUS_VLAN_TPID_VALID:
                        tpid = 0x8100
                    data = data[:12] + struct.pack("!HH", tpid, tci) + data[12:]
        return data

    def receive_head(self) -> tuple[int, memoryview] | None:
        """The next frame's length and its first bytes, valid until the next call.

        Frames with a tag lack it here.
        """
        try:
            length = self._socket.recv_into(self._head, 0, socket.MSG_TRUNC)
        except BlockingIOError:
            return None
        return length, memoryview(self._head)

    def drain(self) -> None:
        """Forget what has arrived."""
        while self.receive() is not None:
            pass

    def close(self) -> None:
        """Remove both ends."""
        self._socket.close()
        _ip("link", "del", self.device)


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, timeout=30)
