"""What a helper makes of a packet: connections to expect, and what is sent on in its place.

docs/conntrack.md (Helpers) has the rules.  Nothing here touches the kernel.

In the words below a connection leads from a client to a server.  Its `orig`
tuple has the server as the client knows it, its `reply` tuple both as the
server's side knows them; they differ where addresses are translated.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from ipaddress import ip_address

from gossamer.datapath.conntrack.connection import Connection
from gossamer.pipeline.conntrack.expected import Expectation
from gossamer.pipeline.conntrack.tuple import Tuple
from gossamer.switch.alg.ftp import LOWEST_PORT, Address, Announcement, rewrite


@dataclass(frozen=True, slots=True)
class Reading:
    """`payload` is what is to be sent on; `refused` says what was announced and not believed."""

    payload: bytes
    expectations: tuple[Expectation, ...] = ()
    refused: tuple[str, ...] = ()


Ports = Callable[[Tuple], int | None]
"""Given what the first packet of a connection to an address of ours would be: the port that it may
go to, that one or another, or None where all that were tried are others' already."""


def read_ftp(
    connection: Connection,
    reply: bool,
    payload: bytes,
    announcements: Iterable[Announcement],
    ports: Ports,
) -> Reading:
    """What the announcements in a segment mean; `reply`: it is the server's.

    An announcement is believed where it names the announcer's own address, as
    it knows it or as the other side does, and no port of a service.  `ports`
    is asked where that address is translated: others may be behind it.
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
            expected = (_to_server if reply else _to_client)(connection, a, ports)
            if expected is None:
                refused.append(f"{a.kind.value} of port {a.port}, for which none is free")
                continue
            expectations.append(expected)
            port = expected.first.dport
            moved = a.address is not None and a.address.packed != shown
            if moved or port != a.port:
                changes.append((a, ip_address(shown), port))
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


def _with_port(expected: Expectation, ports: Ports) -> Expectation | None:
    """The expectation, at a port that is nobody else's."""
    if expected.nat is None or expected.nat_destination:
        return expected
    own = expected.first.dport
    port = ports(expected.first)
    if port is None or port == own:
        return expected if port else None
    return replace(expected, first=replace(expected.first, dport=port), nat_port=own)


def _to_client(connection: Connection, a: Announcement, ports: Ports) -> Expectation | None:
    """The server's connection to the client, which must look to both as the first one does."""
    orig, answer = connection.orig, connection.reply
    there = Tuple(orig.src, orig.dst, orig.proto)
    return _with_port(_expectation(connection, answer.src, answer.dst, a.port, there), ports)


def _to_server(connection: Connection, a: Announcement, ports: Ports) -> Expectation | None:
    """The client's next connection to the server."""
    orig, answer = connection.orig, connection.reply
    return _with_port(_expectation(connection, orig.src, orig.dst, a.port, answer), ports)


def read_tftp(connection: Connection, payload: bytes) -> Reading:
    """A request: the server answers from a port of its own choice."""
    orig, answer = connection.orig, connection.reply
    there = Tuple(orig.src, orig.dst, orig.proto)
    expected = _expectation(connection, answer.src, answer.dst, answer.dport, there)
    if expected.nat is not None and orig.sport != answer.dport:
        expected = replace(expected, nat_port=orig.sport)
    return Reading(payload, (expected,))
