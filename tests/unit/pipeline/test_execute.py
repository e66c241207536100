"""Tables and actions in the reference pipeline."""

from __future__ import annotations

from gossamer.pipeline import action as act
from gossamer.pipeline.action import Action, SubField
from gossamer.pipeline.execute import Pipeline
from gossamer.pipeline.fields import BY_NAME, get, get_slot
from gossamer.pipeline.flow import Flow
from gossamer.pipeline.flow_syntax import compose, parse_flow
from gossamer.pipeline.match import ANY, Match, match
from gossamer.pipeline.of_port import OfPort
from gossamer.pipeline.packet import parse
from gossamer.pipeline.result import Reason, Result
from gossamer.pipeline.steps import Drop
from gossamer.pipeline.world import Bridge, Fragments, Port, TableMiss, World

TCP = compose(parse_flow("tcp,nw_src=10.0.0.1,nw_dst=10.0.0.2,nw_ttl=64,tp_dst=80").match)
PORTS = [Port(1), Port(2), Port(3), Port(int(OfPort.LOCAL))]


def rule(
    *actions: Action, table_id: int = 0, priority: int = 1, on: Match = ANY, cookie: int = 0
) -> Flow:
    return Flow(table_id, priority, on, actions, cookie=cookie)


def run(*flows: Flow, packet: bytes = TCP, miss: dict[int, TableMiss] | None = None) -> Result:
    return Pipeline(World([Bridge("br0", PORTS, flows, miss=miss)])).run("br0", 1, packet)


def out(result: Result) -> list[int]:
    return [o.ofport for o in result.outputs]


def set_field(name: str, value: int) -> act.SetField:
    f = BY_NAME[name]
    return act.SetField(f, value, (1 << f.n_bits) - 1)


def sub(name: str, low: int = 0, n_bits: int | None = None) -> SubField:
    f = BY_NAME[name]
    return SubField(f, low, f.n_bits if n_bits is None else n_bits)


def test_the_highest_priority_wins() -> None:
    low = rule(act.Output(2), priority=1)
    high = rule(act.Output(3), priority=2, on=match(eth_type=0x0800))
    result = run(low, high)
    assert out(result) == [3]
    assert result.flows == [high]


def test_a_table_miss_drops_by_default_and_is_counted() -> None:
    result = run(rule(act.Output(2), table_id=3))
    assert (out(result), result.misses, result.drops) == ([], [("br0", 0)], [Drop.NO_RULE])


def test_a_table_miss_may_go_on_or_go_to_the_controllers() -> None:
    miss = {0: TableMiss.CONTINUE, 1: TableMiss.CONTROLLER}
    result = run(miss=miss)
    assert result.misses == [("br0", 0), ("br0", 1)]
    assert [(p.reason, p.table_id, p.flow) for p in result.punts] == [(Reason.NO_MATCH, 1, None)]
    assert out(run(rule(act.Output(2), table_id=1), miss=miss)) == [2]


def test_output_to_the_ingress_port_needs_in_port() -> None:
    assert out(run(rule(act.Output(1), act.Output(2)))) == [2]
    assert out(run(rule(act.Output(int(OfPort.IN_PORT))))) == [1]


def test_flood_leaves_out_no_flood_ports_and_all_does_not() -> None:
    ports = [Port(1), Port(2, flood=False), Port(3)]
    for where, expected in ((OfPort.FLOOD, [3]), (OfPort.ALL, [2, 3])):
        bridge = Bridge("br0", ports, [rule(act.Output(int(where)))])
        assert out(Pipeline(World([bridge])).run("br0", 1, TCP)) == expected


def test_ports_that_do_not_receive_or_forward_are_honoured() -> None:
    ports = [Port(1, receive=False), Port(2, forward=False), Port(3, up=False)]
    bridge = Bridge("br0", ports, [rule(act.Output(2), act.Output(3))])
    pipeline = Pipeline(World([bridge]))
    assert pipeline.run("br0", 1, TCP).drops == [Drop.NO_RECEIVE]
    result = pipeline.run("br0", 2, TCP)
    assert (out(result), result.drops) == ([], [Drop.NO_FORWARD])


def test_each_output_carries_the_packet_as_it_was_then() -> None:
    result = run(rule(act.Output(2), set_field("ip_dst", 0x01020304), act.Output(3)))
    assert [get_slot(parse(o.packet, 0), "nw_dst") for o in result.outputs] == [
        0x0A000002,
        0x01020304,
    ]


def test_goto_table_carries_metadata_on() -> None:
    first = rule(act.WriteMetadata(0x5, 0xF), act.GotoTable(2))
    second = rule(act.Output(2), table_id=2, on=match(metadata=5))
    assert out(run(first, second)) == [2]


def test_the_action_set_runs_at_the_end_in_the_order_of_the_specification() -> None:
    written = act.WriteActions((act.Output(2), set_field("vlan_vid", 0x100A), act.PushVlan()))
    result = run(rule(written, act.GotoTable(1)), rule(act.Output(3), table_id=1))
    assert out(result) == [3, 2]
    assert get_slot(parse(result.outputs[1].packet, 0), "vlan_tci") == 0x100A


def test_the_last_output_written_counts_and_clear_empties_the_set() -> None:
    written = rule(act.WriteActions((act.Output(2), act.Output(3))), act.GotoTable(1))
    assert out(run(written)) == [3]
    assert out(run(written, rule(act.ClearActions(), table_id=1))) == []


def test_an_action_set_without_output_changes_nothing_and_drops() -> None:
    assert run(rule(act.WriteActions((act.PopVlan(),)))).drops == [Drop.BY_RULE]


def test_a_resubmit_comes_back_and_keeps_what_was_changed() -> None:
    caller = rule(act.Resubmit(table_id=1), act.Output(3))
    called = rule(set_field("reg0", 7), act.DecTtl(), act.Output(2), table_id=1)
    result = run(caller, called)
    assert out(result) == [2, 3]
    assert get_slot(parse(result.outputs[1].packet, 0), "nw_ttl") == 63
    assert result.flows == [caller, called]


def test_a_resubmit_that_finds_nothing_does_nothing() -> None:
    miss = {1: TableMiss.CONTROLLER}
    result = run(rule(act.Resubmit(table_id=1), act.Output(2)), miss=miss)
    assert (out(result), result.punts, result.misses) == ([2], [], [("br0", 1)])


def test_a_resubmit_may_pretend_another_port_for_the_lookup_only() -> None:
    caller = rule(act.Resubmit(in_port=2, table_id=1))
    called = rule(act.Output(2), act.Output(1), table_id=1, on=match(in_port=2))
    assert out(run(caller, called)) == [2]


def test_a_resubmit_loop_drops_the_whole_packet() -> None:
    result = run(rule(act.Output(2), act.Resubmit(table_id=0)))
    assert (out(result), result.drops, len(result.flows)) == ([], [Drop.TOO_DEEP], 65)


def test_gotos_in_a_row_are_not_deep() -> None:
    chain = [rule(act.GotoTable(t + 1), table_id=t) for t in range(200)]
    assert out(run(*chain, rule(act.Output(2), table_id=200))) == [2]


def test_too_many_resubmits_drop_the_whole_packet() -> None:
    tables = [rule(*[act.Resubmit(table_id=t + 1)] * 9, table_id=t, cookie=t) for t in range(4)]
    result = run(*tables, rule(act.Output(2), table_id=4))
    assert (out(result), result.drops) == ([], [Drop.TOO_DEEP])


def test_an_expired_ttl_goes_to_the_controllers_and_ends_the_list() -> None:
    expired = compose(parse_flow("tcp,nw_ttl=1").match)
    actions = (act.Output(2), act.DecTtl((5,)), act.Output(3))
    result = run(rule(*actions), packet=expired)
    assert out(result) == [2]
    assert [(p.reason, p.action.controller_id) for p in result.punts] == [(Reason.INVALID_TTL, 5)]


def test_a_packet_in_from_the_action_set_says_so() -> None:
    written = act.WriteActions((act.Controller(),))
    assert [p.reason for p in run(rule(written)).punts] == [Reason.ACTION_SET]
    assert [p.reason for p in run(rule(act.Controller())).punts] == [Reason.ACTION]


def test_exit_ends_it_all() -> None:
    result = run(
        rule(act.WriteActions((act.Output(3),)), act.GotoTable(1)),
        rule(act.Output(2), act.Exit(), act.Output(3), table_id=1),
    )
    assert out(result) == [2]


def test_move_and_load_work_on_parts_of_fields() -> None:
    result = run(
        rule(
            act.RegLoad(sub("reg0", 8, 8), 0xAB),
            act.RegMove(sub("ip_dst", 0, 8), sub("reg0", 0, 8)),
            act.RegMove(sub("reg0", 0, 16), sub("tcp_dst")),
            act.Output(2),
        )
    )
    assert get(parse(result.outputs[0].packet, 0), BY_NAME["tcp_dst"]) == 0xAB02


def test_a_field_the_packet_has_not_is_not_set() -> None:
    later = compose(parse_flow("tcp,nw_frag=later").match)
    rules = (
        rule(set_field("tcp_dst", 5), act.GotoTable(1), on=match(eth_type=0x0800, nw_proto=6)),
        rule(act.Output(2), table_id=1, on=match(eth_type=0x0800, nw_proto=6, tcp_dst=0)),
    )
    assert out(run(*rules, packet=later)) == [2]


def test_a_pushed_tag_copies_the_one_below_and_a_third_is_too_many() -> None:
    tagged = compose(parse_flow("dl_vlan=10,dl_vlan_pcp=3").match)
    result = run(rule(act.PushVlan(0x88A8), act.Output(2)), packet=tagged)
    assert result.outputs[0].packet[12:20] == bytes.fromhex("88a8600a8100600a")
    full = run(rule(act.PushVlan(), act.PushVlan(), act.Output(2)), packet=tagged)
    assert full.drops == [Drop.VLAN_STACK]


def test_setting_a_vlan_on_an_untagged_packet_makes_a_tag() -> None:
    for action in (act.SetVlanVid(10), set_field("vlan_vid", 0x100A)):
        packet = run(rule(action, act.Output(2))).outputs[0].packet
        assert packet[12:16] == bytes.fromhex("8100000a")
    assert run(rule(act.SetVlanVid(10, push=False), act.Output(2))).outputs[0].packet == TCP


def test_output_reg_reads_sixteen_bit_port_numbers() -> None:
    to_register = act.OutputReg(sub("reg1"))
    assert out(run(rule(set_field("reg1", 3), to_register))) == [3]
    assert out(run(rule(set_field("reg1", 0xFFFE), to_register))) == [OfPort.LOCAL]
    assert out(run(rule(set_field("reg1", 0x10003), to_register))) == []
    assert len(run(rule(set_field("reg1", 0xFFFD), to_register)).punts) == 1


def patched(*flows_of_peer: Flow) -> World:
    left = Bridge(
        "br0",
        [Port(1), Port(2), Port(9, peer=("br1", 8))],
        [rule(set_field("reg0", 1), act.WriteMetadata(1, 1), act.Output(9), act.Output(2))],
    )
    return World([left, Bridge("br1", [Port(1), Port(8, peer=("br0", 9))], flows_of_peer)])


def test_a_patch_port_leads_into_the_peer_with_fresh_registers() -> None:
    peer = rule(
        set_field("ip_dst", 9),
        act.Output(1),
        on=match(in_port=8, reg0=0, metadata=0, eth_type=0x0800),
    )
    result = Pipeline(patched(peer)).run("br0", 1, TCP)
    assert sorted((o.bridge, o.ofport) for o in result.outputs) == [("br0", 2), ("br1", 1)]
    own = next(o for o in result.outputs if o.bridge == "br0")
    assert own.packet == TCP


def test_a_ring_of_patch_ports_ends() -> None:
    world = patched(rule(act.Output(int(OfPort.IN_PORT))))
    world.bridges["br0"].tables[0].insert(
        rule(act.Output(int(OfPort.IN_PORT)), priority=9, on=match(in_port=9))
    )
    assert Drop.PASSES in Pipeline(world).run("br0", 1, TCP).drops


def test_a_packet_out_runs_its_actions_and_may_enter_the_tables() -> None:
    world = World([Bridge("br0", PORTS, [rule(act.Output(3))])])
    pipeline = Pipeline(world)
    none = int(OfPort.ANY)
    assert out(pipeline.execute_actions("br0", none, TCP, [act.Output(1), act.Output(2)])) == [1, 2]
    assert out(pipeline.execute_actions("br0", 1, TCP, [act.Output(int(OfPort.TABLE))])) == [3]
    punted = pipeline.execute_actions("br0", 1, TCP, [act.Controller()])
    assert [p.reason for p in punted.punts] == [Reason.PACKET_OUT]


FIRST = compose(parse_flow("tcp,nw_ttl=64,tp_dst=80,nw_frag=first").match)


def fragment(handling: Fragments, flow: Flow) -> Result:
    return Pipeline(World([Bridge("br0", PORTS, [flow], fragments=handling)])).run("br0", 1, FIRST)


def test_tables_see_of_fragments_what_the_bridge_lets_them() -> None:
    to_80 = rule(act.Output(2), on=match(eth_type=0x0800, nw_proto=6, tcp_dst=80))
    assert out(fragment(Fragments.NX_MATCH, to_80)) == [2]
    assert out(fragment(Fragments.NORMAL, to_80)) == []
    assert fragment(Fragments.DROP, rule(act.Output(2))).drops == [Drop.FRAGMENT]


def test_ports_of_a_first_fragment_can_be_read_and_set_though_tables_do_not_see_them() -> None:
    moving = rule(act.RegMove(sub("tcp_dst"), sub("reg0", 0, 16)), set_field("tcp_dst", 81),
                  on=match(eth_type=0x0800, nw_proto=6))  # fmt: skip
    result = fragment(Fragments.NORMAL, moving)
    assert (get_slot(result.key, "reg0"), get_slot(result.key, "tp_dst")) == (80, 81)


def test_a_resubmit_with_ct_looks_up_the_original_direction_of_a_tracked_connection() -> None:
    def tracked(proto: int) -> Result:
        tuple_of_it = [
            act.SetField(BY_NAME[name], value, (1 << BY_NAME[name].n_bits) - 1)
            for name, value in (("ct_nw_proto", proto), ("ct_nw_src", 9), ("ct_tp_dst", 7))
        ]
        caller = rule(*tuple_of_it, act.Resubmit(table_id=1, with_ct=True))
        called = rule(
            act.Output(2), table_id=1, on=match(eth_type=0x0800, nw_proto=17, ip_src=9, udp_dst=7)
        )
        return run(caller, called)

    assert out(tracked(17)) == [2]
    assert get_slot(parse(tracked(17).outputs[0].packet, 0), "nw_src") == 0x0A000001
    assert (out(tracked(0)), tracked(0).misses) == ([], [])
