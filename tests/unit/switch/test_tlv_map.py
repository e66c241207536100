"""Geneve's options: mapped by ovs-ofctl, used in flows, shown as Open vSwitch 3.1 shows them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from running_switch import RunningSwitch, bridge

from gossamer.datapath.tunnel_settings import TunnelOption
from gossamer.pipeline.fields import KEY_LEN, SLOTS
from gossamer.pipeline.tlv import LAYOUT

MAP = "{class=0xffff,type=0,len=4}->tun_metadata0,{class=0x102,type=0x80,len=8}->tun_metadata1"


@pytest.fixture
def switch(tmp_path: Path) -> Iterator[RunningSwitch]:
    switch = RunningSwitch(tmp_path)
    switch.apply()
    yield switch
    switch.stop()
    assert not LAYOUT.fields


def _mapped(switch: RunningSwitch) -> list[str]:
    return [line for line in switch.ofctl("dump-tlv-map", "br0").splitlines() if "0x" in line][1:]


def test_options_are_mapped_and_listed(switch: RunningSwitch) -> None:
    switch.ofctl("add-tlv-map", "br0", MAP)
    shown = switch.ofctl("dump-tlv-map", "br0").splitlines()[1:]
    assert shown == [
        " max option space=56 max fields=64",
        " allocated option space=12",
        "",
        " mapping table:",
        "  class  type  length  match field",
        " ------  ----  ------  --------------",
        " 0xffff     0       4  tun_metadata0",
        "  0x102  0x80       8  tun_metadata1",
    ]
    assert list(switch.datapath.tlv_maps.values()) == [
        [TunnelOption(0xFFFF, 0, 4, 0), TunnelOption(0x102, 0x80, 8, 4)]
    ]


REFUSED = [
    ("{class=0xffff,type=1,len=4}->tun_metadata0", "NXTTMFC_ALREADY_MAPPED"),
    ("{class=0xffff,type=0,len=4}->tun_metadata5", "NXTTMFC_DUP_ENTRY"),
    ("{class=0xffff,type=1,len=5}->tun_metadata5", "NXTTMFC_BAD_OPT_LEN"),
    ("{class=0xffff,type=1,len=128}->tun_metadata5", "NXTTMFC_BAD_OPT_LEN"),
    ("{class=0xffff,type=1,len=4}->tun_metadata64", "NXTTMFC_BAD_FIELD_IDX"),
    (
        "{class=0xffff,type=9,len=4}->tun_metadata9,{class=0xffff,type=8,len=124}->tun_metadata8",
        "NXTTMFC_TABLE_FULL",
    ),
]


@pytest.mark.parametrize(("map_", "error"), REFUSED)
def test_a_wrong_map_changes_nothing(switch: RunningSwitch, map_: str, error: str) -> None:
    switch.ofctl("add-tlv-map", "br0", MAP)
    before = _mapped(switch)
    assert error in switch.ofctl("add-tlv-map", "br0", map_, check=False)
    assert _mapped(switch) == before


SHOWN = [
    (
        "priority=10,tun_metadata0=0x1234,actions=set_field:0x5->tun_metadata1,2",
        "priority=10,tun_metadata0=0x1234 actions=set_field:0x5->tun_metadata1,output:2",
    ),
    (
        "priority=11,tun_metadata0=0x1234/0xffff,"
        "actions=move:NXM_NX_TUN_METADATA1[0..31]->NXM_NX_REG0[],"
        "load:0x7->NXM_NX_TUN_METADATA0[0..31],2",
        "priority=11,tun_metadata0=0x1234/0xffff "
        "actions=move:NXM_NX_TUN_METADATA1[0..31]->NXM_NX_REG0[],"
        "set_field:0x7->tun_metadata0,output:2",
    ),
    (
        "priority=12,tun_metadata0,actions=set_field:0x12/0xff->tun_metadata0,2",
        "priority=12,tun_metadata0 actions=set_field:0x12/0xff->tun_metadata0,output:2",
    ),
    (
        "priority=13,tun_metadata0,actions=delete_field:tun_metadata0,2",
        "priority=13,tun_metadata0 actions=delete_field:tun_metadata0,output:2",
    ),
    ("priority=14,tun_metadata0=0x123456789,actions=2", "priority=14,tun_metadata0=0x1234567 actions=output:2"),
    (
        "priority=18,tun_erspan_ver=1,tun_erspan_idx=0x7,actions=2",
        "priority=18,tun_erspan_ver=1,tun_erspan_idx=0x7 actions=output:2",
    ),
    (
        "priority=19,tun_erspan_ver=2,tun_erspan_dir=1,tun_erspan_hwid=0x3f,"
        "actions=set_field:1->tun_erspan_ver,set_field:0x12345->tun_erspan_idx,2",
        "priority=19,tun_erspan_ver=2,tun_erspan_dir=1,tun_erspan_hwid=0x3f "
        "actions=set_field:1->tun_erspan_ver,set_field:0x12345->tun_erspan_idx,output:2",
    ),
    (
        "priority=20,tun_gbp_id=5,tun_gbp_flags=0x48,tun_flags=oam,"
        "actions=set_field:9->tun_gbp_id,set_field:0x8->tun_gbp_flags,set_field:oam->tun_flags,2",
        "priority=20,tun_gbp_id=5,tun_gbp_flags=0x48,tun_flags=+oam "
        "actions=set_field:9->tun_gbp_id,set_field:0x8->tun_gbp_flags,set_field:oam->tun_flags,"
        "output:2",
    ),
]  # fmt: skip


@pytest.mark.parametrize("version", [10, 13, 15])
@pytest.mark.parametrize(("flow", "shown"), SHOWN)
def test_flows_on_tunnels_are_shown_as_they_were_made(
    switch: RunningSwitch, flow: str, shown: str, version: int
) -> None:
    switch.ofctl("add-tlv-map", "br0", MAP, version=version)
    switch.ofctl("add-flow", "br0", flow)
    found = switch.ofctl("--no-stats", "dump-flows", "br0", version=version)
    found = found.replace("load:0x9->NXM_NX_TUN_GBP_ID[]", "set_field:9->tun_gbp_id")
    found = found.replace("load:0x8->NXM_NX_TUN_GBP_FLAGS[]", "set_field:0x8->tun_gbp_flags")
    found = found.replace("load:0x1->NXM_NX_TUN_FLAGS[]", "set_field:oam->tun_flags")
    if "tun_metadata0=0x1234/" in shown:  # ovs-ofctl shows no mask that is as long as the value
        shown = shown.replace("/0xffff", "")
    assert shown in [line.strip() for line in found.splitlines()]


def test_what_is_not_mapped_cannot_be_used(switch: RunningSwitch) -> None:
    for flow in ("tun_metadata7=1,actions=2", "actions=set_field:1->tun_metadata7,2"):
        assert "NXFMFC_INVALID_TLV_FIELD" in switch.ofctl("add-flow", "br0", flow, check=False)


def test_what_another_bridge_has_mapped_cannot_be_used_either(tmp_path: Path) -> None:
    switch = RunningSwitch(tmp_path)
    switch.apply(bridge("br0"), bridge("br1", 0))
    switch.ofctl("add-tlv-map", "br0", MAP)
    for flow in ("tun_metadata1=1,actions=2", "actions=set_field:1->tun_metadata1,2"):
        assert "NXFMFC_INVALID_TLV_FIELD" in switch.ofctl("add-flow", "br1", flow, check=False)
    switch.stop()


def test_an_option_that_flows_use_stays_mapped(switch: RunningSwitch) -> None:
    switch.ofctl("add-tlv-map", "br0", MAP)
    switch.ofctl("add-flow", "br0", "tun_metadata0=1,actions=set_field:2->tun_metadata1,2")
    one = "{class=0xffff,type=0,len=4}->tun_metadata0"
    for arguments in ((one,), ()):
        shown = switch.ofctl("del-tlv-map", "br0", *arguments, check=False)
        assert "NXTTMFC_INVALID_TLV_DEL" in shown
    switch.ofctl("del-flows", "br0")
    switch.ofctl("del-tlv-map", "br0", one)
    assert "tun_metadata1" in switch.ofctl("dump-tlv-map", "br0")
    switch.ofctl("del-tlv-map", "br0")
    assert "tun_metadata" not in switch.ofctl("dump-tlv-map", "br0").replace("tun_metadata\n", "")


def test_a_flow_that_matches_an_option_asks_that_it_is_there(switch: RunningSwitch) -> None:
    switch.ofctl("add-tlv-map", "br0", MAP)
    switch.ofctl("add-flow", "br0", "tun_metadata1=0,actions=2")
    flow = next(f for f in switch.switch.bridges["br0"].tables if f.match.mask)
    shift = (KEY_LEN - SLOTS["tun_present"].offset - 2) * 8
    assert (flow.match.value >> shift) & 0xFFFF == 0b10
    assert (flow.match.mask >> shift) & 0xFFFF == 0b10


def test_the_map_survives_the_daemon(tmp_path: Path) -> None:
    first = RunningSwitch(tmp_path)
    first.apply()
    first.ofctl("add-tlv-map", "br0", "{class=1,type=1,len=4}->tun_metadata3")
    first.ofctl("add-tlv-map", "br0", MAP)
    first.ofctl("del-tlv-map", "br0", "{class=1,type=1,len=4}->tun_metadata3")
    first.ofctl("add-flow", "br0", "priority=7,tun_metadata1=0x1234,actions=2")
    places = {name: f.low_bit for name, f in LAYOUT.fields.items()}
    before = _mapped(first), first.flows()
    first.stop()
    assert not LAYOUT.fields
    second = RunningSwitch(tmp_path, first.datapath)
    second.apply()
    assert (_mapped(second), second.flows()) == before
    assert {name: f.low_bit for name, f in LAYOUT.fields.items()} == places
    second.stop()
