"""Tunnels to Open vSwitch's own userspace datapath.

Both directions each time: either side speaks first, with addresses to resolve;
and tshark decodes what passed on the underlay without a complaint.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.system.tunnel_world import (
    OUR_INNER,
    OUR_IP,
    OUR_IP6,
    PEER_INNER,
    PEER_IP,
    PEER_IP6,
    OvsPeer,
    add_tunnel,
    captured,
    inner_ping,
    settle,
)
from tests.system.world import Host


@pytest.fixture
def host(tunnel_host: Host) -> Host:
    """A daemon with a bridge br0 and an instance `a` on it."""
    return tunnel_host


@pytest.fixture(scope="module")
def ovs(shared_host: Host) -> Iterator[OvsPeer]:
    """A machine with Open vSwitch, for all tests of the file that want it."""
    it = OvsPeer("ovspeer")
    yield it
    it.end()


# -- Open vSwitch ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Case:
    """A kind of tunnel, its options beside the addresses, and what tshark calls the packets."""

    kind: str
    options: tuple[str, ...]
    shown: str
    ipv6: bool = False

    @property
    def name(self) -> str:
        """Of the test."""
        return "-".join([self.kind, *(["ipv6"] if self.ipv6 else []), *self.options]).replace("=", "")


CASES = (
    Case("vxlan", ("key=5001",), "vxlan.vni == 5001"),
    Case("vxlan", ("key=5001", "csum=true"), "vxlan.vni == 5001 && udp.checksum != 0"),
    Case("vxlan", ("key=5001", "exts=gbp"), "vxlan.flag_g == 1 || vxlan.vni == 5001"),
    Case("vxlan", ("key=5001", "exts=gpe", "dst_port=4790"), "udp.port == 4790"),
    Case("vxlan", ("key=5001",), "vxlan.vni == 5001 && ipv6.addr == 2001:db8::1", True),
    Case("gre", ("key=7",), "gre.key == 7"),
    Case("gre", (), "gre"),
    Case("gre", ("key=7", "csum=true"), "gre.key == 7 && gre.checksum"),
    Case("ip6gre", ("key=7",), "gre.key == 7 && ipv6.addr == 2001:db8::2", True),
    Case("geneve", ("key=99",), "geneve.vni == 99"),
    Case("geneve", ("key=99",), "geneve.vni == 99 && ipv6.addr == 2001:db8::1", True),
    Case("erspan", ("key=11", "erspan_ver=1", "erspan_idx=0x5"), "erspan.spanid == 11"),
    Case("erspan", ("key=12", "erspan_ver=2", "erspan_dir=1", "erspan_hwid=0x7"), "erspan.spanid == 12"),
    Case("ip6erspan", ("key=11", "erspan_ver=1", "erspan_idx=0x5"), "erspan.spanid == 11", True),
)


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_open_vswitch_and_we_understand_each_other(host: Host, ovs: OvsPeer, case: Case) -> None:
    ours, theirs = (OUR_IP6, PEER_IP6) if case.ipv6 else (OUR_IP, PEER_IP)
    ovs.tunnel_bridge(case.kind, f'remote_ip="{ours}"', f'local_ip="{theirs}"', *case.options)
    try:
        add_tunnel(host, "br0", "tun0", case.kind, f'remote_ip="{theirs}"', f'local_ip="{ours}"', *case.options)
        with captured() as capture:
            settle(host)
            assert inner_ping(host, "a", PEER_INNER) == 3
            assert ovs.ping(OUR_INNER) == 3
            assert inner_ping(host, "a", PEER_INNER, 2, "-s", "1300") == 2
            host.check("ip", "-n", "a", "neigh", "flush", "all")
            ovs.ip("neigh", "flush", "dev", "br0")
            assert ovs.ping(OUR_INNER) == 3
        assert capture.complaints() == []
        shown = capture.fields(f"({case.shown}) && icmp", "frame.number")
        assert len(shown) >= 2 * (3 + 3 + 2 + 3)
    finally:
        ovs.vsctl("del-br", "br0")
