"""Every subcommand of ovs-ofctl(8) that speaks to a switch, in the versions it needs.

What is expected is what Open vSwitch 3.1 answered, with its ports, to the same.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from tempfile import mkdtemp

import pytest

from tests.system.world import Host, until

PACKET = "112233445566aabbccddeeff0800"
GROUP = "group_id=1,type=select,bucket=output:1,bucket=weight:3,output:2"
METER = "meter=1,kbps,burst,band=type=drop,rate=1000,burst_size=100"


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    """A bridge br0 with ports 1 and 2, flows in two tables, a group and a meter."""
    it = Host(Path(mkdtemp(prefix="host", dir="/run")))
    it.start()
    it.vsctl("add-br", "br0")
    it.netns("oa", "10.0.0.1/24", "br0")
    it.netns("ob", "10.0.0.2/24", "br0")
    yield it
    log = it.log()
    it.end()
    assert "Traceback" not in log and "internal error" not in log, log


@pytest.fixture(autouse=True)
def known_rules(host: Host) -> None:
    for command in ("del-flows", "del-groups", "del-meters"):
        host.ofctl("-O", "OpenFlow13", command, "br0")
    host.ofctl("-O", "OpenFlow13", "add-group", "br0", GROUP)
    host.ofctl("-O", "OpenFlow13", "add-meter", "br0", METER)
    host.ofctl("-O", "OpenFlow13", "add-flow", "br0", "cookie=5,in_port=1,actions=meter:1,group:1")
    host.ofctl("-O", "OpenFlow13", "add-flow", "br0", "table=1,priority=7,ip,actions=output:2")


QUESTIONS = [
    ("10-15", "show br0", r"n_tables:254, n_buffers:0"),
    ("13", "show br0", r"capabilities: FLOW_STATS TABLE_STATS PORT_STATS GROUP_STATS QUEUE_STATS"),
    ("10-15", "dump-desc br0", r"Manufacturer: .+\nHardware: .+\nSoftware: "),
    ("10-15", "dump-tables br0", r"table 0:\n +active=1, lookup=\d+, matched=\d+"),
    ("13-15", "dump-table-features br0", r"(?s)table 0:.*next tables: 1-253"),
    ("14-15", "dump-table-desc br0", r"table 0:\n +eviction=off"),
    ("10-15", "dump-ports br0", r"reply .*: 3 ports"),
    ("10-15", "dump-ports br0 1", r"reply .*: 1 ports\n +port +1: rx pkts="),
    ("10-15", "dump-ports-desc br0", r"(?s) 1\(voa\): addr:.*LOCAL\(br0\)"),
    ("10-15", "dump-flows br0", r"cookie=0x5, duration=\d+\.\d+s, table=0, n_packets="),
    ("11-15", "dump-flows br0 table=1", r"table=1, .*priority=7,ip actions=output:2"),
    ("10-15", "--no-stats dump-flows br0 cookie=5/-1", r"cookie=0x5, in_port=1 actions=(meter:1,)?group:1"),
    ("11-15", "dump-flows br0 out_group=1", r"actions=(meter:1,)?group:1"),
    ("10-15", "--sort=priority dump-flows br0", r"(?s)in_port=1 .*"),
    ("10-15", "dump-aggregate br0", r"packet_count=\d+ byte_count=\d+ flow_count=2"),
    ("10-15", "queue-stats br0", r"reply .*: 0 queues"),
    ("10-15", "queue-get-config br0 1", r"reply|REPLY"),
    ("10-15", "get-frags br0", r"normal"),
    ("10-15", "probe br0", r"^$"),
    ("10-15", "benchmark br0 10 100", r"Sending 100 packets \* 18 bytes"),
    ("10-15", "dump-groups br0", r"group_id=1,type=select,bucket=.*output:1,bucket=.*weight:3,.*output:2"),
    ("15", "dump-groups br0 1", r"bucket=bucket_id:1,weight:3,actions=output:2"),
    ("10-15", "dump-group-stats br0", r"group_id=1,.*ref_count=1,packet_count=\d+"),
    ("10-15", "dump-group-features br0", r"Types: +0xf"),
    ("13-15", "dump-meters br0", r"meter=1 kbps burst bands=\ntype=drop rate=1000 burst_size=100"),
    ("13-15", "meter-stats br0 meter=1", r"meter:1 flow_count:1 packet_in_count:\d+"),
    ("13-15", "meter-features br0", r"band_types: drop dscp_remark"),
    ("10-15", "dump-tlv-map br0", r"NXT_TLV_TABLE_REPLY"),
]  # fmt: skip


def _versions(span: str) -> list[str]:
    first, _, last = span.partition("-")
    return [f"OpenFlow{v}" for v in range(int(first), int(last or first) + 1)]


@pytest.mark.parametrize(
    ("version", "command", "pattern"),
    [(v, c, p) for span, c, p in QUESTIONS for v in (_versions(span)[0], _versions(span)[-1])],
)
def test_questions_are_answered(host: Host, version: str, command: str, pattern: str) -> None:
    out = host.ofctl("-O", version, *command.split())
    assert re.search(pattern, out), out


CHANGES = [
    ("10-15", "add-flow br0 priority=9,in_port=2,actions=1"),
    ("10-15", "mod-flows br0 in_port=1,actions=2"),
    ("10-15", "--strict mod-flows br0 in_port=1,actions=2"),
    ("10-15", "--strict del-flows br0 in_port=1"),
    ("13-15", "--bundle add-flow br0 priority=9,in_port=2,actions=1"),
    ("10-15", "add-group br0 group_id=9,type=all,bucket=output:1"),
    ("10-15", "mod-group br0 group_id=1,type=all,bucket=output:2"),
    ("10-15", "--may-create mod-group br0 group_id=9,type=all,bucket=output:2"),
    ("15", "insert-buckets br0 group_id=1,command_bucket_id=last,bucket=bucket_id=9,output:1"),
    ("15", "remove-buckets br0 group_id=1,command_bucket_id=first"),
    ("10-15", "del-groups br0 group_id=1"),
    ("13-15", "add-meter br0 meter=2,pktps,band=type=drop,rate=5"),
    ("13-15", "mod-meter br0 meter=1,pktps,band=type=drop,rate=5"),
    ("13-15", "del-meters br0 meter=1"),
    ("11-12", "mod-table br0 3 controller"),
    ("11-12", "mod-table br0 3 drop"),
    ("14-15", "mod-table br0 3 evict"),
    ("14-15", "mod-table br0 3 vacancy:20,80"),
    ("10-15", "mod-port br0 voa no-flood"),
    ("10-15", "mod-port br0 1 no-forward"),
    ("10-15", "mod-port br0 1 forward"),
    ("10-15", f"packet-out br0 in_port=1,packet={PACKET},actions=output:2"),
    ("10-15", f"packet-out br0 in_port=local,packet={PACKET},actions=table"),
]


@pytest.mark.parametrize(
    ("version", "command"),
    [(v, c) for span, c in CHANGES for v in (_versions(span)[0], _versions(span)[-1])],
)
def test_changes_are_taken_without_a_word(host: Host, version: str, command: str) -> None:
    assert host.ofctl("-O", version, *command.split()) == ""


@pytest.mark.parametrize("version", ["OpenFlow11", "OpenFlow13", "OpenFlow15"])
def test_tables_are_compared_and_replaced(host: Host, version: str, tmp_path: Path) -> None:
    wanted = tmp_path / "flows"
    wanted.write_text("in_port=1,actions=2\ntable=3,in_port=2,actions=1\n")
    done = host.attempt("ovs-ofctl", "-O", version, "diff-flows", "br0", str(wanted))
    assert done.returncode == 2 and "+table=3 in_port=2 actions=output:1" in done.stdout
    host.ofctl("-O", version, "replace-flows", "br0", str(wanted))
    assert host.ofctl("-O", version, "diff-flows", "br0", str(wanted)) == ""


def test_a_bundle_mixes_what_it_is_given(host: Host, tmp_path: Path) -> None:
    mixed = tmp_path / "bundle"
    mixed.write_text(
        "group add group_id=20,type=all,bucket=output:1\n"
        "flow add in_port=10,actions=group:20\n"
        f"packet-out in_port=1 packet={PACKET} actions=output:2\n"
    )
    for version in ("OpenFlow14", "OpenFlow15"):
        host.ofctl("-O", version, "del-groups", "br0", "group_id=20")
        host.ofctl("-O", version, "bundle", "br0", str(mixed))
    out = host.ofctl("-O", "OpenFlow13", "--no-stats", "dump-flows", "br0", "in_port=10")
    assert "in_port=10 actions=group:20" in out


_TUNNEL_FIELDS = {
    "tun_id": "NXM_NX_TUN_ID", "tun_src": "NXM_NX_TUN_IPV4_SRC", "tun_dst": "NXM_NX_TUN_IPV4_DST",
    "tun_ipv6_src": "NXM_NX_TUN_IPV6_SRC", "tun_ipv6_dst": "NXM_NX_TUN_IPV6_DST",
    "tun_gbp_id": "NXM_NX_TUN_GBP_ID", "tun_gbp_flags": "NXM_NX_TUN_GBP_FLAGS",
    "tun_erspan_ver": "NXOXM_ET_ERSPAN_VER", "tun_erspan_idx": "NXOXM_ET_ERSPAN_IDX",
    "tun_erspan_dir": "NXOXM_ET_ERSPAN_DIR", "tun_erspan_hwid": "NXOXM_ET_ERSPAN_HWID",
}  # fmt: skip


@pytest.mark.parametrize("version", ["OpenFlow10", "OpenFlow13", "OpenFlow14", "OpenFlow15"])
def test_fields_of_tunnels_come_back_as_ovs_ofctl_says_them_itself(host: Host, version: str) -> None:
    """What it makes of a flow's text is in its bytes alone: parse-flow shows those."""
    flows = []
    for nxm in _TUNNEL_FIELDS.values():
        flows += [f"load:1->{nxm}[]", f"load:1->{nxm}[0]", f"move:NXM_NX_REG0[0]->{nxm}[0]",
                  f"move:{nxm}[0]->NXM_NX_REG0[3]", f"push:{nxm}[]", f"pop:{nxm}[0]"]  # fmt: skip
    for name in _TUNNEL_FIELDS:
        value = {"tun_src": "192.0.2.1", "tun_dst": "192.0.2.1"}.get(name, "::1" if "ipv6" in name else "1")
        flows += [f"set_field:{value}->{name}", f"set_field:{value}/{value}->{name}"]
    wanted = []
    for actions in flows:
        said = host.ofctl("-O", version, "parse-flow", f"actions={actions}")
        wanted.append(said.rpartition("actions=")[2].strip())
    lines = (f"table=9,priority={n + 1},actions={a}" for n, a in enumerate(flows))
    host.ofctl("-O", version, "add-flows", "br0", "-", stdin="\n".join(lines))
    shown = host.ofctl("-O", version, "--no-stats", "dump-flows", "br0", "table=9")
    got = dict(re.findall(r"priority=(\d+) actions=(.*)", shown))
    assert [got[str(n + 1)] for n in range(len(flows))] == wanted


def test_ping_comes_back(host: Host) -> None:
    done = host.attempt("ovs-ofctl", "ping", "br0", "100")
    assert done.stdout.count("100 bytes from br0: xid=") == 10


def test_monitors_and_snoops_begin(host: Host) -> None:
    for version in ("OpenFlow10", "OpenFlow13", "OpenFlow14", "OpenFlow15"):
        output = host.rundir / f"monitor-{version}"
        with output.open("w") as out:
            command = ["ovs-ofctl", "-O", version, "monitor", "br0", "watch:"]
            monitor = subprocess.Popen(command, env=host.environment, stdout=out, stderr=out)
        try:
            # Before 1.3 nothing can say what a meter is.
            wanted = re.compile("in_port=1 actions=(meter:1,)?group:1")
            assert until(lambda o=output, w=wanted: w.search(o.read_text())), output.read_text()
        finally:
            monitor.kill()
            monitor.wait()
    done = host.attempt("ovs-ofctl", "--timeout=1", "snoop", "br0")
    assert "ERROR" not in done.stdout
