"""Kernel and reference agree on translations that random sequences seldom come to."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from gossamer.datapath.datapath import Datapath
from gossamer.pipeline.execute import Pipeline
from gossamer.pipeline.world import Port
from tests.property.case import BridgeCase, Case, PacketCase
from tests.property.compare import disagreement
from tests.property.in_kernel import open_datapath
from tests.property.nat_world import INSIDE, OUTSIDE, flow, nat_rules
from tests.property.wire import echo, error, frame, network, see, tcp, udp, udp_segment

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


@pytest.fixture(scope="module")
def datapath(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Datapath]:
    opened = open_datapath(Path("/sys/fs/bpf") / tmp_path_factory.mktemp("agreed").name)
    yield opened
    opened.destroy()


class Talk:
    """Packets one after the other; what the reference makes of each decides on the next."""

    def __init__(self, how: str) -> None:
        flows = tuple(flow(text) for text in nat_rules(how))
        self.bridge = BridgeCase("br0", (Port(INSIDE), Port(OUTSIDE)), flows)
        self.pipeline = Pipeline(Case((self.bridge,), ()).world())
        self.packets: list[PacketCase] = []

    def send(self, port: int, data: bytes) -> bytes | None:
        """What comes out, if anything does."""
        self.packets.append(PacketCase("br0", port, data))
        out = self.pipeline.run("br0", port, data).outputs
        return out[0].packet if out else None

    def must_agree(self, datapath: Datapath) -> None:
        """Run the same in the kernel."""
        assert disagreement(datapath, Case((self.bridge,), tuple(self.packets))) == ""


FAMILIES = [
    pytest.param("10.0.0.{}", "192.0.2.9", "198.51.100.1", "203.0.113.7", id="ipv4"),
    pytest.param("fd00::{}", "2001:db8::9", "2001:db8:1::1", "2001:db8:2::7", id="ipv6"),
]


def literal(address: str) -> str:
    return f"[{address}]" if ":" in address else address


@pytest.mark.parametrize(("inside", "server", "outside", "router"), FAMILIES)
def test_hosts_that_ping_with_the_same_identifier_and_errors_about_them(
    datapath: Datapath, inside: str, server: str, outside: str, router: str
) -> None:
    talk = Talk(f"src={literal(outside)}")
    for host in range(1, 30):
        out = talk.send(INSIDE, echo(inside.format(host), server, 77))
        assert out is not None
        talk.send(OUTSIDE, echo(server, outside, see(out).sport, reply=True))
        talk.send(OUTSIDE, error(router, outside, out))
        talk.send(OUTSIDE, error(router, outside, out, 28 if ":" not in inside else 60))
    talk.must_agree(datapath)


@pytest.mark.parametrize(("inside", "server", "outside", "router"), FAMILIES)
@pytest.mark.parametrize("ports", ["6000-6010", "6000-6255", "6000-6256", "1-65535"])
def test_ranges_that_fill_up_and_errors_about_what_was_translated(
    datapath: Datapath, inside: str, server: str, outside: str, router: str, ports: str
) -> None:
    talk = Talk(f"src={literal(outside)}:{ports}")
    for host in range(1, 16):
        for make in (tcp, udp):
            out = talk.send(INSIDE, make(inside.format(host), 4000, server, 80))
            if out is None:
                continue
            talk.send(OUTSIDE, error(router, outside, out))
            talk.send(OUTSIDE, error(server, outside, out, 200))
    talk.must_agree(datapath)


@pytest.mark.parametrize(("inside", "server", "outside", "router"), FAMILIES)
def test_a_virtual_address_whose_ports_are_all_taken_moves_the_source(
    datapath: Datapath, inside: str, server: str, outside: str, router: str
) -> None:
    talk = Talk(f"dst={literal(server)}:8080-8081")
    for port in range(80, 86):
        out = talk.send(INSIDE, tcp(inside.format(1), 4000, outside, port))
        assert out is not None
        talk.send(INSIDE, error(inside.format(1), outside, _answer(out)))
        talk.send(OUTSIDE, error(router, inside.format(1), out))
    talk.must_agree(datapath)


def _answer(out: bytes) -> bytes:
    """What the server would say, as the client would quote it."""
    seen = see(out)
    return tcp(seen.dst, seen.dport, seen.src, seen.sport, 0x12)


@pytest.mark.parametrize(("inside", "server", "outside", "router"), FAMILIES)
def test_fragments_of_translated_datagrams(
    datapath: Datapath, inside: str, server: str, outside: str, router: str
) -> None:
    talk = Talk(f"src={literal(outside)}:6000-6003")
    for host in range(1, 4):
        source = inside.format(host)
        datagram = udp_segment(source, 4000, server, 53, bytes(range(200)))
        pieces = [(at, datagram[at : at + 64]) for at in range(0, len(datagram), 64)]
        for identifier, order in ((1, pieces), (2, pieces[::-1]), (3, pieces + pieces[:2])):
            for at, piece in order:
                packet = network(
                    source, server, 17, piece,
                    identifier=identifier, offset=at, more=at + 64 < len(datagram),
                )  # fmt: skip
                talk.send(INSIDE, frame(packet))
    talk.must_agree(datapath)
