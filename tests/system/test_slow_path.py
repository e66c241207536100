"""What the kernel cannot do goes through the reference pipeline: real programs, real packets."""

from __future__ import annotations

import re

from tests.system.world import PATIENTLY, Host, Netns


def test_tcp_passes_rules_that_only_the_daemon_can_perform(
    two_hosts: tuple[Host, Netns, Netns],
) -> None:
    """Five controllers for one dec_ttl: more than the kernel takes.  Packets come as a virtual device gives them: with checksums begun, and in trains."""
    host, a, b = two_hosts
    host.ofctl("del-flows", "br0")
    for me, other in ((a, b), (b, a)):
        port = host.vsctl("get", "interface", me.device, "ofport")
        out = host.vsctl("get", "interface", other.device, "ofport")
        host.ofctl("add-flow", "br0", f"arp,in_port={port},actions=output:{out}")
        host.ofctl("add-flow", "br0", f"ip,in_port={port},actions=resubmit(,1)")
        host.ofctl("add-flow", "br0",
                   f"table=1,ip,in_port={port},actions=dec_ttl(1,2,3,4,5),output:{out}")  # fmt: skip
    assert a.ping("10.0.0.2", 3, *PATIENTLY) == 3
    total = 300_000
    receiver = b.start("python3", "-c",
                       "import socket;s=socket.create_server(('10.0.0.2',8000));print('up',flush=True);"
                       f"c,_=s.accept();n=0\nwhile n<{total}: n+=len(c.recv(65536))\n"
                       "print(n)")  # fmt: skip
    assert receiver.stdout is not None
    assert receiver.stdout.readline().strip() == "up"
    a.run("python3", "-c",
          "import socket;c=socket.create_connection(('10.0.0.2',8000),60);"
          f"c.sendall(b'x'*{total});c.shutdown(1);c.recv(1)")  # fmt: skip
    out, _ = receiver.communicate(timeout=90)
    assert out.strip() == str(total)
    counted = {}
    for line in host.ofctl("--names", "dump-flows", "br0", "ip").splitlines():
        found = re.search(r"table=(\d), n_packets=(\d+).*in_port=\"?(\w+)", line)
        if found:
            counted[int(found[1]), found[3]] = int(found[2])
    for me in (a, b):
        first, second = (counted[table, me.device] for table in (0, 1))
        # A train counts once where the kernel counts it, and by its segments where it is taken apart.
        assert 3 < first <= second, counted
    _service_headers_there_and_back(host, a, b)


def _service_headers_there_and_back(host: Host, a: Netns, b: Netns) -> None:
    """Echoes get a service header and lose it again, each in another table."""
    host.ofctl("del-flows", "br0")
    ports = {me.device: host.vsctl("get", "interface", me.device, "ofport") for me in (a, b)}
    flows = ["arp,actions=NORMAL"]
    for path, (me, other) in enumerate(((a, b), (b, a)), 1):
        flows += [
            f"icmp,in_port={ports[me.device]},actions=encap(nsh(md_type=1)),set_field:{path}->nsh_spi,"
            "encap(ethernet),set_field:02:00:00:00:00:01->eth_dst,resubmit(,1)",
            f"table=2,packet_type=(1,0x894f),nsh_spi={path},actions=decap(),output:{ports[other.device]}",
        ]
    flows.append("table=1,dl_dst=02:00:00:00:00:01,dl_type=0x894f,actions=decap(),dec_nsh_ttl,resubmit(,2)")
    host.ofctl("-O", "OpenFlow13", "add-flows", "br0", "-", stdin="\n".join(flows))
    assert a.ping("10.0.0.2", 3, *PATIENTLY) == 3
    shown = host.ofctl("-O", "OpenFlow13", "dump-flows", "br0", "table=2")
    assert shown.count("n_packets=3") == 2, shown
    assert "packet_type=(1,0x894f),nsh_spi=0x1 actions=decap()" in shown
    traced = host.appctl("ofproto/trace", "br0", f"in_port={ports[a.device]},icmp,nw_src=10.0.0.1")
    assert traced.splitlines()[-1].removeprefix("Datapath actions: ").startswith(
        "push_nsh(flags=0,ttl=63,mdtype=1,np=3,spi=0x1,si=255,c1=0x0,c2=0x0,c3=0x0,c4=0x0),"
        "push_eth(src=00:00:00:00:00:00,dst=02:00:00:00:00:01),pop_eth,set(nsh(ttl=62)),pop_nsh(),"
    ), traced
