"""A bridge whose flows look at more of a packet than a cached path's key holds forwards all the same."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gossamer.datapath.datapath import Datapath
from tests.property import connections
from tests.property.case import Case
from tests.property.compare import disagreement
from tests.property.connections import rule
from tests.property.generate import case

REGISTERS = ",".join(f"reg{n}=1" for n in range(16))
WIDE = tuple(
    rule(f"table=200,priority={priority},{match},actions=ct(table=201)")
    for priority, match in enumerate(
        (
            f"{REGISTERS},metadata=1",
            "tun_id=1,tun_ipv6_src=1::2:3:4:5,tun_ipv6_dst=1::2:3:4:5,pkt_mark=1",
            "ct_mark=1,ct_label=0x1000000020000000300000004,"
            "ipv6,ct_state=+trk,ct_ipv6_src=1::2:3:4:5,ct_ipv6_dst=1::2:3:4:5",
            "udp6,ipv6_src=1::2:3:4:5,ipv6_dst=1::2:3:4:5,ipv6_label=1,tp_src=1",
            "icmp6,icmp_type=135,icmp_code=0,nd_target=1::2:3:4:5,nd_sll=00:00:00:00:00:01",
            "ip,dl_src=00:00:00:00:00:01,dl_dst=00:00:00:00:00:01,nw_src=1.1.1.1,nw_dst=1.1.1.1",
        )
    )
)
"""They never match, and read all this."""


def widened(made: Case) -> Case:
    """The same, of bridges whose flows look at more than the cache holds."""
    return replace(
        made, bridges=tuple(replace(b, flows=(*b.flows, *WIDE)) for b in made.bridges)
    )


@pytest.mark.parametrize("seed", range(12))
def test_packets_fare_as_ever_where_no_path_can_be_kept(datapath: Datapath, seed: int) -> None:
    assert disagreement(datapath, widened(case(seed, 20))) == ""


@pytest.mark.parametrize("seed", range(4))
def test_connections_do_too(datapath: Datapath, seed: int) -> None:
    assert disagreement(datapath, widened(connections.case(seed, 40, nat=True))) == ""
