"""What a specification of vlog/set asks for (ovs-vswitchd(8), -vSPEC; ovs-appctl(8), vlog/set).

Modules are the parts of the daemon, and those of the library it logs by; names
of the peer's modules are taken for the part that does their work here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

import ovs.vlog

from gossamer.daemon import syslog
from gossamer.errors import GossamerError

LEVELS: Final = ("off", "emer", "err", "warn", "info", "dbg")
DESTINATIONS: Final = ("syslog", "console", "file")
DEFAULT_LEVEL: Final = "dbg"
_ROW: Final = re.compile(r"^(\S+)\s+(\w+)\s+(\w+)\s+(\w+)$", re.MULTILINE)
_SEPARATORS: Final = re.compile(r"[ ,:\t\r\n]+")

_PEERS: Final[Mapping[str, str]] = {
    name: part
    for part, names in {
        "switch": "bond bfd bridge bundle bundles cfm connmgr fail_open in_band lacp lldp lldpd "
        "lldpd_structs ofproto ofproto_dpif ofproto_dpif_mirror ofproto_dpif_monitor "
        "ofproto_dpif_rid ofproto_dpif_upcall ovs_lldp rstp rstp_sm stp tunnel",
        "pipeline": "flow odp_execute odp_execute_impl ofproto_dpif_xlate ofproto_xlate_cache",
        "openflow": "meta_flow nx_match ofp_actions ofp_bundle ofp_connection ofp_errors ofp_flow "
        "ofp_group ofp_match ofp_meter ofp_monitor ofp_msgs ofp_packet ofp_port ofp_protocol "
        "ofp_queue ofp_table ofp_util ox_stat rconn stream_fd stream_ssl stream_tcp stream_unix "
        "vconn vconn_stream",
        "datapath": "conntrack conntrack_tp ct_dpif dpif dpif_netdev dpif_netlink "
        "dpif_netlink_rtnl ipf native_tnl netlink_conntrack odp_util tc",
        "devices": "netdev netdev_dummy netdev_linux netdev_offload netdev_offload_tc "
        "netdev_vport netlink netlink_notifier netlink_socket ovs_router route_table",
        "export": "collectors ipfix netflow sflow",
        "ovsdb": "ovsdb_cs ovsdb_error ovsdb_idl",
        "daemon": "backtrace command_line coverage daemon_unix fatal_signal lockfile memory "
        "ovs_numa ovs_rcu ovs_replay ovs_thread poll_loop process signals socket_util_unix "
        "stream_replay system_stats timeval unixctl util vlog vswitchd",
        "lib": "dpdk dpif_lookup_autovalidator dpif_lookup_generic dpif_mfex_extract_study "
        "dpif_netdev_extract dpif_netdev_impl dpif_netdev_lookup entropy hmap netdev_afxdp "
        "pcap pmd_perf sha1 svec userspace_tso uuid",
    }.items()
    for name in names.split()
}  # fmt: skip


class SpecificationError(GossamerError):
    """A specification with a word that is none of its kind."""


def apply(specification: str) -> None:
    """Set levels, a pattern or the facility.  Raises SpecificationError."""
    words = [w for w in _SEPARATORS.split(specification) if w]
    if words and words[0].lower() == "pattern":
        _set_pattern(specification, words[1:])
    elif words and words[0].lower() == "facility":
        facility = words[1] if len(words) > 1 else ""
        if facility.lower() not in syslog.FACILITIES:
            raise SpecificationError("invalid facility")
        syslog.Facility.chosen = syslog.FACILITIES[facility.lower()]
    else:
        _set_level(words)


def _set_pattern(specification: str, words: Sequence[str]) -> None:
    if not words:
        raise SpecificationError("missing destination")
    name = words[0].lower()
    if name != "any" and name not in DESTINATIONS:
        raise SpecificationError(f'unknown destination "{words[0]}"')
    # The pattern itself may have any of the separators in it.
    pattern = re.split(r"[ ,:\t\r\n]+", specification.lstrip(" ,:\t\r\n"), maxsplit=2)[2:]
    for destination in DESTINATIONS if name == "any" else (name,):
        ovs.vlog.Vlog.set_pattern(destination, pattern[0] if pattern else "")


def levels() -> dict[str, tuple[str, str, str]]:
    """Module -> levels at console, syslog and file; the library's own modules are among them."""
    rows = _ROW.finditer(ovs.vlog.Vlog.get_levels())
    return {m[1]: (m[2], m[3], m[4]) for m in rows if m[2] in LEVELS}


def module_of(word: str) -> str | None:
    """The module a word names, None where it names none."""
    name = word.lower().replace("-", "_")
    return name if name in levels() else _PEERS.get(name)


def _set_level(words: Sequence[str]) -> None:
    chosen: dict[str, str] = {}
    for word in words:
        lower = word.lower()
        module = module_of(word)
        if lower == "any":
            continue
        if lower in DESTINATIONS:
            kind = "destination"
        elif lower in LEVELS:
            kind = "level"
        elif module is not None:
            kind, lower = "module", module
        else:
            raise SpecificationError(f'no destination, level, or module "{word}"')
        if kind in chosen:
            raise SpecificationError(f"cannot specify multiple {kind}s")
        chosen[kind] = lower
    ovs.vlog.Vlog.set_level(
        chosen.get("module", "any"),
        chosen.get("destination", "any"),
        chosen.get("level", DEFAULT_LEVEL),
    )
