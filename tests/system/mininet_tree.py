"""Run by Debian's Python, which has Mininet: a tree of switches, and everyone pings everyone.

``mininet_tree.py controller|standalone`` prints the share of pings that were
lost, as a JSON object, after what Mininet has to say.
"""

import json
import sys

from mininet.net import Mininet
from mininet.node import OVSController, OVSSwitch
from mininet.topolib import TreeTopo


def main(mode: str) -> None:
    """Build, ping, and take down again."""
    switches = {
        "controller": {"controller": OVSController},
        "standalone": {"controller": None},
    }[mode]
    net = Mininet(topo=TreeTopo(depth=2, fanout=3), switch=_switch(mode), **switches)
    net.start()
    try:
        connected = net.waitConnected(timeout=300)
        # For an answer: the first packets wait for the controller at each switch.
        lost_percent = net.pingAll(timeout="30")
        flows = net.switches[0].dpctl("dump-flows")
    finally:
        net.stop()
    print(json.dumps({
        "hosts": len(net.hosts),
        "switches": len(net.switches),
        "connected": connected,
        "lost_percent": lost_percent,
        "flows": flows,
    }))  # fmt: skip


def _switch(mode: str) -> object:
    if mode == "controller":
        return OVSSwitch
    return lambda name, **options: OVSSwitch(name, failMode="standalone", **options)


if __name__ == "__main__":
    main(sys.argv[1])
