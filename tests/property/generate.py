"""Random cases: worlds whose rules the packets are likely to meet."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Final

from gossamer.pipeline import action as act
from gossamer.pipeline.action import Action, SubField
from gossamer.pipeline.change import has_field
from gossamer.pipeline.fields import BY_NAME, FIELDS, NSH, Field, get
from gossamer.pipeline.flow import Flow
from gossamer.pipeline.match import ANY, Match
from gossamer.pipeline.of_port import OfPort
from gossamer.pipeline.packet import parse
from gossamer.pipeline.world import Fragments, Port, TableMiss, VlanMode
from tests.property import packets
from tests.property.case import BridgeCase, Case, PacketCase
from tests.property.extras import N_TABLES, PATCH_PORTS, Extras
from tests.property.features import FEATURES
from tests.property.packets import Rng

_UNSUPPORTED: Final = (
    "tun_", "ct_", "pkt_mark", "conj_id", "dp_hash", "actset", "packet_type",
)  # fmt: skip
_MATCHABLE: Final = [f for f in FIELDS if not f.name.startswith(_UNSUPPORTED)]
_GATED: Final = {"pbb_isid": "pbb_header", "ipv6_exthdr": "ipv6_exthdr"} | {
    f.name: "nsh" for f in FIELDS if f.prerequisite is NSH
}
"""Fields that rules only look at where a feature is on."""
_GATED_WRITES: Final = {"mpls": "mpls", "sctp": "set_sctp", "in_port": "set_in_port", "pbb": "pbb",
                        "nsh": "set_nsh"}  # fmt: skip
"""Beginnings of fields that rules only write where a feature is on."""
_STATE: Final = [f for f in _MATCHABLE if f.name == "metadata" or f.name.startswith("reg")][:5]
_TUNNEL: Final = [BY_NAME[name] for name in ("tun_id", "tun_dst", "tun_gbp_id", "tun_erspan_idx", "pkt_mark")]
"""Rules treat what a packet brings out of a tunnel, and takes into one, as they treat registers."""


def ports(rng: Rng, n: int) -> list[Port]:
    """Ports 1 to n and the local one, each with some VLAN configuration."""
    plain = rng.random() < 0.4
    out = []
    for ofport in [*range(1, n + 1), OfPort.LOCAL]:
        mode = VlanMode.TRUNK if plain else rng.choice(list(VlanMode))
        trunks = frozenset(rng.sample(packets.VIDS, 3)) if rng.random() < 0.3 else frozenset()
        tag = 0 if mode is VlanMode.TRUNK else rng.choice((1, 10, 20))
        out.append(
            Port(
                int(ofport),
                mode,
                tag,
                frozenset() if mode is VlanMode.ACCESS else trunks,
                flood=rng.random() > 0.1,
                forward=rng.random() > 0.05,
                receive=rng.random() > 0.03,
                up=rng.random() > 0.03,
                packet_in=rng.random() > 0.1,
            )
        )
    return out


def bridges(rng: Rng) -> list[tuple[str, list[Port]]]:
    """One to three bridges in a chain of patch ports."""
    n = rng.choice((1, 1, 1, 2, 3))
    out = [(f"br{i}", ports(rng, rng.randrange(2, 5))) for i in range(n)]
    for i in range(n - 1):
        left, right = out[i], out[i + 1]
        a, b = PATCH_PORTS[10 + i], PATCH_PORTS[i]
        left[1].append(Port(a, peer=(right[0], b)))
        right[1].append(Port(b, peer=(left[0], a)))
    return out


class Rules:
    """Makes the rules of one bridge, with packets in mind."""

    def __init__(
        self, rng: Rng, ofports: list[int], keys: list[int], features: frozenset[str]
    ) -> None:
        self.rng = rng
        self.ofports = ofports
        self.keys = keys
        self.features = features
        self.matchable = [
            f for f in _MATCHABLE if f.name not in _GATED or _GATED[f.name] in features
        ]
        self.state = list(_STATE)
        if "tunnel_fields" in features:
            self.state += _TUNNEL
            self.matchable += _TUNNEL
        self.settable = [f for f in self.matchable if f.writable and not self.unwanted(f)]
        self.extras = Extras(rng, self, ofports, features)

    def unwanted(self, f: Field) -> bool:
        """Fields that are not written, as their feature is off."""
        return any(
            f.name.startswith(name) and feature not in self.features
            for name, feature in _GATED_WRITES.items()
        )

    def flows(self) -> list[Flow]:
        out = self.extras.conjunctions()
        for table in range(N_TABLES):
            n = self.rng.randrange(2, 7) if table == 0 else self.rng.randrange(0, 5)
            priorities = self.rng.sample(range(1, 40), n)
            out += [self.flow(table, priority) for priority in priorities]
            if self.rng.random() < (0.6 if table else 0.9):
                out.append(self.flow(table, 0, ANY))
        return out

    def flow(self, table: int, priority: int, match: Match | None = None) -> Flow:
        if match is None:
            match = self.match()
        return Flow(table, priority, match, self.instructions(table, match))

    def match(self) -> Match:
        rng = self.rng
        key = rng.choice(self.keys)
        match = ANY
        for f in rng.sample(self.state, rng.choice((0, 0, 0, 1, 2))):
            match = self.narrowed(match, f, rng.choice((0, 0, 1, 2, 3)))
        fitting = [f for f in self.matchable if f not in self.state and has_field(key, f)]
        for f in rng.sample(fitting, min(len(fitting), rng.choice((0, 1, 1, 2, 3, 4)))):
            match = self.with_prerequisites(match, f, key)
            value = get(key, f)
            if rng.random() < 0.15:
                value ^= 1 << rng.randrange(f.n_bits)
            match = self.narrowed(match, f, value)
        return match

    def narrowed(self, match: Match, f: Field, value: int) -> Match:
        full = (1 << f.n_bits) - 1
        mask = full
        if f.maskable and self.rng.random() < 0.4:
            mask = self.rng.choice((1, full ^ 1, full << self.rng.randrange(f.n_bits) & full))
            if f.name == "vlan_vid":
                mask = self.rng.choice((0x1000, 0x1FFF, 0x1001))
        if match.field(f)[1]:
            return match  # two of a kind could contradict each other
        return match.with_field(f, value & mask, mask)

    def with_prerequisites(self, match: Match, f: Field, key: int) -> Match:
        p = f.prerequisite
        wanted = []
        if p.eth_types:
            wanted.append("eth_type")
        if p.nw_proto is not None:
            wanted.append("nw_proto")
        if p.icmpv6_types:
            wanted += ["icmpv6_type", "icmpv6_code"]
        for name in wanted:
            match = match.with_field(BY_NAME[name], get(key, BY_NAME[name]))
        if p.vlan:
            tci = BY_NAME["vlan_vid"]
            match = match.with_field(tci, get(key, tci))
        return match

    def instructions(self, table: int, match: Match) -> tuple[Action, ...]:
        rng = self.rng
        out: list[Action] = self.extras.first()
        for _ in range(rng.choice((0, 1, 1, 1, 2, 3, 4, 6))):
            out += self.apply(table, match)
        if rng.random() < 0.05:
            out.append(act.ClearActions())
        if rng.random() < 0.2:
            n = rng.randrange(1, 4)
            out.append(act.WriteActions(tuple(self.set_action(table, match) for _ in range(n))))
        if rng.random() < 0.15:
            mask = rng.choice((3, 0xFFFFFFFFFFFFFFFF, 1))
            out.append(act.WriteMetadata(rng.randrange(4) & mask, mask))
        if table < N_TABLES - 1 and rng.random() < (0.5 if table == 0 else 0.3):
            out.append(act.GotoTable(rng.randrange(table + 1, N_TABLES)))
        return tuple(out)

    def port(self) -> int:
        return self.rng.choice([*self.ofports, *self.ofports, 99])

    def output(self) -> Action:
        special = (OfPort.IN_PORT, OfPort.FLOOD, OfPort.ALL, OfPort.LOCAL, OfPort.NORMAL)
        kind = self.rng.random()
        if kind < 0.5:
            return act.Output(self.port())
        if kind < 0.85:
            return act.Output(int(self.rng.choice((*special, OfPort.NORMAL, OfPort.NORMAL))))
        return act.Controller(
            max_len=self.rng.choice((20, 128, 0xFFFF)), controller_id=self.rng.choice((0, 3))
        )

    def apply(self, table: int, match: Match) -> list[Action]:
        """One of the plain actions, or some of what a feature adds."""
        if self.rng.random() < 0.3:
            more = self.extras.actions(table, match)
            if more:
                return more
        return [self.action(table, match)]

    def action(self, table: int, match: Match) -> Action:
        rng = self.rng
        kind = rng.random()
        if kind < 0.40:
            return self.output()
        if kind < 0.75:
            return self.change(match)
        if kind < 0.90:
            # Mostly onwards: a loop is void as a whole, and hides what else it did.
            if rng.random() < 0.01:
                target = rng.choice((0, 255))
            elif table < N_TABLES - 1:
                target = rng.randrange(table + 1, N_TABLES)
            else:
                return self.output()
            in_port = rng.choice((OfPort.IN_PORT, OfPort.IN_PORT, 1, 2))
            return act.Resubmit(int(in_port), target)
        if kind < 0.94:
            return act.OutputReg(SubField(BY_NAME["reg1"], 0, rng.choice((4, 16, 32))))
        if kind < 0.96:
            return act.Exit()
        return act.Note(b"note")

    def set_action(self, table: int, match: Match) -> Action:
        kind = self.rng.random()
        if self.rng.random() < 0.2:
            more = self.extras.of_action_set()
            if more:
                return more
        if kind < 0.5:
            return self.output()
        if kind < 0.6 and table < N_TABLES - 1:
            return act.Resubmit(int(OfPort.IN_PORT), self.rng.randrange(table + 1, N_TABLES))
        return self.change(match)

    def change(self, match: Match) -> Action:
        """An action that changes the packet or the state, and that `match` allows."""
        rng = self.rng
        kind = rng.random()
        if kind < 0.1:
            return act.PushVlan(rng.choice((0x8100, 0x8100, 0x88A8)))
        if kind < 0.2:
            return act.PopVlan()
        if kind < 0.28:
            return act.SetVlanVid(rng.choice(packets.VIDS), True)
        if kind < 0.32:
            return act.SetVlanPcp(rng.randrange(8), True)
        if kind < 0.42 and match.satisfies(BY_NAME["nw_ttl"].prerequisite):
            return act.DecTtl((0, 3) if "dec_ttl_ids" in self.features else (0,))
        allowed = [f for f in self.settable if match.satisfies(f.prerequisite)]
        f = rng.choice(self.state if rng.random() < 0.3 else allowed)
        if kind < 0.55:
            return self.move(match, f)
        full = (1 << f.n_bits) - 1
        if kind < 0.7:
            n_bits = rng.randrange(1, f.n_bits + 1)
            low = rng.randrange(f.n_bits - n_bits + 1)
            return act.RegLoad(SubField(f, low, n_bits), self.value(f) & ((1 << n_bits) - 1))
        mask = full
        if f.maskable and rng.random() < 0.3:
            mask = rng.getrandbits(f.n_bits) or full
        return act.SetField(f, self.value(f) & mask, mask)

    def value(self, f: Field) -> int:
        rng = self.rng
        kind = rng.random()
        if f in self.state:
            return rng.choice((0, 1, 2, 3, 0xFFFD, 0xFFFB))
        if kind < 0.6:
            return get(rng.choice(self.keys), f)
        return rng.getrandbits(f.n_bits)

    def move(self, match: Match, dst: Field) -> Action:
        rng = self.rng
        sources = [
            f
            for f in self.matchable
            if match.satisfies(f.prerequisite)
            and (f.prerequisite is not NSH or "set_nsh" in self.features)
        ]
        src = rng.choice(sources)
        n_bits = rng.randrange(1, min(src.n_bits, dst.n_bits) + 1)
        return act.RegMove(
            SubField(src, rng.randrange(src.n_bits - n_bits + 1), n_bits),
            SubField(dst, rng.randrange(dst.n_bits - n_bits + 1), n_bits),
        )


def case(seed: int, n_packets: int, features: frozenset[str] = FEATURES) -> Case:
    """The case of a seed: the same one each time."""
    rng = random.Random(seed)
    shapes = bridges(rng)
    entries = []
    for _ in range(n_packets):
        if entries and rng.random() < 0.25:
            entries.append(rng.choice(entries))  # again: by the cache, and with addresses learned
            continue
        name, members = rng.choice(shapes)
        devices = [p.ofport for p in members if p.peer is None]
        mpls = 0.25 if "mpls" in features else 0.03
        backbone = 0.15 if "pbb_header" in features else 0.0
        data = packets.packet(rng, mpls, backbone, 0.1 if "nsh" in features else 0.0)
        entries.append(PacketCase(name, rng.choice(devices), data))
    built = []
    for name, members in shapes:
        mine = [e for e in entries if e.bridge == name] or entries
        keys = [parse(e.data, e.in_port) for e in mine]
        rules = Rules(rng, [p.ofport for p in members], keys, features)
        groups, meters = rules.extras.groups(), rules.extras.meters()
        miss = {t: rng.choice(list(TableMiss)) for t in range(N_TABLES) if rng.random() < 0.5}
        flows = tuple(replace(flow, cookie=i) for i, flow in enumerate(rules.flows(), 1))
        fragments = Fragments.NX_MATCH
        if "fragments" in features and rng.random() < 0.5:
            fragments = rng.choice((Fragments.NORMAL, Fragments.NORMAL, Fragments.DROP))
        built.append(BridgeCase(name, tuple(members), flows, miss, groups, meters, fragments))
    changes_at = rng.randrange(n_packets) if rng.random() < 0.5 else None
    return Case(tuple(built), tuple(entries), changes_at)
