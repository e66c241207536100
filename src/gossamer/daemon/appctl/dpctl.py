"""dpctl/* and dpif/dump-flows: what the kernel's datapath holds (ovs-dpctl(8)).

Options stand before other arguments.  Errors are worded and numbered as the
peer's, since scripts look for them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from gossamer.daemon.appctl import datapaths
from gossamer.daemon.appctl.dpctl_arguments import DpctlError, options
from gossamer.daemon.appctl.flow_dump import Shape, flow_lines
from gossamer.datapath.layout import CACHE_SETS
from gossamer.datapath.path_cache import WAYS
from gossamer.errors import FieldError
from gossamer.pipeline.fields import BY_NAME, get_slot, put
from gossamer.pipeline.flow_syntax import parse_flow
from gossamer.pipeline.match import ANY, Match
from gossamer.switch.show import Command, CommandError

if TYPE_CHECKING:
    from gossamer.daemon.appctl.conntrack import ConntrackCommands
    from gossamer.daemon.appctl.paths import CachedPath, PathCache
    from gossamer.daemon.control import Deferring
    from gossamer.switch.bridge import Bridge
    from gossamer.switch.port import Port
    from gossamer.switch.switch import Switch

_HUGE: Final = 1 << 30
_FLOW_TYPES: Final = (
    "ovs",
    "tc",
    "dpdk",
    "offloaded",
    "non-offloaded",
    "partially-offloaded",
    "all",
)
_UFID: Final = "ufid:"
_IN_PORT: Final = BY_NAME["in_port"]

_BY_PACKETS: Final = "paths are made by packets alone; add OpenFlow flows with ovs-ofctl"
_BY_DATABASE: Final = "bridges and ports are made in the database: use ovs-vsctl"

_REFUSED: Final = (
    ("add-dp", "dp [iface...]", 1, _HUGE, _BY_DATABASE),
    ("del-dp", "dp", 1, 1, _BY_DATABASE),
    ("add-if", "dp iface...", 2, _HUGE, _BY_DATABASE),
    ("del-if", "dp iface...", 2, _HUGE, _BY_DATABASE),
    ("set-if", "dp iface...", 2, _HUGE, _BY_DATABASE),
    ("add-flow", "[dp] flow actions", 2, 3, _BY_PACKETS),
    ("mod-flow", "[dp] flow actions", 2, 3, _BY_PACKETS),
    ("del-flow", "[dp] flow", 1, 2, _BY_PACKETS),
    ("add-flows", "[dp] file", 1, 2, _BY_PACKETS),
    ("mod-flows", "[dp] file", 1, 2, _BY_PACKETS),
    ("offload-stats-show", "[dp]", 0, 1, "nothing is offloaded to hardware"),
    ("cache-set-size", "dp cache <size>", 3, 3, "the size of the cache is fixed"),
)
"""Commands of the peer that this datapath cannot do: name, usage, arguments, why."""

_ORDER: Final = """
    add-dp del-dp add-if del-if set-if dump-dps show dump-flows add-flow mod-flow get-flow del-flow
    add-flows mod-flows del-flows offload-stats-show dump-conntrack flush-conntrack cache-get-size
    cache-set-size ct-stats-show ct-bkts ct-set-maxconns ct-get-maxconns ct-get-nconns
    ct-enable-tcp-seq-chk ct-disable-tcp-seq-chk ct-get-tcp-seq-chk ct-set-limits ct-del-limits
    ct-get-limits ipf-set-enabled ipf-set-disabled ipf-set-min-frag ipf-set-max-nfrags
    ipf-get-status list-commands
"""
"""In which they are listed."""


@dataclass(frozen=True, slots=True)
class PathFilter:
    """Which paths are wanted: those that such packets may take, in one bridge or in any."""

    match: Match
    bridge_id: int | None = None

    def passes(self, path: CachedPath) -> bool:
        """Whether packets of a path can be among those asked for."""
        same = self.bridge_id is None or path.bridge_id == self.bridge_id
        return same and path.match.overlaps(self.match)


class Dpctl:
    """The commands, over a switch and the kernel's cache; `drops` are counted by reason.

    Those about connections are `conntrack`'s.
    """

    def __init__(
        self,
        switch: Switch,
        cache: PathCache,
        drops: Callable[[], Mapping[str, int]],
        conntrack: ConntrackCommands,
    ) -> None:
        self._switch = switch
        self._cache = cache
        self._drops = drops
        self._conntrack = conntrack

    def deferring(self) -> dict[str, Deferring]:
        """Commands that may take long, by name."""
        return {f"dpctl/{name}": c for name, c in self._conntrack.deferring().items()}

    def commands(self) -> dict[str, Command]:
        """The commands, by name."""
        own: dict[str, tuple[str, int, int, Callable[[Sequence[str]], str]]] = {
            "dump-dps": ("", 0, 0, self.dump_dps),
            "show": ("[-s] [dp...]", 0, _HUGE, self.show),
            "cache-get-size": ("[dp]", 0, 1, self.cache_sizes),
            "dump-flows": (
                "[-m] [--names] [dp] [filter=..] [type=..] [pmd=..]",
                0,
                6,
                self.dump_flows,
            ),
            "get-flow": ("[dp] ufid", 1, 2, self.get_flow),
            "del-flows": ("[dp] [file]", 0, 2, self.del_flows),
        }
        own |= self._conntrack.commands()
        out = {f"dpctl/{name}": Command(*c) for name, c in own.items()}
        for name, usage, low, high, why in _REFUSED:
            out[f"dpctl/{name}"] = Command(usage, low, high, self._refusing(name, why))
        usages = {name: c.usage or "" for name, c in out.items()}
        usages |= {name: c.usage or "" for name, c in self.deferring().items()}
        usages["dpctl/list-commands"] = ""
        out["dpctl/list-commands"] = Command("", 0, _HUGE, lambda argv: _list(usages))
        out["dpif/dump-flows"] = Command(
            "[-m] [--names | --no-names] bridge", 1, _HUGE, self.dump_bridge_flows
        )
        return out

    def _refusing(self, name: str, why: str) -> Callable[[Sequence[str]], str]:
        def refuse(argv: Sequence[str]) -> str:
            options(argv)
            raise DpctlError(f"{name}: {why}", "Operation not supported")

        return refuse

    # -- datapaths -----------------------------------------------------------------------------

    def dump_dps(self, argv: Sequence[str]) -> str:
        """The datapaths there are."""
        return "".join(f"{datapaths.name_of(kind)}\n" for kind in datapaths.kinds(self._switch))

    def show(self, argv: Sequence[str]) -> str:
        """Datapaths with their ports, and what was looked up in them."""
        asked, names = options(argv)
        out: list[str] = []
        failed = False
        for name in names or map(datapaths.name_of, datapaths.kinds(self._switch)):
            kind = datapaths.find(self._switch, name)
            if kind is None:
                failed = True
                out.append(str(DpctlError(f"opening datapath {name} failed", "No such device")))
            else:
                out += self._show(kind, statistics=asked.statistics)
        text = "".join(f"{line}\n" for line in out)
        if failed:
            raise CommandError(text)
        return text

    def cache_sizes(self, argv: Sequence[str]) -> str:
        """Datapaths with how many paths each CPU keeps."""
        _, names = options(argv)
        out: list[str] = []
        for name in names or map(datapaths.name_of, datapaths.kinds(self._switch)):
            kind = datapaths.find(self._switch, name)
            if kind is None:
                raise DpctlError(f"Opening datapath {name} failed", "No such device")
            out += [f"{datapaths.name_of(kind)}:", "  caches:"]
            out.append(f"    paths-per-cpu: size:{WAYS * CACHE_SETS}")
        return "".join(f"{line}\n" for line in out)

    def _show(self, kind: str, *, statistics: bool) -> list[str]:
        switch = self._switch
        bridges = datapaths.bridges_of(switch, kind)
        hit, missed = lookups(switch, bridges)
        paths = sum(1 for _ in self._paths(kind))
        out = [
            f"{datapaths.name_of(kind)}:",
            f"  lookups: hit:{hit} missed:{missed} lost:{lost(self._drops())}",
            f"  flows: {paths}",
        ]
        for _, port in datapaths.ports_of(switch, kind):
            type_ = datapaths.port_type(kind, port)
            out.append(f"  port {port.port_id}: {port.name}{f' ({type_})' if type_ else ''}")
            if statistics:
                out += self._statistics(port)
        return out

    def _statistics(self, port: Port) -> list[str]:
        s = self._switch.datapath.port_statistics(port.port_id)
        # What nobody counts is a question mark, as the peer writes it.
        return [
            f"    RX packets:{s.rx_packets} errors:? dropped:{s.rx_dropped} overruns:? frame:?",
            f"    TX packets:{s.tx_packets} errors:? dropped:{s.tx_dropped} aborted:? carrier:?",
            "    collisions:?",
            f"    RX bytes:{_size(s.rx_bytes)}  TX bytes:{_size(s.tx_bytes)}",
        ]

    # -- flows ---------------------------------------------------------------------------------

    def _paths(self, kind: str, bridge: Bridge | None = None) -> list[CachedPath]:
        wanted = [bridge] if bridge else datapaths.bridges_of(self._switch, kind)
        ids = {b.ports.bridge_id for b in wanted}
        return [path for path in self._cache.read().paths if path.bridge_id in ids]

    def _datapath(self, args: list[str]) -> str:
        """The datapath a command is about: its first argument where that names one."""
        kind = datapaths.find(self._switch, args[0]) if args else None
        if kind is not None:
            args.pop(0)
            return kind
        return datapaths.the_only(self._switch)

    def dump_flows(self, argv: Sequence[str]) -> str:
        """The cached paths of a datapath, as flows."""
        asked, args = options(argv)
        # Filters stand behind the datapath; the last of each kind counts.
        wanted = PathFilter(ANY)
        types = {"all"}
        names = []
        for word in args:
            key, equals, value = word.partition("=")
            if equals and key == "filter":
                wanted = self._filter(value)
            elif equals and key == "type":
                types = set(value.split(","))
            elif not (equals and key == "pmd"):
                names.append(word)
        for type_ in types:
            if type_ not in _FLOW_TYPES:
                raise DpctlError(f"Failed to parse type ({type_})", "Invalid argument")
        if len(names) == 1 and datapaths.find(self._switch, names[0]) is None:
            raise DpctlError("datapath not found", "Invalid argument")
        kind = self._datapath(names)
        paths = self._paths(kind) if types & {"ovs", "all", "non-offloaded"} else []
        shape = Shape(full=asked.verbosity > 0, names=asked.shows_names, dp=True)
        lines = list(flow_lines(self._switch, filter(wanted.passes, paths), shape))
        if lines and kind == "netdev":
            lines.insert(0, "flow-dump from the main thread:")
        return "".join(f"{line}\n" for line in lines)

    def _filter(self, text: str) -> PathFilter:
        """A flow whose in_port is a port of the datapath, by number or name."""
        ports = {
            port.port_id: (bridge, port)
            for bridge in self._switch.bridges.values()
            for port in bridge.ports.ports.values()
        }
        try:
            match = parse_flow(text, {p.name: port_id for port_id, (_, p) in ports.items()}).match
        except FieldError as e:
            raise DpctlError(f"Failed to parse filter ({e.message})") from None
        if not match.mask & _IN_PORT.full_mask:
            return PathFilter(match)
        found = ports.get(get_slot(match.value, "in_port"))
        if found is None:
            return PathFilter(match, bridge_id=-1)
        bridge, port = found
        there = put(match.value, _IN_PORT, port.ofport)
        return PathFilter(replace(match, value=there), bridge.ports.bridge_id)

    def get_flow(self, argv: Sequence[str]) -> str:
        """One path by the number ``dump-flows -m`` names it by."""
        asked, args = options(argv)
        name = args[-1] if args else ""
        if not name.startswith(_UFID) or len(name) != len(_UFID) + 36:
            raise DpctlError("parsing flow ufid", "Invalid argument")
        kind = self._datapath(args[:-1])
        found = [p for p in self._paths(kind) if p.ufid == name.removeprefix(_UFID)]
        if not found:
            raise DpctlError("getting flow", "No such file or directory")
        shape = Shape(full=asked.verbosity > 0, names=asked.shows_names, dp=True)
        return "".join(f"{line}\n" for line in flow_lines(self._switch, found, shape))

    def del_flows(self, argv: Sequence[str]) -> str:
        """Forget the cached paths: the next packet of each goes through the tables again."""
        _, args = options(argv)
        kind = self._datapath(args)
        if args:
            raise DpctlError(f"del-flows {args[0]}: {_BY_PACKETS}", "Operation not supported")
        forget_paths(self._switch, datapaths.bridges_of(self._switch, kind))
        return ""

    def dump_bridge_flows(self, argv: Sequence[str]) -> str:
        """dpif/dump-flows: the cached paths of one bridge."""
        bridge = self._switch.bridges.get(argv[-1])
        if bridge is None:
            raise CommandError("no such bridge")
        full = "-m" in argv[:-1]
        names = full
        for word in argv[:-1]:
            if word in ("--names", "--no-names"):
                names = word == "--names"
        shape = Shape(full=full, names=names, dp=False)
        lines = flow_lines(self._switch, self._paths("", bridge), shape)
        return "".join(f"{line}\n" for line in lines)


def lookups(switch: Switch, bridges: Sequence[Bridge]) -> tuple[int, int]:
    """Packets that found a flow in table 0 of these bridges, and that found none."""
    tables = [switch.datapath.table_statistics(b.ports.bridge_id).get(0) for b in bridges]
    hit = sum(t.matched for t in tables if t)
    return hit, sum(t.lookups for t in tables if t) - hit


def lost(drops: Mapping[str, int]) -> int:
    """Packets meant for the controllers that could not be brought up to the daemon."""
    return drops.get("punt_rate", 0) + drops.get("punt_full", 0)


def forget_paths(switch: Switch, bridges: Sequence[Bridge]) -> None:
    """Give bridges new versions, under which no path is cached."""
    with switch.datapath.transaction():
        for bridge in bridges:
            switch.datapath.insert_flows(bridge.ports.bridge_id, [])


def _size(n: int) -> str:
    for unit, scale in (("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if n >= scale:
            return f"{n} ({n / scale:.1f} {unit})"
    return str(n)


def _list(usages: Mapping[str, str]) -> str:
    """dpctl/list-commands."""
    lines = ["The available commands are:"]
    order = _ORDER.split()
    names = sorted(usages, key=lambda name: order.index(name.removeprefix("dpctl/")))
    lines += [f"  {name:<29} {usages[name]}" for name in names]
    return "\n".join(lines) + "\n"
