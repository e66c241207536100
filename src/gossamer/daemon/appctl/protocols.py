"""Control protocols and queues that ports can have: what there is of them (ovs-vswitchd(8)).

A bridge here speaks no STP, RSTP, LACP, CFM or BFD, and a port is never a
bond.  The commands say so in the peer's words for a bridge or port that has
none, so that scripts which only look go on working.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from gossamer.devices.qos import QueueCounters, Shape
from gossamer.switch.bond_hash import bond_hash
from gossamer.switch.qos import TYPES
from gossamer.switch.show import Command, CommandError

if TYPE_CHECKING:
    from gossamer.switch.port import Port
    from gossamer.switch.switch import Switch

_NUMBER: Final = re.compile(r"\d+")
_MAC: Final = re.compile(":".join([r"([0-9a-fA-F]{1,2})"] * 6))
_TUNNELS = ("gre", "ip6gre", "erspan", "ip6erspan", "vxlan", "geneve", "lisp", "stt", "gtpu", "srv6",
            "bareudp")  # fmt: skip


def commands(switch: Switch) -> dict[str, Command]:
    """The commands, by name."""
    one = "[bridge]"
    table = {
        "stp/show": (one, 0, 1, _absent("no such stp object")),
        "stp/tcn": (one, 0, 1, _absent("no such stp object", "OK")),
        "rstp/show": (one, 0, 1, _absent("No such RSTP object")),
        "rstp/tcn": (one, 0, 1, _absent("No such RSTP object", "OK")),
        "lacp/show": ("[port]", 0, 1, _absent("no such lacp object")),
        "lacp/show-stats": ("[port]", 0, 1, _absent("no such lacp object")),
        "cfm/show": ("[interface]", 0, 1, _absent("no such CFM object")),
        "cfm/set-fault": (
            "[interface] normal|false|true",
            1,
            2,
            lambda argv: _override(argv, "no such CFM object"),
        ),
        "bfd/show": ("[interface]", 0, 1, _absent("no such bfd object")),
        "bfd/set-forwarding": (
            "[interface] normal|false|true",
            1,
            2,
            lambda argv: _override(argv, "no such BFD object"),
        ),
        "bond/list": ("", 0, 0, lambda argv: "bond\ttype\trecircID\tmembers\n"),
        "bond/show": ("[port]", 0, 1, _absent("no such bond")),
        "bond/hash": ("mac [vlan] [basis]", 1, 3, hash_),
        "bond/migrate": ("port hash member", 3, 3, _absent("no such bond")),
        "bond/enable-member": ("port member", 2, 2, _absent("no such bond")),
        "bond/disable-member": ("port member", 2, 2, _absent("no such bond")),
        "bond/set-active-member": ("port member", 2, 2, _absent("no such bond")),
        "autoattach/status": (one, 0, 1, lambda argv: ""),
        "autoattach/show-isid": (one, 0, 1, lambda argv: ""),
        "autoattach/statistics": (one, 0, 1, lambda argv: ""),
        "mdb/show": ("bridge", 1, 1, lambda argv: _mdb(switch, argv)),
        "mdb/flush": (one, 0, 1, lambda argv: _mdb_flush(switch, argv)),
        "qos/show": ("interface", 1, 1, lambda argv: qos_show(switch, argv[0])),
        "qos/show-types": ("interface", 1, 1, lambda argv: qos_types(switch, argv[0])),
        "ofproto/list-tunnels": ("", 0, 0, lambda argv: list_tunnels(switch)),
    }
    out = {name: Command(*c) for name, c in table.items()}
    # The names before Open vSwitch 2.15, which are no longer listed.
    for name in ("enable", "disable", "set-active"):
        out[f"bond/{name}-slave"] = replace(out[f"bond/{name}-member"], usage=None)
    return out


def _absent(error: str, without: str = "") -> Callable[[Sequence[str]], str]:
    """Of all objects there are none, and one that is named does not exist."""

    def run(argv: Sequence[str]) -> str:
        if argv:
            raise CommandError(error)
        return without

    return run


def hash_(argv: Sequence[str]) -> str:
    """The bucket of an address, for bond/migrate."""
    numbers = []
    for word, name in zip(argv[1:], ("vlan", "basis"), strict=False):
        digits = _NUMBER.match(word)
        if digits is None:
            raise CommandError(f"invalid {name}")
        numbers.append(int(digits[0]))
    mac = _MAC.match(argv[0])
    if mac is None:
        raise CommandError("invalid mac")
    vlan, basis = (*numbers, 0, 0)[:2]
    return str(bond_hash(int.from_bytes(int(part, 16) for part in mac.groups()), vlan, basis))


def _override(argv: Sequence[str], error: str) -> str:
    """Overriding the fault or the state of all objects, of which there are none."""
    if argv[-1] not in ("normal", "false", "true"):
        raise CommandError("unknown fault string")
    if len(argv) > 1:
        raise CommandError(error)
    return "OK"


def _mdb(switch: Switch, argv: Sequence[str]) -> str:
    if argv[0] not in switch.bridges:
        raise CommandError("no such bridge")
    raise CommandError("multicast snooping is disabled")


def _mdb_flush(switch: Switch, argv: Sequence[str]) -> str:
    if argv:
        return _mdb(switch, argv)
    return "table successfully flushed"


def _port(switch: Switch, name: str) -> Port:
    found = switch.find_port(name)
    if found is None:
        raise CommandError("no such interface")
    return found[1]


def qos_show(switch: Switch, name: str) -> str:
    """The queues of a port, with what they have sent."""
    port = _port(switch, name)
    qos, shape = port.config.qos, port.shape
    if qos is None or shape is None:
        return f"QoS not configured on {name}\n"
    out = [f"QoS: {name} {qos.type}"]
    if isinstance(shape, Shape):
        out.append(f"max-rate: {shape.max_rate_bps}")
    else:
        out += [f"{key}: {value}" for key, value in sorted(qos.other_config.items())]
    counted = switch.devices.queue_counters(name)
    for number, queue in sorted(shape.queues.items()):
        c = counted.get(number, QueueCounters())
        out += [
            "",
            f"Queue {number}:" if number else "Default:",
            f"  burst: {queue.burst_bytes * 8}",
            f"  max-rate: {queue.max_rate_bps}",
            f"  min-rate: {queue.min_rate_bps}",
            *([f"  priority: {queue.priority}"] if queue.priority else []),
            f"  tx_packets: {c.tx_packets}",
            f"  tx_bytes: {c.tx_bytes}",
            f"  tx_errors: {c.tx_errors}",
        ]
    return "\n".join(out) + "\n"


def qos_types(switch: Switch, name: str) -> str:
    """The types a port can have; none where there is no device."""
    port = _port(switch, name)
    if port.link is None:
        return ""
    return "".join(f"QoS type: {kind}\n" for kind in TYPES)


def list_tunnels(switch: Switch) -> str:
    """Tunnel ports with their ends and keys."""
    lines = []
    for bridge in sorted(switch.bridges.values(), key=lambda b: b.name):
        for port in sorted(bridge.ports.ports.values(), key=lambda p: p.name):
            kind, options = port.interface.type, port.interface.options
            if kind not in _TUNNELS:
                continue
            local = options.get("local_ip", "::")
            lines.append(
                f"port {port.port_id}: {port.name} ({kind}: {local}->"
                f"{options.get('remote_ip', 'flow')}, key={options.get('key', '0')}, "
                f"dp port={port.port_id})"
            )
    return "".join(f"{line}\n" for line in lines)
