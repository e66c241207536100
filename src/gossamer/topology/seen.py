"""What is: the database, the host's devices and the inside of namespaces, read when asked for.

One `Seen` is one moment.  Each part is read once, with one command, and only
if somebody asks for it; after changes a new one is made.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from ipaddress import ip_interface, ip_network
from typing import Any, Final

from gossamer.errors import TopologyError
from gossamer.topology.command import Tools

_TABLES: Final = {
    "bridge": "_uuid,name,ports,fail_mode,controller,other_config",
    "port": "_uuid,name,interfaces,tag,trunks,vlan_mode",
    "interface": "_uuid,name,type,options,error,ofport,ingress_policing_rate,ingress_policing_burst",
    "controller": "_uuid,target",
}


@dataclass(frozen=True, slots=True)
class SeenBridge:
    """A row of Bridge."""

    name: str
    fail_mode: str
    controllers: frozenset[str]
    other_config: dict[str, str]


@dataclass(frozen=True, slots=True)
class SeenPort:
    """A row of Port with its (first) Interface and the bridge it is on."""

    name: str
    bridge: str
    tag: int | None
    trunks: frozenset[int]
    mode: str | None
    type: str
    options: dict[str, str]
    rate_kbps: int
    burst_kb: int
    error: str
    ofport: int
    """Its OpenFlow number, 0 where it has none."""


@dataclass(frozen=True, slots=True)
class SeenLink:
    """A network device."""

    ifindex: int
    peer_ifindex: int
    """Of a veth's other end; 0 for other devices."""
    mac: str
    mtu: int
    up: bool
    addresses: frozenset[str]
    """Those somebody gave it: global ones that no protocol leases, and link-local ones."""


Route = tuple[str, str]
"""Destination and gateway, both in their shortest form."""


@dataclass(frozen=True, slots=True)
class SeenNamespace:
    """The inside of an instance."""

    links: dict[str, SeenLink]
    routes: frozenset[Route]
    """The static ones of the main table: those that a topology made (protocol static)."""
    forwarding: dict[str, bool]
    """By address family: inet, inet6."""


class Seen:
    """The host at one moment.  Raises TopologyError where the daemon does not answer."""

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        self._namespaces: dict[str, SeenNamespace] = {}
        self._hosts: dict[str, Seen] = {}

    def at(self, host: str | None) -> Seen:
        """What is on a host, by the name of its namespace; this for None."""
        if host is None:
            return self
        if host not in self._hosts:
            self._hosts[host] = Seen(self._tools.at(host))
        return self._hosts[host]

    @cached_property
    def answers(self) -> bool:
        """True where the daemon answers."""
        return self._tools.answers()

    @cached_property
    def _rows(self) -> dict[str, dict[str, dict[str, Any]]]:
        arguments: list[str] = []
        for table, columns in _TABLES.items():
            arguments += ["--", f"--columns={columns}", "list", table]
        shown = self._tools.vsctl("--format=json", *arguments[1:])
        return {t: _table(line) for t, line in zip(_TABLES, shown.splitlines(), strict=True)}

    @cached_property
    def bridges(self) -> dict[str, SeenBridge]:
        """Bridges of the database, by name."""
        controllers = self._rows["controller"]
        return {
            row["name"]: SeenBridge(
                row["name"],
                _one(row["fail_mode"]) or "",
                frozenset(controllers[u]["target"] for u in _many(row["controller"]) if u in controllers),
                dict(row["other_config"]),
            )
            for row in self._rows["bridge"].values()
        }

    @cached_property
    def ports(self) -> dict[str, SeenPort]:
        """Ports of the database, by name."""
        out: dict[str, SeenPort] = {}
        for bridge in self._rows["bridge"].values():
            for uuid in _many(bridge["ports"]):
                row = self._rows["port"][uuid]
                interface = self._rows["interface"][_many(row["interfaces"])[0]]
                out[row["name"]] = SeenPort(
                    row["name"],
                    bridge["name"],
                    _one(row["tag"]),
                    frozenset(_many(row["trunks"])),
                    _one(row["vlan_mode"]),
                    interface["type"],
                    dict(interface["options"]),
                    interface["ingress_policing_rate"],
                    interface["ingress_policing_burst"],
                    _one(interface["error"]) or "",
                    max(_one(interface["ofport"]) or 0, 0),
                )
        return out

    @cached_property
    def links(self) -> dict[str, SeenLink]:
        """Devices in the daemon's namespace, by name."""
        return _links(
            json.loads(self._tools.run(*self._tools.ip_command(), "-j", "link", "show") or "[]")
        )

    @cached_property
    def namespaces(self) -> frozenset[str]:
        """Names of network namespaces."""
        listed = self._tools.run("ip", "netns", "list")
        return frozenset(line.split(" ")[0] for line in listed.splitlines() if line)

    def namespace(self, name: str) -> SeenNamespace | None:
        """The inside of a namespace, None where there is none of that name."""
        if name not in self.namespaces:
            return None
        if name not in self._namespaces:
            self._namespaces[name] = self._look_into(name)
        return self._namespaces[name]

    def _look_into(self, name: str) -> SeenNamespace:
        shown = self._tools.attempt(
            "ip", "-n", name, "-j", "-batch", "-",
            stdin="address show\nroute show table all\nnetconf show\n",
        )  # fmt: skip
        documents = shown.stdout.splitlines()
        if shown.returncode or len(documents) != 3:
            raise TopologyError(
                f"the namespace cannot be looked into: {shown.stderr.strip().partition(chr(10))[0]}",
                place=f"netns {name}",
                remedy=f"remove it: ip netns del {name}",
            )
        addresses, routes, settings = (json.loads(d) for d in documents)
        return SeenNamespace(
            _links(addresses),
            frozenset(_route(r) for r in routes if r.get("protocol") == "static" and "table" not in r),
            {s["family"]: bool(s.get("forwarding")) for s in settings if s.get("interface") == "all"},
        )

    def masquerades(self, netns: str) -> str | None:
        """The device whose address hides the others of a namespace, None where nothing does."""
        if netns not in self.namespaces:
            return None
        listed = self._tools.attempt(
            "ip", "netns", "exec", netns, "nft", "-j", "list", "table", "inet", "gossamer"
        )
        if listed.returncode:
            return None
        items = json.loads(listed.stdout)["nftables"]
        chains = [i["chain"] for i in items if "chain" in i]
        rules = [i["rule"] for i in items if "rule" in i]
        hooked = [c for c in chains if c.get("hook") == "postrouting" and c.get("type") == "nat"]
        if len(hooked) != 1 or len(rules) != 1:
            return None
        match, *rest = rules[0]["expr"]
        if rest != [{"masquerade": None}]:
            return None
        return str(match.get("match", {}).get("right"))


def _table(document: str) -> dict[str, dict[str, Any]]:
    """Rows by UUID, of the JSON that ovs-vsctl prints."""
    table = json.loads(document)
    rows = [
        {c: _plain(v) for c, v in zip(table["headings"], row, strict=True)} for row in table["data"]
    ]
    return {row["_uuid"]: row for row in rows}


def _plain(value: Any) -> Any:
    """A value of the database protocol (RFC 7047, 5.1) in Python's own terms."""
    if isinstance(value, list) and len(value) == 2:
        kind, inside = value
        if kind == "set":
            return [_plain(v) for v in inside]
        if kind == "map":
            return {_plain(k): _plain(v) for k, v in inside}
        if kind == "uuid":
            return inside
    return value


def _many(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _one(value: Any) -> Any:
    found = _many(value)
    return found[0] if found else None


def _links(shown: list[dict[str, Any]]) -> dict[str, SeenLink]:
    return {
        link["ifname"]: SeenLink(
            link["ifindex"],
            link.get("link_index", 0),
            link.get("address", ""),
            link["mtu"],
            "UP" in link["flags"],
            frozenset(
                str(ip_interface(f"{a['local']}/{a['prefixlen']}"))
                for a in link.get("addr_info", ())
                if not a.get("dynamic") and "local" in a
            ),
        )
        for link in shown
        if link
    }


def _route(shown: dict[str, Any]) -> Route:
    gateway = str(shown.get("gateway") or shown.get("via", {}).get("host", ""))
    destination = shown["dst"]
    if destination == "default":
        destination = "::/0" if ":" in gateway else "0.0.0.0/0"
    return str(ip_network(destination)), gateway
