"""Actions as a person types them: ``output:1,resubmit(,2)`` (ovs-actions(7))."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Final

from gossamer.errors import FieldError
from gossamer.pipeline import action as act
from gossamer.pipeline.action import Action, Actions
from gossamer.pipeline.action_choice import (
    Bundle,
    BundleAlgorithm,
    HashFields,
    Multipath,
    MultipathAlgorithm,
)
from gossamer.pipeline.action_ct import CtClear
from gossamer.pipeline.action_encap import DecNshTtl
from gossamer.pipeline.ct_syntax import parse_ct
from gossamer.pipeline.encap_syntax import parse_decap, parse_encap
from gossamer.pipeline.field_syntax import (
    parse_field,
    parse_ipv4,
    parse_mac,
    parse_number,
    parse_port,
    parse_subfield,
    parse_value,
)
from gossamer.pipeline.field_views import NXM_IN_PORT
from gossamer.pipeline.fields import BY_NAME
from gossamer.pipeline.format_field import all_bits
from gossamer.pipeline.learn_syntax import parse_learn
from gossamer.pipeline.of_port import OfPort
from gossamer.pipeline.pairs import key_values

Ports = Mapping[str, int] | None
_Read = Callable[[str, Ports], Action]
_ALL64: Final = (1 << 64) - 1
_REASONS: Final = {
    "no_match": 0, "action": 1, "invalid_ttl": 2, "action_set": 3, "group": 4, "packet_out": 5,
}  # fmt: skip
_HASHES: Final = {f.name.lower(): f for f in HashFields} | {
    "symmetric_l3l4+udp": HashFields.SYMMETRIC_L3L4_UDP
}
_DIRECTIONS: Final = {"ingress": 1, "egress": 2}


def parse_actions(text: str, ports: Ports = None) -> Actions:
    """A list of actions and instructions, ``drop`` alone for none.

    `ports` maps port names to OpenFlow numbers.  Raises FieldError, which says what was not
    understood.
    """
    items = key_values(text)
    if [key for key, _ in items] == ["drop"]:
        return act.DROP
    return tuple(_parse(key, value, ports) for key, value in items)


def _parse(key: str, value: str, ports: Ports) -> Action:
    read = _ACTIONS.get(key.lower())
    if read is not None:
        return read(value, ports)
    if value:
        raise FieldError(f"unknown action {key!r}", remedy="ovs-actions(7) lists the actions")
    return _output(key, ports)


def _output(text: str, ports: Ports) -> Action:
    if "max_len" in text and "port" in text:
        pairs = dict(key_values(text))
        max_len = parse_number("max_len", pairs.get("max_len", ""))
        if max_len < _ETH_HEADER:
            raise FieldError(f"max_len {max_len} is less than an Ethernet header")
        return act.OutputTrunc(parse_port(pairs.get("port", ""), ports), max_len)
    try:
        port = parse_port(text, ports)
    except FieldError:
        if not re.match(r"\w+\[.*\]$|(NXM|OXM)_", text):
            raise
        return act.OutputReg(parse_subfield(text), act.CONTROLLER_MAX_LEN)
    return act.Controller() if port == OfPort.CONTROLLER else act.Output(port)


_ETH_HEADER: Final = 14


def _controller(text: str, ports: Ports) -> Action:
    if not text:
        return act.Controller()
    if text.isdigit():
        return act.Controller(int(text))
    numbers = {"max_len": act.CONTROLLER_MAX_LEN, "id": 0, "meter_id": 0}
    reason, userdata, pause = 1, b"", False
    for key, value in key_values(text):
        if key == "reason":
            reason = _one_of("reason", _REASONS, value)
        elif key == "userdata":
            userdata = _hex_bytes(value)
        elif key == "pause":
            pause = True
        elif key in numbers:
            numbers[key] = parse_number(key, value)
        else:
            raise FieldError(f"controller: unknown argument {key!r}")
    return act.Controller(
        numbers["max_len"], numbers["id"], reason, userdata, pause, numbers["meter_id"],
        as_output=False,
    )  # fmt: skip


def _hex_bytes(text: str) -> bytes:
    digits = text.replace(".", "").replace(" ", "")
    try:
        return bytes.fromhex(digits)
    except ValueError:
        raise FieldError(f"{text!r} is not in hexadecimal") from None


def _one_of(what: str, known: Mapping[str, int], text: str) -> int:
    if text.lower() not in known:
        raise FieldError(f"{what}: {text!r} is none of {', '.join(known)}")
    return known[text.lower()]


def _enqueue(text: str, ports: Ports) -> Action:
    port, _, queue = text.replace(",", ":").partition(":")
    return act.Enqueue(parse_port(port.strip(), ports), parse_number("queue", queue.strip()))


def _number(name: str, make: Callable[[int], Action], n_bits: int) -> _Read:
    def read(text: str, ports: Ports) -> Action:
        value = parse_number(name, text)
        if value >> n_bits:
            raise FieldError(f"{name}: {text} does not fit {n_bits} bits")
        return make(value)

    return read


def _nothing(action: Action) -> _Read:
    def read(text: str, ports: Ports) -> Action:
        return action

    return read


def _named(field: str, spelling: str, read_value: Callable[[str, str], int]) -> _Read:
    f = BY_NAME[field]

    def read(text: str, ports: Ports) -> Action:
        value = read_value(spelling, text)
        if spelling == "set_nw_tos":
            value >>= 2
        if value >> f.n_bits:
            raise FieldError(f"{text} does not fit {f.n_bits} bits")
        return act.NamedSet(f, value, (1 << f.n_bits) - 1, spelling)

    return read


def _arrow(what: str, text: str) -> tuple[str, str]:
    left, arrow, right = text.rpartition("->")
    if not arrow or not left:
        raise FieldError(f"{what}: {text!r} has no '->'", remedy=f"write {what}:FROM->TO")
    return left.strip(), right.strip()


def _set_field(text: str, ports: Ports) -> Action:
    value_text, name = _arrow("set_field", text)
    f = parse_field(name)
    if f is NXM_IN_PORT:
        return act.SetField(f, parse_port(value_text, ports), 0xFFFFFFFF)
    value, mask = parse_value(f, value_text)
    # Of a field that fills no whole bytes the peer keeps a mask of all its bits, and shows it.
    partial = f.n_bits < 8 * f.wire_bytes and not f.marks
    if partial and "/" in value_text and mask == all_bits(f):
        return act.NamedSet(f, value, mask, act.WITH_MASK)
    return act.SetField(f, value & mask, mask)


def _load(text: str, ports: Ports) -> Action:
    value_text, name = _arrow("load", text)
    dst = parse_subfield(name)
    value = parse_number("load", value_text)
    if value >> dst.n_bits:
        raise FieldError(f"load: {value_text} does not fit {dst.n_bits} bits")
    return act.RegLoad(dst, value)


def _move(text: str, ports: Ports) -> Action:
    src, dst = (parse_subfield(part) for part in _arrow("move", text))
    if src.n_bits != dst.n_bits:
        raise FieldError(f"move: {src.n_bits} bits do not fit {dst.n_bits} bits")
    return act.RegMove(src, dst)


def _dec_ttl(text: str, ports: Ports) -> Action:
    if not text:
        return act.DecTtl()
    ids = re.split(r"[,\s]+", text.strip())
    return act.DecTtl(tuple(parse_number("dec_ttl", i) for i in ids))


def _resubmit(text: str, ports: Ports) -> Action:
    port, table, ct = (part.strip() for part in f"{text},,".split(",")[:3])
    if ct not in ("", "ct"):
        raise FieldError(f"resubmit: unknown argument {ct!r}")
    if not port and not table:
        raise FieldError("resubmit needs a port or a table")
    return act.Resubmit(
        parse_port(port, ports) if port else int(OfPort.IN_PORT),
        parse_number("table", table) if table else 0xFF,
        bool(ct),
    )


def _write_metadata(text: str, ports: Ports) -> Action:
    value, slash, mask = text.partition("/")
    return act.WriteMetadata(
        parse_number("metadata", value), parse_number("metadata", mask) if slash else _ALL64
    )


def _fin_timeout(text: str, ports: Ports) -> Action:
    known = {"idle_timeout": 0, "hard_timeout": 0}
    for key, value in key_values(text):
        if key not in known:
            raise FieldError(f"fin_timeout: unknown argument {key!r}")
        known[key] = parse_number(key, value)
    return act.FinTimeout(known["idle_timeout"], known["hard_timeout"])


def _sample(text: str, ports: Ports) -> Action:
    known = dict.fromkeys(("probability", "collector_set_id", "obs_domain_id", "obs_point_id"), 0)
    port, direction = int(OfPort.ANY), 0
    for key, value in key_values(text):
        if key in _DIRECTIONS:
            direction = _DIRECTIONS[key]
        elif key == "sampling_port":
            port = parse_port(value, ports)
        elif key in known:
            known[key] = parse_number(key, value)
        else:
            raise FieldError(f"sample: unknown argument {key!r}")
    if not 0 < known["probability"] <= 0xFFFF:
        raise FieldError("sample needs a probability from 1 to 65535")
    return act.Sample(
        known["probability"], known["collector_set_id"], known["obs_domain_id"],
        known["obs_point_id"], port, direction,
    )  # fmt: skip


def _check_pkt_larger(text: str, ports: Ports) -> Action:
    length, name = _arrow("check_pkt_larger", text)
    dst = parse_subfield(name)
    if dst.n_bits != 1:
        raise FieldError("check_pkt_larger sets a single bit")
    return act.CheckPktLarger(dst, parse_number("check_pkt_larger", length.strip("()")))


def _conjunction(text: str, ports: Ports) -> Action:
    found = re.fullmatch(r"\s*(\w+)\s*,\s*(\d+)\s*/\s*(\d+)\s*", text)
    if found is None:
        raise FieldError("conjunction: the syntax is conjunction(ID,K/N)")
    clause, n_clauses = int(found[2]), int(found[3])
    if not 2 <= n_clauses <= 64 or not 1 <= clause <= n_clauses:
        raise FieldError("conjunction: 1 <= K <= N and 2 <= N <= 64")
    return act.Conjunction(parse_number("conj_id", found[1]), clause - 1, n_clauses)


def _multipath(text: str, ports: Ports) -> Action:
    parts = re.split(r"[,\s]+", text.strip())
    if len(parts) != 6:
        raise FieldError("multipath(FIELDS,BASIS,ALGORITHM,N_LINKS,ARG,DST)")
    fields, basis, algorithm, n_links, arg, dst = parts
    algorithms = {a.name.lower(): a for a in MultipathAlgorithm}
    links = parse_number("n_links", n_links)
    to = parse_subfield(dst)
    if not 1 <= links <= 65536 or links > 1 << to.n_bits:
        raise FieldError(f"multipath: {to.n_bits} bits cannot tell {links} links apart")
    return Multipath(
        HashFields(_one_of("fields", _HASHES, fields)), parse_number("basis", basis),
        MultipathAlgorithm(_one_of("algorithm", algorithms, algorithm)), links,
        parse_number("arg", arg), to,
    )  # fmt: skip


def _bundle(text: str, ports: Ports, *, load: bool) -> Action:
    head, found, members = (
        re.split(r"[,\s]*(members|slaves):", f"{text} ", maxsplit=1)[:3]
        if (re.search(r"(members|slaves):", text))
        else (text, "", "")
    )
    parts = re.split(r"[,\s]+", head.strip())
    if not found or len(parts) != (5 if load else 4) or parts[3] != "ofport":
        raise FieldError("bundle(FIELDS,BASIS,ALGORITHM,ofport,[DST,]members:PORT,...)")
    algorithms = {a.name.lower(): a for a in BundleAlgorithm}
    return Bundle(
        HashFields(_one_of("fields", _HASHES, parts[0])), parse_number("basis", parts[1]),
        BundleAlgorithm(_one_of("algorithm", algorithms, parts[2])),
        tuple(parse_port(port, ports) for port in re.split(r"[,\s\[\]]+", members) if port),
        parse_subfield(parts[4]) if load else None,
    )  # fmt: skip


def _clone(text: str, ports: Ports) -> Action:
    return act.Clone(parse_actions(text, ports))


def _write_actions(text: str, ports: Ports) -> Action:
    return act.WriteActions(parse_actions(text, ports))


def _ct(text: str, ports: Ports) -> Action:
    return parse_ct(text, lambda inside: parse_actions(inside, ports))


_ACTIONS: Final[dict[str, _Read]] = {
    "output": _output,
    "controller": _controller,
    "enqueue": _enqueue,
    "group": _number("group", act.Group, 32),
    "meter": _number("meter", act.Meter, 32),
    "mod_vlan_vid": _number("mod_vlan_vid", act.SetVlanVid, 12),
    "set_vlan_vid": _number("set_vlan_vid", lambda vid: act.SetVlanVid(vid, push=False), 12),
    "mod_vlan_pcp": _number("mod_vlan_pcp", act.SetVlanPcp, 3),
    "set_vlan_pcp": _number("set_vlan_pcp", lambda pcp: act.SetVlanPcp(pcp, push=False), 3),
    "strip_vlan": _nothing(act.StripVlan()),
    "pop_vlan": _nothing(act.PopVlan()),
    "push_vlan": _number("push_vlan", act.PushVlan, 16),
    "mod_dl_src": _named("eth_src", "set_dl_src", parse_mac),
    "mod_dl_dst": _named("eth_dst", "set_dl_dst", parse_mac),
    "mod_nw_src": _named("ip_src", "set_nw_src", parse_ipv4),
    "mod_nw_dst": _named("ip_dst", "set_nw_dst", parse_ipv4),
    "mod_nw_tos": _named("ip_dscp", "set_nw_tos", parse_number),
    "mod_nw_ecn": _named("ip_ecn", "set_nw_ecn", parse_number),
    "mod_nw_ttl": _named("nw_ttl", "set_nw_ttl", parse_number),
    "mod_tp_src": _named("tcp_src", "set_tp_src", parse_number),
    "mod_tp_dst": _named("tcp_dst", "set_tp_dst", parse_number),
    "set_tunnel": _named("tun_id", "set_tunnel", parse_number),
    "set_tunnel64": _named("tun_id", "set_tunnel64", parse_number),
    "set_mpls_label": _named("mpls_label", "set_mpls_label", parse_number),
    "set_mpls_tc": _named("mpls_tc", "set_mpls_tc", parse_number),
    "set_mpls_ttl": _named("mpls_ttl", "set_mpls_ttl", parse_number),
    "dec_mpls_ttl": _nothing(act.DecMplsTtl()),
    "push_mpls": _number("push_mpls", act.PushMpls, 16),
    "pop_mpls": _number("pop_mpls", act.PopMpls, 16),
    "push_pbb": _number("push_pbb", act.PushPbb, 16),
    "pop_pbb": _nothing(act.PopPbb()),
    "encap": lambda text, _: parse_encap(text),
    "decap": lambda text, _: parse_decap(text),
    "dec_nsh_ttl": _nothing(DecNshTtl()),
    "copy_ttl_out": _nothing(act.CopyTtlOut()),
    "copy_ttl_in": _nothing(act.CopyTtlIn()),
    "set_field": _set_field,
    "load": _load,
    "move": _move,
    "push": lambda text, _: act.StackPush(parse_subfield(text)),
    "pop": lambda text, _: act.StackPop(parse_subfield(text)),
    "dec_ttl": _dec_ttl,
    "set_queue": _number("set_queue", act.SetQueue, 32),
    "pop_queue": _nothing(act.PopQueue()),
    "resubmit": _resubmit,
    "learn": parse_learn,
    "fin_timeout": _fin_timeout,
    "conjunction": _conjunction,
    "multipath": _multipath,
    "bundle": lambda text, ports: _bundle(text, ports, load=False),
    "bundle_load": lambda text, ports: _bundle(text, ports, load=True),
    "sample": _sample,
    "note": lambda text, _: act.Note(_hex_bytes(text)),
    "clone": _clone,
    "check_pkt_larger": _check_pkt_larger,
    "delete_field": lambda text, _: act.DeleteField(parse_field(text)),
    "ct": _ct,
    "ct_clear": _nothing(CtClear()),
    "exit": _nothing(act.Exit()),
    "write_metadata": _write_metadata,
    "clear_actions": _nothing(act.ClearActions()),
    "write_actions": _write_actions,
    "goto_table": _number("goto_table", act.GotoTable, 8),
}
