"""What ovs-appctl is asked about: bridges of a daemon, with packets that really pass."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import mkdtemp

from tests.system.world import Host, pings, until

TCP = (
    "000000000002000000000001080045000028000000004006b6c90a0000010a000002000100500000000000000000"
    "500200008b4d0000"
)
"""A SYN from 10.0.0.1 port 1 to 10.0.0.2 port 80."""



class World:
    """Two namespaces on br0, and br1 behind a patch port."""

    def __init__(self) -> None:
        self.host = Host(Path(mkdtemp(prefix="appctl", dir="/run")))
        self.host.start()
        vsctl = self.host.vsctl
        vsctl("add-br", "br0", "--", "set", "bridge", "br0", "protocols=[OpenFlow10,OpenFlow13]")
        vsctl("add-br", "br1")
        self.a = self.host.netns("a", "10.0.0.1/24", "br0")
        self.b = self.host.netns("b", "10.0.0.2/24", "br0")
        for bridge in ("br0", "br1"):
            self.host.check("sysctl", "-qw", f"net.ipv6.conf.{bridge}.disable_ipv6=1")
            self.host.check("ip", "link", "set", bridge, "up")
        for ns in (self.a, self.b):
            ns.run("sysctl", "-qw", "net.ipv6.conf.eth0.disable_ipv6=1")
        self.know_each_other()
        vsctl(
            "add-port", "br0", "p0", "--", "set", "interface", "p0", "type=patch",
            "options:peer=p1", "ofport_request=9", "--",
            "add-port", "br1", "p1", "--", "set", "interface", "p1", "type=patch", "options:peer=p0",
        )  # fmt: skip

    def know_each_other(self) -> None:
        """The two need not ask for each other, so that nothing passes but what a test sends."""
        for ns, address, other in ((self.a, "10.0.0.2", self.b), (self.b, "10.0.0.1", self.a)):
            ns.run("ip", "neigh", "replace", address, "lladdr", other.mac, "dev", "eth0")

    def ping(self, count: int) -> int:
        """Answers from b to a.  All on one CPU: each keeps paths for itself, of what it sees again."""
        cpu = str(min(os.sched_getaffinity(0)))
        return pings(partial(self.a.run, "taskset", "-c", cpu), "10.0.0.2", count)

    def appctl(self, *arguments: str) -> str:
        """Output of a command that must succeed."""
        return self.host.appctl(*arguments)

    def error(self, *arguments: str) -> str:
        """What a command that must fail says, without ovs-appctl's own line."""
        done = self.host.attempt("ovs-appctl", "--timeout=100", *arguments)
        assert done.returncode == 2, done.stdout
        text, _, own = done.stderr.strip().rpartition("\n")
        assert own == "ovs-appctl: ovs-vswitchd: server returned an error"
        return text

    def flows(self, *flows: str) -> None:
        """The flows of br0, in place of those there are."""
        self.host.ofctl("-OOpenFlow13", "replace-flows", "br0", "-", stdin="\n".join(flows))

    def port(self, name: str) -> int:
        """The number of a port in the datapath."""
        found = re.search(rf"port (\d+): {name}\b", self.appctl("dpctl/show"))
        assert found is not None
        return int(found[1])


def eventually(condition: Callable[[], bool]) -> None:
    """Wait for something that has to come true."""
    assert until(condition), "it did not come true in time"
