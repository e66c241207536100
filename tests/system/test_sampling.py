"""sample(): packets that the kernel samples reach a collector, as flow records of IPFIX."""

from __future__ import annotations

import re
import socket
import time

from tests.system.world import Host, Netns, until
from tests.unit.export.reading import Collector, Record, number, values

SET = 7
INGRESS, EGRESS = 0, 1


def listen() -> socket.socket:
    """A collector's socket, in the namespace of the daemon."""
    it = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    it.bind(("127.0.0.1", 0))
    it.settimeout(0.2)
    return it


def heard(collector: socket.socket, reader: Collector, seconds: float) -> list[tuple[int, Record]]:
    """(observation domain, record) of all that comes for some time."""
    out, end = [], time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            message = reader.read(collector.recv(65536))
        except TimeoutError:
            continue
        out += [(message.domain, record) for record in message.records]
    return out


def test_sampled_flows_are_reported_to_collectors(two_hosts: tuple[Host, Netns, Netns]) -> None:
    host, a, b = two_hosts
    collector, reader = listen(), Collector()
    target = f"127.0.0.1:{collector.getsockname()[1]}"
    ports = {end.device: host.vsctl("get", "interface", end.device, "ofport") for end in (a, b)}
    to_b = f"in_port={ports[a.device]}"
    sampled = (
        f"sample(probability=65535,collector_set_id={SET},obs_domain_id=11,obs_point_id=22),"
        f"sample(probability=65535,collector_set_id={SET},obs_domain_id=11,obs_point_id=23,"
        f"sampling_port={ports[b.device]},egress),"
        "sample(probability=65535,collector_set_id=99,obs_domain_id=11,obs_point_id=24)"
    )
    host.ofctl("add-flow", "-O", "OpenFlow13", "br0", f"priority=9,icmp,{to_b},actions={sampled},NORMAL")
    assert a.ping("10.0.0.2") == 3
    assert not heard(collector, reader, 0.3), "nobody asked for records"
    assert "NXST_NOT_CONFIGURED" in host.ofctl("dump-ipfix-flow", "br0")

    host.vsctl("--", "--id=@br", "get", "Bridge", "br0",
               "--", "--id=@i", "create", "IPFIX", f'targets="{target}"',
               "cache_active_timeout=1", "cache_max_flows=100",
               "--", "create", "Flow_Sample_Collector_Set", f"id={SET}", "bridge=@br",
               "ipfix=@i")  # fmt: skip
    assert a.ping("10.0.0.2") == 3
    records: list[tuple[int, Record]] = []
    # Two records' worth of three packets each; and none beyond them.
    assert until(lambda: records.extend(heard(collector, reader, 0.2))
                 or sum(number(r, 2) for _, r in records) >= 6)  # fmt: skip
    records += heard(collector, reader, 0.5)
    by_point: dict[int, list[Record]] = {}
    for domain, record in records:
        assert domain == 11
        by_point.setdefault(number(record, 138), []).append(record)
    assert sorted(by_point) == [22, 23]
    for point, direction in ((22, INGRESS), (23, EGRESS)):
        echoes = by_point[point]
        assert sum(number(r, 2) for r in echoes) == 3, "a packet each"
        assert sum(number(r, 1) for r in echoes) == 3 * 84
        assert sum(number(r, 352) for r in echoes) == 3 * 98
        for record in echoes:
            assert (number(record, 8), number(record, 12)) == (0x0A000001, 0x0A000002)
            assert (number(record, 4), number(record, 176), number(record, 61)) == (1, 8, direction)
    assert values(by_point[22][0], 82) == [a.device.encode()]
    assert values(by_point[23][0], 82) == [a.device.encode(), b.device.encode()]
    wanted = rf"id +{SET}: flows=\d+, current flows=0, sampled pkts=6, ipv4 ok=6"
    assert until(lambda: re.search(wanted, host.ofctl("dump-ipfix-flow", "br0"))), host.ofctl("dump-ipfix-flow", "br0")

    traced = host.appctl("ofproto/trace", "br0", f"{to_b},icmp")
    assert (
        "sample(sample=100.0%,actions(userspace(pid=0,flow_sample(probability=65535,"
        f"collector_set_id={SET},obs_domain_id=11,obs_point_id=22,output_port=4294967295))))"
    ) in traced, traced
    assert ",egress))))" in traced

    host.vsctl("destroy", "Flow_Sample_Collector_Set", f"{_only_set(host)}")
    assert a.ping("10.0.0.2") == 3
    assert not heard(collector, reader, 0.5), "the set is gone"


def _only_set(host: Host) -> str:
    return host.vsctl("--bare", "--columns=_uuid", "list", "Flow_Sample_Collector_Set").strip()
