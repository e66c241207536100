"""Random worlds whose rules track connections, and sequences of packets that go through them.

Rules show what they see: ct_state, zone, mark, label and the original tuple are moved into the
Ethernet addresses of what leaves by port 3.
"""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Final

from gossamer.pipeline.action_syntax import parse_actions
from gossamer.pipeline.execute import Pipeline
from gossamer.pipeline.flow import Flow
from gossamer.pipeline.flow_syntax import parse_flow
from gossamer.pipeline.group import Bucket, Group, GroupType
from gossamer.pipeline.world import Port
from tests.property import ip_packets
from tests.property.case import CLOCK_S, BridgeCase, Case, PacketCase
from tests.property.conversations import INSIDE, OUTSIDE, Conversation, Udp, conversation

Rng = random.Random
SINK: Final = 3
_SHOW: Final = (
    "move:NXM_NX_CT_STATE[0..7]->NXM_OF_ETH_DST[0..7]",
    "move:NXM_NX_CT_ZONE[0..7]->NXM_OF_ETH_DST[8..15]",
    "move:NXM_NX_CT_MARK[]->NXM_OF_ETH_DST[16..47]",
    "move:NXM_NX_CT_LABEL[0..15]->NXM_OF_ETH_SRC[0..15]",
    "move:NXM_NX_CT_LABEL[96..127]->NXM_OF_ETH_SRC[16..47]",
)
_SHOW_TUPLE: Final = (
    "move:NXM_NX_CT_NW_SRC[]->NXM_OF_ETH_DST[0..31]",
    "move:NXM_NX_CT_TP_SRC[]->NXM_OF_ETH_DST[32..47]",
    "move:NXM_NX_CT_NW_DST[16..31]->NXM_OF_ETH_SRC[24..39]",
    "move:NXM_NX_CT_TP_DST[]->NXM_OF_ETH_SRC[0..15]",
    "move:NXM_NX_CT_NW_PROTO[]->NXM_OF_ETH_SRC[16..23]",
)
_WAITS_S: Final = (1, 14, 16, 29, 31, 46, 61, 901, 86401)
_WRITES: Final = {
    "ip": (
        "set_field:10.0.0.77->ip_dst",
        "set_field:0.0.0.77/0.0.0.255->ip_dst",
        "move:NXM_OF_IP_DST[]->NXM_OF_IP_DST[]",
        "move:NXM_OF_IP_SRC[0..7]->NXM_OF_IP_SRC[0..7]",
    ),
    "ipv6": (
        "set_field:fd00::77->ipv6_dst",
        "set_field:::77/::ff->ipv6_dst",
        "move:NXM_NX_IPV6_DST[]->NXM_NX_IPV6_DST[]",
        "move:NXM_NX_IPV6_SRC[0..7]->NXM_NX_IPV6_SRC[0..7]",
    ),
}


def _rules(rng: Rng, *, nat: bool, exact: bool) -> list[str]:
    """`exact`: only what Open vSwitch does too, and choices of NAT that any hash comes to."""
    # Open vSwitch moves no tuple of a packet that is related alone.
    state = "+trk-inv-rel" if exact else "+trk-inv"
    rules = [
        f"table=9,priority=2,actions={','.join(_SHOW)},output:{SINK}",
        f"table=9,priority=3,ct_state={state},ip,actions={','.join(_SHOW)},output:{SINK},"
        f"{','.join(_SHOW_TUPLE)},output:{SINK}",
    ]
    zone = rng.choice((0, 5, 65535))
    spelled = f",zone={zone}" if zone else rng.choice(("", ",zone=0"))
    first = ""
    if rng.random() < 0.3:
        first, spelled = f"set_field:{zone}->reg3,", ",zone=NXM_NX_REG3[0..15]"
    for family in ("ip", "ipv6"):
        rules += _Family(rng, family, spelled, first, nat=nat, exact=exact).rules()
    return rules


class _Family:
    """The rules for packets of a family."""

    def __init__(
        self, rng: Rng, family: str, zone: str, first: str, *, nat: bool, exact: bool
    ) -> None:
        self.rng, self.family, self.zone, self.first = rng, family, zone, first
        self.nat, self.exact = nat, exact
        self.translates = nat and rng.random() < 0.8
        self.again = ",nat" if self.translates else ""

    def rules(self) -> list[str]:
        rng = self.rng
        ct = f"ct(table=1{self.zone}{self.again})"
        track = f"{self.first}{ct}"
        out = [f"table=0,{self.family},actions={track}"]
        if not self.exact and rng.random() < 0.15:
            out = [f"table=0,{self.family},actions={self.first}write_actions({ct}),goto_table:8"]
        elif not self.exact and rng.random() < 0.25:
            # The action set written so far goes along with the copy.
            written = rng.choice((f"output:{SINK}", f"set_field:0x77->reg9,output:{SINK}"))
            out = [
                f"table=0,{self.family},actions=write_actions({written}),goto_table:7",
                f"table=7,{self.family},actions={track}",
            ]
        for port in (INSIDE, OUTSIDE):
            out += [
                f"table=1,priority=5,in_port={port},ct_state=+new-rel,{self.family},"
                f"actions={self.of_new(port)}",
                f"table=1,priority=4,in_port={port},ct_state=+est,{self.family},"
                f"actions={self.of_established()}",
            ]
        invalid = rng.choice(("resubmit(,9)", "resubmit(,9)", "drop", "ct_clear,resubmit(,9)"))
        out.append(f"table=1,priority=9,ct_state=+inv,{self.family},actions={invalid}")
        out.append(f"table=8,{self.family},actions=resubmit(,9)")
        out.append(f"table=1,priority=1,{self.family},actions=resubmit(,9)")
        if rng.random() < 0.4:
            other = rng.choice((6, 7))
            out.append(
                f"table=2,{self.family},actions=resubmit(,9),ct(zone={other},table=3{self.again})"
            )
            out.append(
                f"table=3,priority=2,ct_state=+new-inv,{self.family},"
                f"actions=ct(commit,zone={other}{self.marks()}),resubmit(,9)"
            )
            out.append(f"table=3,priority=1,{self.family},actions=resubmit(,9)")
        else:
            out.append(f"table=2,{self.family},actions=resubmit(,9)")
        return out

    def of_new(self, port: int) -> str:
        rng = self.rng
        if port == OUTSIDE and rng.random() < 0.5:
            return rng.choice(("drop", "resubmit(,9)"))
        arguments = f"commit{self.zone}{self.chosen_nat()}{self.marks()}{self.helper()}"
        end = rng.choice((",table=2", ",table=2", ""))
        tail = "" if end else ",resubmit(,9)"
        ct = f"ct({arguments}{end})"
        if self.exact:
            return f"{ct}{tail}"
        if end and rng.random() < 0.15:
            return f"write_actions({ct})"
        there = "10.0.0.77->ip_dst" if self.family == "ip" else "fd00::77->ipv6_dst"
        if rng.random() < 0.4:
            # as firewalls have it: a path of its own in the kernel
            before = rng.choice(
                ("", "", "", f"set_field:{there},", "mod_dl_src:02:00:00:00:00:99,", "dec_ttl,",
                 f"ct(zone=7,table=8{self.again}),", "push_vlan:0x8100,", "load:7->NXM_NX_REG4[],")
            )
            return f"{before}ct({arguments}),output:{SINK}"
        return rng.choice(
            (
                f"{ct}{tail}",
                f"{ct}{tail}",
                f"{ct},{self.written_behind(ct)},resubmit(,9)",
                # What NAT writes in a clone ends with it.
                f"clone({ct},resubmit(,9)),resubmit(,9)",
                f"resubmit(,9),clone({ct}),resubmit(,9)",
                f"ct(table=8{self.zone}),{ct}",
            )
        )

    def written_behind(self, ct: str) -> str:
        """A write of what NAT may have written: all of it, or some bits, or what was there before."""
        # By dice of its own: all else is as it was before.
        return random.Random(ct).choice(_WRITES[self.family])

    def of_established(self) -> str:
        rng = self.rng
        # Open vSwitch moves a translated connection once more for each ct(), and with force removes
        # it, but not what it looks answers up by.
        if self.exact and self.translates:
            return "resubmit(,9)"
        choices = [
            "resubmit(,9)",
            "resubmit(,9)",
            f"ct(commit,force{self.zone},table=2)",
            f"ct(commit{self.zone}{self.marks()},table=2)",
            f"ct(table=2{self.zone}{self.again})",
        ]
        return rng.choice(choices)

    def marks(self) -> str:
        rng = self.rng
        changes = [
            c
            for c in (
                f"set_field:{rng.getrandbits(32):#x}->ct_mark",
                f"set_field:{0x5:#x}/0xf->ct_mark",
                "move:NXM_NX_CT_MARK[0..7]->NXM_NX_CT_LABEL[100..107]",
                f"load:{rng.getrandbits(8):#x}->NXM_NX_CT_LABEL[3..10]",
                "move:NXM_OF_IN_PORT[0..7]->NXM_NX_CT_MARK[8..15]",
            )
            if rng.random() < 0.15
        ]
        # Open vSwitch writes bits that a move reads back as well.
        if self.exact:
            changes = [c for c in changes if not c.startswith("move:NXM_NX")]
        return f",exec({','.join(changes)})" if changes else ""

    def helper(self) -> str:
        """Payload of some connections waits for the daemon to read it."""
        if self.exact or self.rng.random() < 0.6:
            return ""
        return self.rng.choice((",alg=ftp", ",alg=ftp", ",alg=tftp"))

    def chosen_nat(self) -> str:
        rng = self.rng
        if not self.translates or rng.random() < 0.15:
            return ""
        a, b = ("10.0.1.1", "10.0.1.4") if self.family == "ip" else ("fd00::101", "fd00::104")
        to = rng.choice(("src", "dst"))
        if self.exact:
            port = rng.choice(("", ":8080")) if to == "dst" else ""
            address = f"[{a}]" if port and ":" in a else a
            return f",nat({to}={address}{port})"
        address = rng.choice((a, f"{a}-{b}"))
        ports = rng.choice(("", ":2000-2002", ":2000", ":1024-65535", ":3000-3999"))
        if ports and ":" in a:
            address = "-".join(f"[{part}]" for part in address.split("-"))
        flag = rng.choice(("", ",persistent", ",hash"))
        return rng.choice((f",nat({to}={address}{ports}{flag})", f",nat({to})", ",nat"))


def rule(text: str) -> Flow:
    """A rule as ovs-ofctl(8) writes it."""
    on, _, actions = text.partition(",actions=")
    parsed = parse_flow(on)
    priority = 32768 if parsed.priority is None else parsed.priority
    return Flow(parsed.table_id or 0, priority, parsed.match, parse_actions(actions))


def case(seed: int, n_packets: int, *, nat: bool, shared: bool = False) -> Case:
    """A world and a sequence; `shared`: only what Open vSwitch does too."""
    rng = random.Random(seed)
    ports = tuple(Port(number) for number in (INSIDE, OUTSIDE, SINK))
    flows = tuple(rule(text) for text in _rules(rng, nat=nat, exact=shared))
    bridges = (BridgeCase("br0", ports, flows),)
    if not shared:
        bridges = _further(rng, bridges[0], nat)
    world = Case(bridges, ())
    if not shared and rng.random() < 0.3:
        own = {zone: rng.choice((0, 1, 2, 3)) for zone in (0, 5, 6, 65535) if rng.random() < 0.4}
        world = replace(world, zone_limits=own, default_limit=rng.choice((0, 1, 3)))
    elif not shared and rng.random() < 0.3:
        world = replace(world, maximum=rng.choice((1, 2, 3, 5)))
    # Open vSwitch keeps tuples of translated connections taken for a while after their time.
    packets = _Sequence(rng, world, shared=shared, waits=not (shared and nat)).packets(n_packets)
    return replace(world, packets=tuple(packets))


PATCH: Final = 10


def _further(rng: Rng, bridge: BridgeCase, nat: bool) -> tuple[BridgeCase, ...]:
    """The bridge with groups whose buckets track; and often another one, behind a patch port, that
    tracks what comes over."""
    groups = (
        Group(1, GroupType.ALL, tuple(_bucket(rng, nat) for _ in range(rng.choice((1, 2, 3))))),
        Group(2, GroupType.INDIRECT, (_bucket(rng, nat),)),
    )
    extra = [f"table=8,priority=40000,{rng.choice(('tcp', 'udp', 'icmp', 'ipv6'))},actions=group:1"]
    if rng.random() < 0.3:
        extra.append("table=2,priority=40000,ip,actions=group:2,resubmit(,9)")
    flows = [*bridge.flows, *(rule(text) for text in extra)]
    if rng.random() < 0.5:
        return (replace(bridge, flows=tuple(flows), groups=groups),)
    over = rng.choice(("priority=40001,table=2", "priority=40001,table=1,ct_state=+est"))
    flows += [rule(f"{over},{family},actions=output:{PATCH},resubmit(,9)") for family in ("ip", "ipv6")]
    zone, again = rng.choice((0, 5, 6)), ",nat" if nat and rng.random() < 0.5 else ""
    how = rng.choice((f"ct(table=9,zone={zone}{again})", f"ct(commit,table=9,zone={zone}{again})"))
    there = [
        *(f"table=0,{family},actions={how}" for family in ("ip", "ipv6")),
        f"table=9,ct_state=+trk,actions={','.join(_SHOW)},output:{SINK}",
    ]
    ports = (*bridge.ports, Port(PATCH, peer=("br1", PATCH)))
    return (
        replace(bridge, flows=tuple(flows), groups=groups, ports=ports),
        BridgeCase("br1", (Port(SINK), Port(PATCH, peer=("br0", PATCH))), tuple(map(rule, there))),
    )


def _bucket(rng: Rng, nat: bool) -> Bucket:
    """A bucket that sends a copy, tracked or not."""
    to = rng.choice((",nat(src=10.0.2.1)", ",nat(dst=10.0.2.2)", ",nat", "")) if nat else ""
    helper = rng.choice(("", "", ",alg=ftp"))
    track = rng.choice(
        (
            f"ct(commit,zone={rng.choice((0, 5, 9))}{to}{helper}),",
            f"ct(zone={rng.choice((0, 5, 9))}{',nat' if to else ''}),",
            f"ct(commit,zone=9{to},table=9),",
            "",
        )
    )
    return Bucket(parse_actions(f"{track}output:{SINK}"))


class _Sequence:
    """What the hosts say, and hear of it."""

    def __init__(self, rng: Rng, world: Case, *, shared: bool, waits: bool) -> None:
        self.rng, self.shared, self.waits = rng, shared, waits
        # Where connections have to go, the one that would end first does: no two the same second.
        self.slow = bool(world.maximum)
        self.world = world.world()
        self.pipeline = Pipeline(self.world)
        self.out: list[PacketCase] = []

    def packets(self, n: int) -> list[PacketCase]:
        # Open vSwitch does not quite forget a translated connection that begins anew.
        talks = [
            conversation(self.rng, once=self.shared) for _ in range(self.rng.choice((1, 2, 4)))
        ]
        while len(self.out) < n:
            if self.rng.random() < 0.05:
                talks.append(conversation(self.rng, once=self.shared))
            self.turn(self.rng.choice(talks))
        return self.out[:n]

    def turn(self, talk: Conversation) -> None:
        rng = self.rng
        side = int(rng.random() < 0.45) if talk.last else 0
        frames = [talk.say(rng, side)]
        # Open vSwitch takes errors of ICMPv6 for TCP when it translates their addresses.
        if rng.random() < 0.08 and not (self.shared and len(talk.flow.src) == 16):
            error = talk.complain(rng, side, whole=self.shared)
            frames = [error] if error is not None else frames
        elif not self.shared and isinstance(talk.kind, Udp) and rng.random() < 0.15:
            frames = self.in_fragments(talk, side)
        if not self.shared:
            frames = [odd for frame in frames for odd in self.unusual(frame)]
        for frame in frames:
            heard = self.send((INSIDE, OUTSIDE)[side], frame)
            talk.heard(side, heard)

    def in_fragments(self, talk: Conversation, side: int) -> list[bytes]:
        rng = self.rng
        flow = talk.translated.reversed() if side else talk.flow
        whole = ip_packets.udp(flow, rng.randbytes(rng.choice((20, 60, 61))))
        identifier = rng.choice((1, 2, rng.getrandbits(16)))
        parts = ip_packets.fragments(whole, rng.choice((8, 16, 24)), identifier)
        if rng.random() < 0.3:
            parts += ip_packets.fragments(whole, 16, identifier)
        if rng.random() < 0.3:
            rng.shuffle(parts)
        return parts

    def unusual(self, frame: bytes) -> list[bytes]:
        """Seldom with options or an extension header, in fragments whatever it is, or with a tag."""
        rng = self.rng
        if rng.random() < 0.05:
            frame = ip_packets.with_options(frame, rng.choice((8, 16)))
        frames = [frame]
        if rng.random() < 0.05:
            size = rng.choice((8, 16, 24, 40))
            frames = ip_packets.fragments(frame, size, rng.choice((3, rng.getrandbits(16))))
            if rng.random() < 0.2:
                rng.shuffle(frames)
        if rng.random() < 0.05:
            tag = rng.choice(("81000005", "88a8a005", "8100300781000005"))
            frames = [f[:12] + bytes.fromhex(tag) + f[12:] for f in frames]
        return frames

    def send(self, port: int, frame: bytes) -> list[bytes]:
        rng = self.rng
        after = rng.choice(_WAITS_S) if self.waits and rng.random() < 0.06 else 0
        if self.slow:
            after += rng.randrange(1, 4)
        self.world.now_s += after
        self.out.append(PacketCase("br0", port, frame, after))
        result = self.pipeline.run("br0", port, frame)
        return [o.packet for o in result.outputs]


__all__ = ["CLOCK_S", "case"]
