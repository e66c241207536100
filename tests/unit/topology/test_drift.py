"""What is, read from the tools' output, and compared with what the file says."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from gossamer.errors import TopologyError
from gossamer.topology import flows
from gossamer.topology.command import Refused, Tools, complaint_of
from gossamer.topology.converge import Verb, plan
from gossamer.topology.kind import kind_of
from gossamer.topology.load import load
from gossamer.topology.model import Topology
from gossamer.topology.place import document_path, place_of
from gossamer.topology.port_names import UnknownPort, numbered
from gossamer.topology.resources import Spec, resources
from gossamer.topology.seen import Seen
from gossamer.topology.state import State, known

TEXT = """\
name: t
bridges:
  br0: {other_config: {a: 1}}
instances:
  vm1:
    ports:
      - bridge: br0
        vlan: 10
        mac: 02:00:00:00:00:01
        address: 10.0.0.1/24
        addresses: ["fd00::1/64"]
    gateway: 10.0.0.254
"""


class FakeTools(Tools):
    """Tools that answer from a table, and note what they were asked."""

    def __init__(self, rundir: Path) -> None:
        super().__init__(rundir)
        self.answers: dict[str, tuple[int, str, str]] = {}
        self.asked: list[tuple[str, str]] = []

    def attempt(
        self, *command: str, stdin: str | None = None, timeout_s: float = 30
    ) -> subprocess.CompletedProcess[str]:
        text = " ".join(command)
        self.asked.append((text, stdin or ""))
        for part, (status, out, err) in self.answers.items():
            if part in text:
                return subprocess.CompletedProcess(list(command), status, out, err)
        raise AssertionError(f"nobody expected {text}")


def _rows(headings: str, *rows: list[object]) -> str:
    return json.dumps({"headings": headings.split(","), "data": rows})


def _set(*values: object) -> list[object]:
    return ["set", list(values)]


def _uuid(text: str) -> list[str]:
    return ["uuid", text]


@pytest.fixture
def tools(tmp_path: Path) -> FakeTools:
    """A host on which TEXT is up, all of it as declared."""
    it = FakeTools(tmp_path)
    device = resources(_topology(tmp_path))["port/vm1/0"]["device"]
    it.answers["ovs-vsctl"] = (0, _database(device), "")
    it.answers["ip -j link show"] = (0, json.dumps([_link(device, 7, 2, [])]), "")
    it.answers["ip netns list"] = (0, "other\nt-vm1 (id: 3)\n", "")
    it.answers["ip -n t-vm1"] = (0, _inside("02:00:00:00:00:01"), "")
    it.answers["diff-flows"] = (0, "", "")
    return it


def _database(device: str, tag: object = 10) -> str:
    return "\n".join(
        [
            _rows("_uuid,name,ports,fail_mode,controller,other_config",
                  [_uuid("b"), "br0", _set(_uuid("p"), _uuid("l")), _set(), _set(), ["map", [["a", "1"]]]]),
            _rows("_uuid,name,interfaces,tag,trunks,vlan_mode",
                  [_uuid("p"), device, _uuid("i"), tag, _set(), _set()],
                  [_uuid("l"), "br0", _uuid("j"), _set(), _set(), _set()]),
            _rows("_uuid,name,type,options,error,ofport,ingress_policing_rate,ingress_policing_burst",
                  [_uuid("i"), device, "", ["map", []], _set(), 4, 0, 0],
                  [_uuid("j"), "br0", "internal", ["map", []], _set(), 65534, 0, 0]),
            _rows("_uuid,target"),
        ]
    )  # fmt: skip


def _link(name: str, index: int, peer: int, addresses: list[dict[str, object]], mac: str = "") -> dict[str, object]:
    return {"ifname": name, "ifindex": index, "link_index": peer, "address": mac, "mtu": 1500,
            "flags": ["UP"], "addr_info": addresses}  # fmt: skip


def _inside(mac: str) -> str:
    addresses: list[dict[str, object]] = [
        {"local": "10.0.0.1", "prefixlen": 24, "scope": "global"},
        {"local": "fd00::1", "prefixlen": 64, "scope": "global"},
        {"local": "fe80::1", "prefixlen": 64, "scope": "link"},
        {"local": "fd00::77", "prefixlen": 64, "scope": "global", "dynamic": True},
    ]
    routes = [
        {"dst": "default", "gateway": "10.0.0.254", "protocol": "static"},
        {"dst": "10.0.0.0/24", "protocol": "kernel"},
        {"dst": "10.44.0.0/16", "gateway": "10.0.0.3", "protocol": "boot"},
    ]
    settings = [{"family": "inet", "interface": "all", "forwarding": False},
                {"family": "inet6", "interface": "all", "forwarding": False},
                {"family": "inet", "interface": "eth0", "forwarding": True}]  # fmt: skip
    links = [_link("lo", 1, 0, []), _link("eth0", 2, 7, addresses, mac)]
    return "\n".join(json.dumps(document) for document in (links, routes, settings))


def _topology(tmp_path: Path) -> Topology:
    path = tmp_path / "t.yaml"
    path.write_text(TEXT)
    return load(path)


def _texts(tools: FakeTools, key: str, spec: Spec) -> list[str]:
    return [d.text for d in kind_of(key).differences(tools, Seen(tools), spec)]


def test_what_is_as_declared_differs_in_nothing(tools: FakeTools, tmp_path: Path) -> None:
    wanted = resources(_topology(tmp_path))
    assert {key: _texts(tools, key, spec) for key, spec in wanted.items()} == {key: [] for key in wanted}
    state = State(tmp_path, "t")
    state.resources = dict(wanted)
    assert plan(state, wanted, tools) == []


def test_what_was_changed_by_hand_is_a_repair_and_what_the_file_changes_an_update(
    tools: FakeTools, tmp_path: Path
) -> None:
    wanted = resources(_topology(tmp_path))
    device = wanted["port/vm1/0"]["device"]
    state = State(tmp_path, "t")
    state.resources = dict(wanted)
    tools.answers["ovs-vsctl"] = (0, _database(device, 20), "")
    (step,) = plan(state, wanted, tools)
    assert (step.verb, step.key, step.texts) == (Verb.REPAIR, "port/vm1/0", ("vlan is 20 instead of 10",))
    tools.answers["ip -n t-vm1"] = (0, _inside("02:00:00:00:00:02"), "")
    (step,) = plan(state, wanted, tools)
    assert step.texts[0] == "mac is 02:00:00:00:00:02 instead of 02:00:00:00:00:01"
    edited = {**wanted, "port/vm1/0": {**wanted["port/vm1/0"], "vlan": 20}}
    (step,) = plan(state, edited, tools)
    assert step.verb is Verb.UPDATE
    del edited["routing/vm1"]
    assert [s.verb for s in plan(state, edited, tools)] == [Verb.DELETE, Verb.UPDATE]


def test_flows_that_differ_are_told_but_not_those_that_ran_their_time(
    tools: FakeTools, tmp_path: Path
) -> None:
    spec = resources(_topology(tmp_path))["flows/br0"]
    tools.answers["diff-flows"] = (2, "-tcp actions=drop\n+priority=0 actions=NORMAL\n+udp idle_timeout=3 actions=drop\n", "")
    assert _texts(tools, "flows/br0", spec) == [
        "flow priority=0 actions=NORMAL is missing",
        "flow tcp actions=drop is not in the file",
    ]
    assert _texts(tools, "flows/br0", {**spec, "shared": True}) == [
        "flow priority=0 actions=NORMAL is missing"
    ]
    command, given = tools.asked[-1]
    assert f"unix:{tmp_path}/br0.mgmt" in command and given == "priority=0,actions=NORMAL\n"


@pytest.mark.parametrize(
    ("complaint", "attribute"),
    [
        ("ovs-ofctl: -:2: unknown action fly\n", "flows[1]"),
        ("Error OFPBAC_BAD_OUT_GROUP for: OFPT_FLOW_MOD (OF1.4) (xid=0x7): ADD udp actions=group:7\n"
         "ovs-ofctl: talking to unix:x (Protocol error)\n", "flows[2]"),
        ("ovs-ofctl: something else\n", "flows"),
    ],
)  # fmt: skip
def test_a_refused_flow_is_found_in_the_file(tools: FakeTools, complaint: str, attribute: str) -> None:
    tools.answers["replace-flows"] = (1, "", complaint)
    tools.answers["parse-flow tcp"] = (0, "OFPT_FLOW_MOD (xid=0x1): ADD tcp actions=drop\n", "")
    tools.answers["parse-flow udp"] = (0, "OFPT_FLOW_MOD (xid=0x1): ADD udp actions=group:7\n", "")
    tools.answers["parse-flow x"] = (1, "", "no")
    spec = {"bridge": "br0", "flows": ["tcp,actions=drop", "x,actions=fly", "udp,actions=group:7"]}
    with pytest.raises(Refused) as e:
        flows.ensure_flows(tools, Seen(tools), spec, None)
    assert e.value.attribute == attribute
    assert e.value.remedy


def test_beside_others_flows_only_what_the_file_said_before_is_removed(tools: FakeTools) -> None:
    tools.answers["diff-flows"] = (2, "+priority=2 actions=drop\n-priority=9 actions=flood\n", "")
    tools.answers["add-flows"] = (0, "", "")
    new = {"bridge": "br0", "flows": ["priority=2,actions=drop"], "shared": True}
    old = {"bridge": "br0", "flows": ["table=1, priority=1,cookie=7, idle_timeout=9,tcp,tp_dst=80, actions=drop"]}
    flows.ensure_flows(tools, Seen(tools), new, old)
    given = [stdin for command, stdin in tools.asked if "add-flows" in command]
    assert given == ["delete_strict table=1,priority=1,tcp,tp_dst=80\n", "priority=2 actions=drop\n"]


@pytest.mark.parametrize(
    ("flow", "sent"),
    [
        ("in_port=vm1.eth0,actions=NORMAL", "in_port=4,actions=NORMAL"),
        ("tcp,actions=output:vm1.eth0,output:a-to-b", "tcp,actions=output:4,output:9"),
        ('in_port="eth7" actions=LOCAL', "in_port=7 actions=LOCAL"),
        ("in_port=br0,actions=output:eth7,enqueue:eth7:3", "in_port=LOCAL,actions=output:7,enqueue:7:3"),
        ("in_port=5,tcp,tp_dst=80,actions=resubmit(,2)", "in_port=5,tcp,tp_dst=80,actions=resubmit(,2)"),
        ("ip,nw_dst=10.0.0.0/8,actions=mod_nw_tos:4", "ip,nw_dst=10.0.0.0/8,actions=mod_nw_tos:4"),
        ("dl_dst=aa:bb:cc:dd:ee:ff,actions=move:NXM_NX_REG0[]->NXM_NX_REG1[],eth7", None),
        ("ipv6,ipv6_dst=fd00::a,tcp,actions=tcp", None),
    ],
)
def test_ports_in_flows_go_by_their_names(flow: str, sent: str | None) -> None:
    numbers: dict[str, int | str] = {"vm1.eth0": 4, "a-to-b": 9, "eth7": 7, "br0": "LOCAL", "tcp": 8, "a": 1}
    assert numbered(flow, numbers) == (sent or flow)


def test_a_port_that_is_not_there_is_no_number() -> None:
    with pytest.raises(UnknownPort, match=r"vm2\.eth0"):
        numbered("in_port=vm2.eth0,actions=drop", {"vm1.eth0": 1})


def test_a_flow_that_names_a_port_is_sent_with_its_number(tools: FakeTools, tmp_path: Path) -> None:
    path = tmp_path / "t.yaml"
    path.write_text(TEXT.replace("{a: 1}}", "{a: 1}, flows: ['in_port=vm1.eth0,actions=br0']}"))
    spec = resources(load(path))["flows/br0"]
    tools.answers["replace-flows"] = (0, "", "")
    flows.ensure_flows(tools, Seen(tools), spec, None)
    assert tools.asked[-1][1] == "in_port=4,actions=br0\n"
    device = spec["ports"]["vm1.eth0"]
    tools.answers["ovs-vsctl"] = (0, _database("x" + device), "")
    assert _texts(tools, "flows/br0", spec) == ["bridge br0 has no port vm1.eth0"]


@pytest.mark.parametrize(
    ("key", "attribute", "line"),
    [
        ("bridge/br0", "", 3),
        ("bridge/br0", "other_config", 3),
        ("port/vm1/0", "vlan", 8),
        ("port/vm1/0", "mac", 9),
        ("port/vm1/0", "addresses[0]", 10),
        ("port/vm1/0", "addresses[1]", 11),
        ("port/vm1/0", "mtu", 7),
        ("port/vm9/0", "mtu", 4),
        ("routing/vm1", "gateway", 12),
        ("instance/vm1", "", 5),
        ("patch/br0/br1", "", 1),
        ("flows/br0", "flows[3]", 3),
    ],
)
def test_every_part_of_a_resource_has_its_line(
    tmp_path: Path, key: str, attribute: str, line: int
) -> None:
    assert place_of(_topology(tmp_path), tmp_path / "t.yaml", key, attribute) == f"{tmp_path}/t.yaml:{line}"


def test_a_lone_address_is_found_whichever_way_it_is_written(tmp_path: Path) -> None:
    topology = _topology(tmp_path)
    assert document_path(topology, "port/vm1/0", "addresses[0]").endswith("ports[0].address")
    assert document_path(topology, "port/vm1/0", "addresses[1]").endswith("ports[0].addresses[0]")


def test_of_many_commands_of_ip_the_one_that_failed_is_named(tools: FakeTools) -> None:
    tools.answers["ip -n t-vm1 -batch"] = (1, "", "RTNETLINK answers: No way\nCommand failed -:2\n")
    tools.answers = dict(reversed(tools.answers.items()))
    with pytest.raises(Refused) as e:
        tools.ip([("link set eth0 up", ""), ("address replace x dev eth0", "addresses[0]")], "t-vm1")
    assert e.value.attribute == "addresses[0]"
    assert e.value.message == "No way (ip address replace x dev eth0)"
    assert e.value.remedy


def test_what_a_tool_complains_of_is_one_line() -> None:
    def failed(text: str) -> str:
        return complaint_of(subprocess.CompletedProcess(["tool"], 2, "", text))

    assert failed("ovs-vsctl: no bridge named x\n") == "no bridge named x"
    assert failed("") == "tool ended with status 2"
    assert failed("2026-11-21T08:08:41Z|00002|fatal_signal|WARN|terminating with signal 14 (Alarm clock)\n") == (
        "no answer to tool in time"
    )


def test_a_damaged_record_is_told_and_not_overwritten(tmp_path: Path) -> None:
    state = State(tmp_path, "t")
    state.resources = {"bridge/br0": {"name": "br0"}}
    state.save()
    assert State(tmp_path, "t").resources == state.resources
    state.path.write_text("{")
    with pytest.raises(TopologyError) as e:
        known(tmp_path)
    assert e.value.place == str(state.path) and e.value.remedy
