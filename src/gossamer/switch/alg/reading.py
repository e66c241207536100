"""What a helper makes of a packet: connections to expect, and what is sent on in its place.

docs/conntrack.md (Helpers) has the rules.  Nothing here touches the kernel.

In the words below a connection leads from a client to a server.  Its `orig`
tuple has the server as the client knows it, its `reply` tuple both as the
server's side knows them; they differ where addresses are translated.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import ip_address

from gossamer.datapath.conntrack import Connection, Expectation, Tuple
from gossamer.switch.alg.ftp import LOWEST_PORT, Address, Announcement, rewrite


@dataclass(frozen=True, slots=True)
class Reading:
    """`payload` is what is to be sent on; `refused` says what was announced and not believed."""

    payload: bytes
    expectations: tuple[Expectation, ...] = ()
    refused: tuple[str, ...] = ()


def read_ftp(
    connection: Connection, reply: bool, payload: bytes, announcements: Iterable[Announcement]
) -> Reading:
    """What the announcements in a segment mean; `reply`: it is the server's.

    An announcement is believed where it names the announcer's own address, as
    it knows it or as the other side does, and no port of a service.
    """
    orig, answer = connection.orig, connection.reply
    own, shown = (answer.src, orig.dst) if reply else (orig.src, answer.dst)
    expectations: list[Expectation] = []
    changes: list[tuple[Announcement, Address, int]] = []
    refused: list[str] = []
    for a in announcements:
        if a.address is not None and a.address.packed not in (own, shown):
            refused.append(f"{a.kind.value} of another's address {a.address}")
        elif a.port < LOWEST_PORT:
            refused.append(f"{a.kind.value} of port {a.port}")
        else:
            expectations.append(_to_server(connection, a) if reply else _to_client(connection, a))
            if a.address is not None and a.address.packed != shown:
                changes.append((a, ip_address(shown), a.port))
    return Reading(rewrite(payload, changes), tuple(expectations), tuple(refused))


def _expectation(
    connection: Connection, src: bytes, dst: bytes, port: int, answer: Tuple
) -> Expectation:
    """A connection from any port of `src` to a port of `dst`; its answers are to look like `answer`."""
    first = Tuple(src, dst, connection.orig.proto, 0, port, connection.zone)
    nat = None
    if answer.dst != src:
        nat = answer.dst
    elif answer.src != dst:
        nat = answer.src
    return Expectation(
        first=first,
        parent=connection.orig,
        mark=connection.mark,
        label=connection.label,
        nat=nat,
        nat_destination=answer.dst != src,
    )


def _to_client(connection: Connection, a: Announcement) -> Expectation:
    """The server's connection to the client, which must look to both as the first one does."""
    orig, answer = connection.orig, connection.reply
    there = Tuple(orig.src, orig.dst, orig.proto)
    return _expectation(connection, answer.src, answer.dst, a.port, there)


def _to_server(connection: Connection, a: Announcement) -> Expectation:
    """The client's next connection to the server."""
    orig, answer = connection.orig, connection.reply
    return _expectation(connection, orig.src, orig.dst, a.port, answer)


def read_tftp(connection: Connection, payload: bytes) -> Reading:
    """A request: the server answers from a port of its own choice."""
    orig, answer = connection.orig, connection.reply
    there = Tuple(orig.src, orig.dst, orig.proto)
    expected = _expectation(connection, answer.src, answer.dst, answer.dport, there)
    return Reading(payload, (expected,))
