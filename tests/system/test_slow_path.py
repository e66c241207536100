"""What the kernel cannot do goes through the reference pipeline: real programs, real packets."""

from __future__ import annotations

import re

from tests.system.world import Host, Netns


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
    assert a.ping("10.0.0.2") == 3
    total = 300_000
    receiver = b.start("python3", "-c",
                       "import socket;s=socket.create_server(('10.0.0.2',8000));print('up',flush=True);"
                       f"c,_=s.accept();n=0\nwhile n<{total}: n+=len(c.recv(65536))\n"
                       "print(n)")  # fmt: skip
    assert receiver.stdout is not None
    assert receiver.stdout.readline().strip() == "up"
    a.run("python3", "-c",
          "import socket;c=socket.create_connection(('10.0.0.2',8000),5);"
          f"c.sendall(b'x'*{total});c.shutdown(1);c.recv(1)")  # fmt: skip
    out, _ = receiver.communicate(timeout=20)
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
