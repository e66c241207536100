"""The arguments of ``ofproto/trace``, in all the forms the peer takes (ovs-vswitchd(8)).

    BRIDGE BR_FLOW [PACKET]          a flow as ovs-ofctl(8) writes it
    [DATAPATH] DP_FLOW [PACKET]      a flow as dpctl/dump-flows writes it

and options among them.  A packet is given in hexadecimal, or composed from
the flow; ``-generate`` makes a real one of it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from gossamer.daemon.appctl import datapaths
from gossamer.daemon.appctl.odp_match import hexadecimal
from gossamer.daemon.appctl.odp_parse import OdpFlow, looks_like_odp, port_of
from gossamer.daemon.appctl.payload import with_payload
from gossamer.daemon.appctl.recirculation import HEADERS, brought_along
from gossamer.errors import FieldError
from gossamer.pipeline.fields import BY_NAME, get_slot
from gossamer.pipeline.flow_syntax import compose, parse_flow
from gossamer.pipeline.match import Match
from gossamer.switch.show import CommandError

if TYPE_CHECKING:
    from gossamer.daemon.appctl.paths import CachedPath
    from gossamer.switch.bridge import Bridge
    from gossamer.switch.switch import Switch

_MAX_PAYLOAD: Final = 64000
_MIN_FRAME: Final = 14
_MAX_POSITIONAL: Final = 3
_IN_PORT: Final = BY_NAME["in_port"].full_mask
_NO_FIELDS: Final = ("priority", "table", "cookie", "idle_timeout", "hard_timeout", "actions")
_PEERS_WORDS: Final = (
    (r"^unknown field '(\w+)'$", r"unknown field \1"),
    (r"^there is no port '(.*)'$", r"bad value for in_port (\1: invalid or unknown port for in_port)"),
    (r"^(\w+) needs a match on \w+ first$", r"prerequisites not met for setting \1"),
)
_RECIRC_ID: Final = re.compile(r"\brecirc_id=(0x[0-9a-fA-F]+|[1-9][0-9]*|0)(?:[ ,]+|$)")
_MAX_RECIRC_ID: Final = 0xFFFFFFFF
_CT_STATES: Final = ("new", "est", "rel", "rpl", "inv", "trk", "snat", "dnat")


@dataclass(frozen=True, slots=True)
class Asked:
    """What is to be traced.

    `state` are bits of the key that no header holds (registers, metadata,
    tunnel), as the flow names them or as they were kept by its recirc_id; `real` packets were given or are to be
    generated, and do what packets do: addresses are learned, controllers told.
    """

    bridge: Bridge
    in_port: int
    packet: bytes
    state: Match
    real: bool
    names: bool
    consistent: bool
    flow: Match
    typed: bool
    """The flow says what the packet is, or the packet itself does."""
    ct_next: tuple[int, ...]
    """What each ct() is to say, one after the other."""
    recirc_id: int = 0
    """How the packet goes on after a ct(), 0 where it comes in: the table, plus one."""
    resumable: bool = True
    """It is known how."""


Paths = Callable[[], "Iterable[CachedPath]"]
"""What is cached now, which tells of packets that went on after a ct()."""


@dataclass(slots=True)
class _Options:
    generate: bool = False
    names: bool = False
    consistent: bool = False
    payload: bytes | None = None
    ct_next: list[int] = field(default_factory=list)


def parse_arguments(
    switch: Switch, argv: Sequence[str], paths: Paths, *, packet_out: bool = False
) -> Asked:
    """Raises CommandError for what is wrong with them, in the peer's words."""
    options, words = _options(argv, packet_out=packet_out)
    packet: bytes | None = None
    if not options.generate and len(words) > 1:
        packet, error = _hex(words[-1])
        if packet is not None:
            words.pop()
        elif len(words) == _MAX_POSITIONAL:
            raise CommandError(error)
    if len(words) not in (1, 2):
        raise CommandError("Syntax error")
    from_datapath = looks_like_odp(words[-1])
    if from_datapath:
        bridge, match, recirc_id = _datapath_flow(switch, words)
    elif len(words) == 1:
        raise CommandError(f"syntax error at {words[0]} (or the bridge name was omitted)")
    else:
        bridge, match, recirc_id = _bridge_flow(switch, *words)
    in_port = get_slot(match.value, "in_port") if match.mask & _IN_PORT else 0xFFFFFFFF
    typed = packet is not None or bool(get_slot(match.mask, "eth_type"))
    composed = packet
    if composed is None:
        composed = compose(match)
        if options.payload is not None:
            composed = with_payload(composed, match, options.payload)
    known: Match | None = match
    if recirc_id:
        known = brought_along(paths(), bridge.ports.bridge_id, recirc_id, match)
    if known is None and from_datapath:
        raise CommandError(f"no recirculation data for recirc_id {hexadecimal(recirc_id)}")
    brought = match if known is None else known
    beyond = ~HEADERS & ~_IN_PORT
    return Asked(
        bridge=bridge,
        in_port=in_port,
        packet=composed,
        state=Match(brought.value & beyond, brought.mask & beyond),
        real=options.generate or packet is not None,
        names=options.names,
        consistent=options.consistent,
        flow=match,
        typed=typed,
        ct_next=tuple(options.ct_next),
        recirc_id=recirc_id,
        resumable=known is not None,
    )


def _options(argv: Sequence[str], *, packet_out: bool) -> tuple[_Options, list[str]]:
    options = _Options()
    words: list[str] = []
    left = list(argv)
    while left:
        word = left.pop(0)
        name = word.lstrip("-") if word.startswith("-") else ""
        if name in ("l7", "l7-len", "ct-next") and word == f"--{name}":
            if not left:
                raise CommandError(f"Missing argument for option {word}")
            value = left.pop(0)
            if name == "ct-next":
                options.ct_next.append(_ct_state(value))
            else:
                options.payload = _payload(name, value)
        elif word in ("-generate", "--generate"):
            options.generate = True
        elif word in ("-names", "--names"):
            options.names = True
        elif packet_out and word in ("-consistent", "--consistent"):
            options.consistent = True
        elif word.startswith("-"):
            raise CommandError(f"{word}: unknown option")
        elif len(words) == _MAX_POSITIONAL:
            raise CommandError("too many arguments")
        else:
            words.append(word)
    return options, words


def _payload(name: str, text: str) -> bytes:
    if name == "l7":
        try:
            return bytes.fromhex(text)
        except ValueError:
            raise CommandError("Trailing garbage in packet data") from None
    length = int(text) if text.isdigit() else 0
    if length > _MAX_PAYLOAD:
        raise CommandError(f"{text}: too much L7 data")
    return bytes(length)


def _ct_state(text: str) -> int:
    flags = [flag for flag in re.split(r"[|,+ ]", text) if flag]
    for flag in flags:
        if flag not in _CT_STATES:
            raise CommandError(f"{flag}: unknown connection tracking state flag")
    told = [flag for flag in _CT_STATES if flag in flags]
    why = ""
    if told and "trk" not in told:
        why = 'If "trk" is unset, no other flags are set'
    elif "inv" in told and set(told) - {"inv", "trk"}:
        why = 'when "inv" is set, only "trk" may also be set'
    elif "new" in told and "est" in told:
        why = '"new" and "est" are mutually exclusive'
    elif "new" in told and "rpl" in told:
        why = '"new" and "rpy" are mutually exclusive'
    if why:
        raise CommandError(f"{'|'.join(told)}: invalid connection state: {why}")
    return sum(1 << _CT_STATES.index(flag) for flag in told)


def _hex(text: str) -> tuple[bytes | None, str]:
    """A frame, or why the text is none."""
    try:
        data = bytes.fromhex(re.sub(r"[ .\t\r\n]", "", text))
    except ValueError:
        return None, "Trailing garbage in packet data"
    if len(data) < _MIN_FRAME:
        return None, "Packet data too short for Ethernet"
    return data, ""


def _bridge_flow(switch: Switch, name: str, text: str) -> tuple[Bridge, Match, int]:
    """The bridge, the flow, and its recirc_id, which stands among the fields of a trace's flows."""
    bridge = switch.bridges.get(name)
    if bridge is None:
        raise CommandError(f"{name}: unknown bridge")
    for word in re.split(r"[ ,]+", text):
        field, _, value = word.partition("=")
        if field in _NO_FIELDS:
            raise CommandError(f"Bad openflow flow syntax: {text}: unknown field {field}")
        if "/" in value:
            why = f"bad value for {field} ({value}: wildcards not allowed here)"
            raise CommandError(f"Bad openflow flow syntax: {text}: {why}")
    ports = {port.name: port.ofport for port in bridge.ports.ports.values()}
    recirculated = _RECIRC_ID.search(text)
    recirc_id = int(recirculated[1], 0) if recirculated else 0
    if recirculated and recirc_id > _MAX_RECIRC_ID:
        why = f"{recirculated[1]}: value too large for 4-byte field recirc_id"
        raise CommandError(f"Bad openflow flow syntax: {text}: bad value for recirc_id ({why})")
    try:
        return bridge, parse_flow(_RECIRC_ID.sub("", text), ports).match, recirc_id
    except FieldError as e:
        raise CommandError(f"Bad openflow flow syntax: {text}: {_as_peer(e.message)}") from None


def _as_peer(message: str) -> str:
    """What is wrong with a flow, in the peer's words where it has some."""
    for pattern, told in _PEERS_WORDS:
        message = re.sub(pattern, told, message)
    return message


def _datapath_flow(switch: Switch, words: Sequence[str]) -> tuple[Bridge, Match, int]:
    kinds = datapaths.kinds(switch)
    wanted = words[0].removeprefix("ovs-") if len(words) > 1 else kinds[0] if kinds else ""
    if (len(words) == 1 and len(kinds) != 1) or wanted not in kinds:
        raise CommandError("Cannot find the datapath")
    flow = OdpFlow(words[-1])
    # Patch ports too, which are in no datapath: what comes by them has paths of its own.
    ports = {
        port.port_id: (b, port)
        for b in datapaths.bridges_of(switch, wanted)
        for port in b.ports.ports.values()
    }
    names = {port.name: port_id for port_id, (_, port) in ports.items()}
    port_id = port_of(flow.in_port, names)
    if port_id not in ports:
        raise CommandError(f"no OpenFlow port for datapath port {port_id}")
    bridge, port = ports[port_id]
    match = flow.match.with_field(BY_NAME["in_port"], port.ofport)
    return bridge, match, flow.recirc_id
