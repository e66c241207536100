"""Options of tunnel interfaces, as Open vSwitch 3.1 takes, refuses and shows them."""

from __future__ import annotations

import pytest

from gossamer.errors import DeviceError
from gossamer.switch.tunnel_options import format_tunnel, parse_tunnel

Options = dict[str, str]


def _options(text: str) -> Options:
    return dict(pair.split("=", 1) for pair in text.split())


REFUSED = [
    ("vxlan", "", "p: vxlan type requires valid 'remote_ip' argument"),
    (
        "vxlan",
        "remote_ip=host.example",
        "p: bad vxlan 'remote_ip'\np: vxlan type requires valid 'remote_ip' argument",
    ),
    ("gre", "remote_ip=224.1.1.1", "p: multicast remote_ip=224.1.1.1 not allowed"),
    (
        "vxlan",
        "remote_ip=172.16.0.3 local_ip=flow",
        "p: vxlan type requires 'remote_ip=flow' with 'local_ip=flow'",
    ),
    (
        "vxlan",
        "remote_ip=172.16.0.3 local_ip=fd01::1",
        "p: 'remote_ip' and 'local_ip' has to be of the same address family",
    ),
    ("erspan", "remote_ip=172.16.0.4 erspan_ver=3", "p: invalid erspan version: 3"),
    (
        "erspan",
        "remote_ip=172.16.0.4 erspan_ver=1 erspan_idx=fffffffff",
        "p: invalid erspan index: fffffffff",
    ),
    (
        "erspan",
        "remote_ip=172.16.0.4 erspan_ver=2 erspan_dir=2",
        "p: invalid erspan direction: 2",
    ),
    (
        "erspan",
        "remote_ip=172.16.0.4 erspan_ver=2 erspan_hwid=fff",
        "p: invalid erspan hardware ID: fff",
    ),
    (
        "vxlan",
        "remote_ip=172.16.0.5 packet_type=legacy_l3",
        "p: legacy_l3 configured on VXLAN (without GPE) tunnel that cannot carry L3 traffic",
    ),
    ("geneve", "remote_ip=172.16.0.5 packet_type=bad", "p: unknown packet_type 'bad'"),
]


@pytest.mark.parametrize(("kind", "text", "error"), REFUSED)
def test_what_cannot_work_is_refused_in_the_words_of_the_peer(
    kind: str, text: str, error: str
) -> None:
    with pytest.raises(DeviceError) as caught:
        parse_tunnel("p", kind, _options(text))
    assert caught.value.message == error


WARNED = [
    ("gre", "remote_ip=172.16.0.3 foo=bar", "p: unknown gre argument 'foo'"),
    ("gre", "remote_ip=172.16.0.3 dst_port=9", "p: unknown gre argument 'dst_port'"),
    ("vxlan", "remote_ip=172.16.0.3 seq=true", "p: unknown vxlan argument 'seq'"),
    ("gre", "remote_ip=172.16.0.4 tos=3", "p: invalid TOS 3"),
    ("vxlan", "remote_ip=172.16.0.6 exts=nope", "p: unknown extension 'nope'"),
]


@pytest.mark.parametrize(("kind", "text", "warning"), WARNED)
def test_what_does_no_harm_is_a_warning(kind: str, text: str, warning: str) -> None:
    _, warnings = parse_tunnel("p", kind, _options(text))
    assert warnings == [warning]


SHOWN = [
    ("gre", "remote_ip=172.16.0.3 foo=bar", "remote_ip=172.16.0.3"),
    ("gre", "remote_ip=172.16.0.4 tos=3 ttl=abc", "remote_ip=172.16.0.4"),
    (
        "vxlan",
        "remote_ip=172.16.0.7 exts=gpe packet_type=ptap",
        "packet_type=ptap, remote_ip=172.16.0.7",
    ),
    (
        "ip6erspan",
        "remote_ip=fd01::2 erspan_ver=2",
        "erspan_dir=0, erspan_hwid=0x0, erspan_ver=2, remote_ip=fd01::2",
    ),
    (
        "vxlan",
        "remote_ip=flow key=flow tos=inherit ttl=inherit csum=true df_default=false",
        "csum=true, df_default=false, key=flow, remote_ip=flow, tos=inherit, ttl=inherit",
    ),
    (
        "geneve",
        "remote_ip=10.9.9.9 local_ip=172.16.0.1 in_key=7 out_key=flow tos=0x20 ttl=3",
        "in_key=7, local_ip=172.16.0.1, out_key=flow, remote_ip=10.9.9.9, tos=0x20, ttl=3",
    ),
    (
        "gre",
        "remote_ip=172.16.0.9 packet_type=ptap egress_pkt_mark=77 seq=true",
        "egress_pkt_mark=77, packet_type=ptap, remote_ip=172.16.0.9, seq=true",
    ),
    (
        "vxlan",
        "remote_ip=flow local_ip=flow key=flow dst_port=8472",
        "dst_port=8472, key=flow, local_ip=flow, remote_ip=flow",
    ),
    ("geneve", "remote_ip=fd01::2 key=0x10", "key=16, remote_ip=fd01::2"),
    (
        "erspan",
        "remote_ip=172.16.0.4 erspan_ver=2 erspan_hwid=3f erspan_dir=1 key=9",
        "erspan_dir=1, erspan_hwid=0x3f, erspan_ver=2, key=9, remote_ip=172.16.0.4",
    ),
    (
        "erspan",
        "remote_ip=172.16.0.5 erspan_ver=flow key=9",
        "erspan_dir=flow, erspan_hwid=flow, erspan_idx=flow, erspan_ver=flow, key=9, "
        "remote_ip=172.16.0.5",
    ),
    ("erspan", "remote_ip=172.16.0.5", "erspan_ver=0, remote_ip=172.16.0.5"),
]


@pytest.mark.parametrize(("kind", "text", "shown"), SHOWN)
def test_options_are_shown_as_the_peer_shows_them(kind: str, text: str, shown: str) -> None:
    tunnel, _ = parse_tunnel("p", kind, _options(text))
    assert format_tunnel(tunnel) == shown


def test_only_vxlan_sends_to_a_group() -> None:
    tunnel, _ = parse_tunnel("p", "vxlan", {"remote_ip": "239.1.1.1", "key": "7"})
    assert tunnel.multicast


def test_ports_that_received_packets_could_not_be_told_apart_by_are_the_same() -> None:
    def identity(text: str) -> object:
        return parse_tunnel("p", "vxlan", _options(text))[0].identity()

    assert identity("remote_ip=10.0.0.1 key=5") == identity("remote_ip=10.0.0.1 in_key=5 ttl=9")
    assert identity("remote_ip=10.0.0.1") == identity("remote_ip=10.0.0.1 key=0")
    assert identity("remote_ip=10.0.0.1 key=5") != identity("remote_ip=10.0.0.1 key=6")
    assert identity("remote_ip=10.0.0.1") != identity("remote_ip=10.0.0.1 dst_port=8472")
    assert identity("remote_ip=flow") != identity("remote_ip=flow local_ip=flow")
