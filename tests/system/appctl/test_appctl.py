"""What ovs-appctl asks of the daemon, by the real ovs-appctl, with packets that really pass."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from tempfile import mkdtemp

import pytest

from tests.system.appctl.world import World, eventually
from tests.system.world import Host, Netns, datapath_runs_at

_PINS = Path("/sys/fs/bpf/gossamer")


# -- the socket -----------------------------------------------------------------------------------


def test_wrong_arguments_are_told_as_the_peer_tells_them(world: World) -> None:
    assert world.error("nosuch") == (
        '"nosuch" is not a valid command (use "list-commands" to see a list of valid commands)'
    )
    assert world.error("fdb/show") == '"fdb/show" command requires at least 1 arguments'
    assert world.error("ofproto/list", "x") == '"ofproto/list" command takes at most 0 arguments'
    assert world.error("fdb/show", "nope") == "no such bridge"
    assert world.error("bridge/dump-flows", "nope") == "Unknown bridge"
    assert world.error("bridge/reconnect", "nope") == "Unknown bridge"


def test_the_daemon_is_found_by_name_by_path_and_by_its_pid_file(world: World) -> None:
    version = "ovs-vswitchd (Open vSwitch) 3.1.0\n"
    socket = world.host.rundir / f"ovs-vswitchd.{world.host.pid}.ctl"
    assert world.appctl("version") == version
    for target in ("ovs-vswitchd", str(socket)):
        assert world.host.check("ovs-appctl", "-t", target, "version") == version


def test_commands_that_scripts_use_are_listed(world: World) -> None:
    shown = world.appctl("list-commands").splitlines()
    assert shown[0] == "The available commands are:"
    listed = {line.split()[0] for line in shown[1:]}
    wanted = """autoattach/status bond/list bond/show bridge/dump-flows bridge/reconnect
        coverage/read-counter coverage/show dpctl/del-flows dpctl/dump-conntrack dpctl/dump-dps
        dpctl/dump-flows dpctl/flush-conntrack dpctl/show dpif/dump-dps dpif/dump-flows dpif/show
        exit fdb/add fdb/del fdb/flush fdb/show fdb/stats-show lacp/show list-commands mdb/show
        memory/show ofproto/list ofproto/list-tunnels ofproto/trace ofproto/trace-packet-out
        qos/show qos/show-types revalidator/purge revalidator/wait rstp/show stp/show upcall/show
        version vlog/close vlog/list vlog/list-pattern vlog/reopen vlog/set"""
    assert set(wanted.split()) <= listed


# -- addresses ------------------------------------------------------------------------------------


def test_learned_addresses_are_shown_and_flushed(world: World) -> None:
    assert world.ping(1) == 1
    shown = world.appctl("fdb/show", "br0").splitlines()
    assert shown[0] == " port  VLAN  MAC                Age"
    assert {world.a.mac, world.b.mac} <= {line.split()[2] for line in shown[1:]}
    assert world.appctl("fdb/flush", "br0") == "table successfully flushed\n"
    assert world.a.mac not in world.appctl("fdb/show", "br0")


def test_a_static_address_survives_a_flush_and_leads_packets(world: World) -> None:
    mac = "02:00:00:00:00:77"
    try:
        assert world.appctl("fdb/add", "br0", "vb", "0", mac) == ""
        world.appctl("fdb/flush", "br0")
        assert re.search(rf"^ +\d+ +0  {mac}  static$", world.appctl("fdb/show", "br0"), re.M)
        assert "static MAC entries in the table : 1" in world.appctl("fdb/stats-show", "br0")
        trace = world.appctl("ofproto/trace", "br0", f"in_port=va,dl_dst={mac}")
        assert "-> forwarding to learned port" in trace
        assert trace.splitlines()[-1] == f"Datapath actions: {world.port('vb')}"
        # And so it is in the kernel: only vb gets it.
        real = world.appctl("ofproto/trace", "br0", f"in_port=va,dl_dst={mac}", "-generate")
        assert f"Kernel: {world.port('vb')} -- as the tables say" in real
    finally:
        assert world.appctl("fdb/del", "br0", "0", mac) == ""
    assert world.error("fdb/del", "br0", "0", mac) == "could not find static mac entry"
    assert mac not in world.appctl("fdb/show", "br0")


def test_a_packet_does_not_move_a_static_address(world: World) -> None:
    number = world.host.vsctl("get", "interface", "vb", "ofport")
    line = rf"^ +(\d+) +0  {world.a.mac}  static$"
    try:
        world.appctl("fdb/add", "br0", "vb", "0", world.a.mac)
        assert world.ping(1) == 0  # va speaks with that address and hears nothing
        assert re.findall(line, world.appctl("fdb/show", "br0"), re.M) == [number]
    finally:
        world.appctl("fdb/del", "br0", "0", world.a.mac)


def test_addresses_are_counted_as_they_come_and_move(world: World) -> None:
    assert world.appctl("fdb/stats-clear", "br0") == "statistics successfully cleared\n"
    assert world.ping(1) == 1
    shown = world.appctl("fdb/stats-show", "br0")
    learned = len(world.appctl("fdb/show", "br0").splitlines()) - 1
    assert f"learned MAC entries     : {learned}\n" in shown
    assert "expired MAC entries     : 0\n" in shown
    world.appctl("fdb/stats-clear")
    assert "learned MAC entries     : 0\n" in world.appctl("fdb/stats-show", "br0")


def test_addresses_that_make_no_sense_are_refused(world: World) -> None:
    assert world.error("fdb/add", "br0", "va", "0", "00:11") == "bad MAC address"
    assert world.error("fdb/add", "br0", "va", "5000", "02:00:00:00:00:01") == "bad VLAN"
    assert world.error("fdb/add", "br0", "zz", "0", "02:00:00:00:00:01") == "no such port zz"
    assert world.error("fdb/add", "zz", "va", "0", "02:00:00:00:00:01") == "no such bridge"


# -- the datapath ---------------------------------------------------------------------------------


def test_the_datapath_is_shown_with_its_ports_and_their_counters(world: World) -> None:
    world.ping(2)
    assert world.appctl("dpctl/dump-dps") == "system@ovs-system\n"
    shown = world.appctl("dpctl/show", "-s").splitlines()
    assert shown[0] == "system@ovs-system:"
    assert re.fullmatch(r"  lookups: hit:\d+ missed:\d+ lost:0", shown[1])
    assert re.fullmatch(r"  flows: \d+", shown[2])
    at = shown.index(f"  port {world.port('va')}: va")
    assert re.fullmatch(r"    RX packets:[1-9]\d* errors:\? dropped:0 overruns:\? frame:\?", shown[at + 1])
    assert any(line.endswith(": br0 (internal)") for line in shown)
    assert not any("p0" in line for line in shown), "patch ports are in no datapath"
    by_type, by_name = (
        # Without the line that counts, since something may be looked up in between.
        [line for line in world.appctl("dpctl/show", name).splitlines() if "lookups:" not in line]
        for name in ("system@ovs-system", "ovs-system")
    )
    assert by_type[1:] == by_name[1:] and by_type[0] == by_name[0] == "system@ovs-system:"
    assert world.error("dpctl/show", "nope") == (
        "ovs-vswitchd: opening datapath nope failed (No such device)"
    )


def test_cached_paths_are_dumped_with_what_they_look_at_count_and_do(world: World) -> None:
    world.flows(
        "priority=10,in_port=va,tcp,tcp_dst=80 actions=drop",
        "priority=9,in_port=va,icmp actions=dec_ttl,output:vb",
        "priority=1 actions=NORMAL",
    )
    assert world.ping(4) == 4
    va, vb = world.port("va"), world.port("vb")
    dumped = [x for x in world.appctl("dpctl/dump-flows").splitlines() if "icmp" in x or "proto=1" in x]
    ours = [line for line in dumped if f"in_port({va})" in line]
    assert len(ours) == 1
    found = re.fullmatch(
        rf"recirc_id\(0\),in_port\({va}\),eth\(\),eth_type\(0x0800\),ipv4\(proto=1,ttl=64.*?\),"
        rf".*packets:(\d+), bytes:(\d+), used:(.*)s, actions:set\(ipv4\(ttl=63\)\),{vb}",
        ours[0],
    ) or pytest.fail(ours[0])
    assert 1 <= int(found[1]) <= 4
    assert int(found[2]) == 98 * int(found[1])
    assert 0 <= float(found[3]) < 30
    named = world.appctl("dpctl/dump-flows", "--names", "filter=in_port=va,icmp")
    assert "in_port(va)" in named and named.rstrip().endswith("actions:set(ipv4(ttl=63)),vb")
    assert len(named.splitlines()) == 1, named


def test_one_bridges_paths_and_one_path_can_be_asked_for(world: World) -> None:
    world.flows("in_port=va actions=output:vb", "in_port=vb actions=output:va")
    world.ping(2)
    long = world.appctl("dpctl/dump-flows", "-m")
    ufid = re.search(r"^(ufid:[0-9a-f-]{36}), skb_priority\(0/0\),.*in_port\(va\)", long, re.M)
    assert ufid is not None
    assert ", dp:ovs, actions:vb" in long
    one = world.appctl("dpctl/get-flow", "-m", ufid[1])
    assert "in_port(va)" in one and len(one.splitlines()) == 1
    of_bridge = world.appctl("dpif/dump-flows", "-m", "br0")
    assert f"{ufid[1]} skb_priority" in of_bridge
    assert "in_port(va)" not in world.appctl("dpif/dump-flows", "-m", "br1")
    assert world.error("dpctl/get-flow", "ufid:0") == (
        "ovs-vswitchd: parsing flow ufid (Invalid argument)"
    )
    assert world.error("dpif/dump-flows", "zz") == "no such bridge"


@pytest.mark.parametrize("command", ["dpctl/del-flows", "revalidator/purge"])
def test_paths_can_be_forgotten_and_come_back(world: World, command: str) -> None:
    world.flows("in_port=va actions=output:vb", "in_port=vb actions=output:va")

    def paths() -> int:
        return world.appctl("dpctl/dump-flows", "--names").count("in_port(va)")

    assert world.ping(2) == 2
    assert paths() == 1
    assert world.appctl(command) == ""
    assert paths() == 0
    assert world.ping(2) == 2
    assert paths() == 1


def test_flow_counters_go_on_when_paths_are_forgotten(world: World) -> None:
    world.flows("in_port=va,icmp actions=output:vb", "priority=1 actions=NORMAL")
    for _ in range(3):
        assert world.ping(2) == 2
        world.appctl("dpctl/del-flows", "ovs-system")
    assert re.search(r"n_packets=6\b.*icmp", world.appctl("bridge/dump-flows", "br0"))


def test_what_the_datapath_cannot_do_is_said_with_the_reason(world: World) -> None:
    assert world.error("dpctl/cache-set-size", "ovs-system", "x", "9") == (
        "ovs-vswitchd: cache-set-size: the size of the cache is fixed (Operation not supported)"
    )
    assert "ovs-ofctl" in world.error("dpctl/add-flow", "in_port(1)", "2")
    assert "ovs-vsctl" in world.error("dpctl/add-if", "ovs-system", "eth9")
    assert world.error("dpctl/dump-flows", "-x") == "Unrecognized option -x"
    assert world.error("dpctl/dump-flows", "zz") == "ovs-vswitchd: datapath not found (Invalid argument)"
    assert world.error("dpctl/dump-flows", "type=zz") == (
        "ovs-vswitchd: Failed to parse type (zz) (Invalid argument)"
    )
    assert world.error("dpctl/dump-flows", "filter=zz=1").startswith(
        "ovs-vswitchd: Failed to parse filter (unknown field"
    )


# -- the log --------------------------------------------------------------------------------------


def test_levels_take_effect_on_the_next_line(world: World) -> None:
    log = world.host.rundir / "ovs-vswitchd.log"
    marker = log.stat().st_size
    world.appctl("vlog/set", "jsonrpc:file:dbg")
    world.appctl("ofproto/list")
    assert "ofproto/list" in log.read_text()[marker:]
    assert re.search(r"^jsonrpc +OFF +INFO +DBG$", world.appctl("vlog/list"), re.M)
    world.appctl("vlog/set", "ANY:file:info")
    marker = log.stat().st_size
    world.appctl("ofproto/list")
    assert "ofproto/list" not in log.read_text()[marker:]


def test_names_of_the_peers_modules_mean_the_part_that_does_their_work(world: World) -> None:
    world.appctl("vlog/set", "ofproto_dpif:file:dbg")
    try:
        assert re.search(r"^switch +OFF +INFO +DBG$", world.appctl("vlog/list"), re.M)
    finally:
        world.appctl("vlog/set", "switch:file:info")


def test_what_is_no_level_is_told(world: World) -> None:
    assert world.error("vlog/set", "zz:file:dbg") == 'no destination, level, or module "zz"'
    assert world.error("vlog/set", "file:syslog") == "cannot specify multiple destinations"
    assert world.error("vlog/set", "dbg:info") == "cannot specify multiple levels"
    assert world.error("vlog/set", "PATTERN:zz:x") == 'unknown destination "zz"'
    assert world.error("vlog/set", "FACILITY:zz") == "invalid facility"
    assert world.error("vlog/disable-rate-limit", "zz") == "unknown module"


def test_the_log_is_reopened_after_it_was_rotated(world: World) -> None:
    log = world.host.rundir / "ovs-vswitchd.log"
    log.rename(log.with_suffix(".old"))
    assert world.appctl("vlog/reopen") == ""
    assert log.exists()
    world.appctl("vlog/set", "jsonrpc:file:dbg")
    try:
        world.appctl("ofproto/list")
        assert "ofproto/list" in log.read_text()
        world.appctl("vlog/close")
        size = log.stat().st_size
        world.appctl("ofproto/list")
        assert log.stat().st_size == size
        world.appctl("vlog/reopen")
        world.appctl("ofproto/list")
        assert log.stat().st_size > size
    finally:
        world.appctl("vlog/set", "jsonrpc:file:info")


def test_a_pattern_shapes_the_lines(world: World) -> None:
    log = world.host.rundir / "ovs-vswitchd.log"
    before = world.appctl("vlog/list-pattern")
    was = re.search(r"^FILE +none +(.*)$", before, re.M)
    assert was is not None
    try:
        world.appctl("vlog/set", "PATTERN:file:at %c: %m")
        world.appctl("vlog/set", "jsonrpc:file:dbg")
        world.appctl("ofproto/list")
        assert re.search(r"^FILE +none +at %c: %m$", world.appctl("vlog/list-pattern"), re.M)
        assert re.search(r"^at +jsonrpc ?: ", log.read_text(), re.M)
    finally:
        world.appctl("vlog/set", "jsonrpc:file:info")
        world.appctl("vlog/set", f"PATTERN:file:{was[1]}")


# -- counters and load ----------------------------------------------------------------------------


def test_drops_are_counted_by_reason(world: World) -> None:
    world.flows("in_port=vb actions=output:va")
    before = int(world.appctl("coverage/read-counter", "drop_no_rule"))
    world.ping(1)
    assert int(world.appctl("coverage/read-counter", "drop_no_rule")) > before
    shown = world.appctl("coverage/show").splitlines()
    assert shown[0].startswith("Event coverage, avg rate over last: 5 seconds, last minute, last hour")
    assert any(re.match(r"drop_no_rule +[\d.]+/sec +[\d.]+/sec +[\d.]+/sec   total: \d+$", x) for x in shown)
    assert re.fullmatch(r"\d+ events never hit", shown[-1])
    assert world.error("coverage/read-counter", "zz") == "No such counter"


def test_load_is_shown(world: World) -> None:
    world.ping(2)
    upcall = world.appctl("upcall/show")
    found = re.search(r"flows +: \(current (\d+)\) \(avg \d+\) \(max (\d+)\) \(limit \d+\)", upcall)
    assert found is not None and 0 < int(found[1]) <= int(found[2])
    memory = dict(p.split(":") for p in re.findall(r"[\w ]+?:\d+", world.appctl("memory/show")))
    assert int(memory["maxrss"]) > 10_000
    assert int(memory[" ports"]) == 6
    assert world.appctl("revalidator/wait") == ""


def test_protocols_nobody_speaks_have_nothing_to_show(world: World) -> None:
    for command in ("stp/show", "rstp/show", "lacp/show", "bond/show", "cfm/show", "bfd/show",
                    "autoattach/status", "ofproto/list-tunnels"):  # fmt: skip
        assert world.appctl(command) == ""
    assert world.appctl("bond/list") == "bond\ttype\trecircID\tmembers\n"
    assert world.error("stp/show", "br0") == "no such stp object"
    assert world.error("rstp/show", "br0") == "No such RSTP object"
    assert world.error("mdb/show", "br0") == "multicast snooping is disabled"
    assert world.error("mdb/show", "zz") == "no such bridge"
    assert world.appctl("qos/show", "va") == "QoS not configured on va\n"
    assert world.error("qos/show-types", "zz") == "no such interface"


# -- the end --------------------------------------------------------------------------------------


@pytest.fixture
def other(world: World) -> Iterator[tuple[Host, Netns, Netns]]:
    """Another daemon beside it, with two namespaces on brx."""
    host = Host(Path(mkdtemp(prefix="exit", dir="/run")))
    host.start()
    host.vsctl("add-br", "brx")
    yield host, host.netns("c", "10.0.1.1/24", "brx"), host.netns("d", "10.0.1.2/24", "brx")
    host.end()


def test_exit_with_cleanup_is_answered_when_nothing_is_left(
    other: tuple[Host, Netns, Netns],
) -> None:
    host, c, _ = other
    pinned = len(list(_PINS.iterdir()))
    assert datapath_runs_at(c.device)
    host.appctl("exit", "--cleanup")
    assert host.attempt("ip", "link", "show", "brx").returncode != 0
    assert not datapath_runs_at(c.device)
    assert len(list(_PINS.iterdir())) == pinned - 1


def test_exit_leaves_the_datapath_forwarding(other: tuple[Host, Netns, Netns]) -> None:
    host, c, _ = other
    assert c.ping("10.0.1.2", 1) == 1
    host.appctl("exit")
    eventually(lambda: not (host.rundir / "ovs-vswitchd.pid").exists())
    assert c.ping("10.0.1.2", 2) == 2
    host.start()
