"""What features add to random cases: groups, clones, stacks, labels and the rest."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Final, Protocol

from gossamer.pipeline import action as act
from gossamer.pipeline.action import Action, SubField
from gossamer.pipeline.action_choice import (
    Bundle,
    BundleAlgorithm,
    HashFields,
    Multipath,
    MultipathAlgorithm,
)
from gossamer.pipeline.action_ct import CtClear
from gossamer.pipeline.action_encap import DecNshTtl
from gossamer.pipeline.action_syntax import parse_actions
from gossamer.pipeline.fields import BY_NAME, Field
from gossamer.pipeline.flow import Flow
from gossamer.pipeline.group import FIVE_TUPLE, GROUP_ANY, Bucket, Group, GroupType
from gossamer.pipeline.match import ANY, Match, match
from gossamer.pipeline.meter import Band, BandType, Meter, MeterFlag
from gossamer.pipeline.of_port import OfPort
from tests.property.packets import Rng

N_TABLES: Final = 6
PATCH_PORTS: Final = range(10, 30)
"""Numbers of patch ports: the first ten lead to the bridge before, the others to the one behind."""
_REGS: Final = tuple(BY_NAME[f"reg{i}"] for i in range(4))
_N_GROUPS: Final = 4
_METERS: Final = (1, 2, 3)
_UNLIMITED: Final = 0xFFFFFFFF
_CONJ_PRIORITY: Final = 41
"""Above the priorities of other rules, which are all different: no two overlap at one."""


_NSH_TTL: Final = BY_NAME["nsh_ttl"]


def _is_nsh(on: Match) -> bool:
    return on.satisfies(_NSH_TTL.prerequisite)


class Plain(Protocol):
    """The makers of plain rules."""

    def output(self) -> Action: ...

    def port(self) -> int: ...

    def match(self) -> Match: ...

    def change(self, match: Match) -> Action: ...

    def set_action(self, table: int, match: Match) -> Action: ...

    def action(self, table: int, match: Match) -> Action: ...

    @property
    def settable(self) -> list[Field]: ...


class Extras:
    """Makes what the features of a case allow."""

    def __init__(
        self, rng: Rng, plain: Plain, ofports: list[int], features: frozenset[str]
    ) -> None:
        self.rng = rng
        self.plain = plain
        self.ofports = ofports
        self.features = features
        makers: dict[str, Callable[[int, Match], list[Action]]] = {
            "group": lambda table, on: [self.group()],
            "clone": lambda table, on: [self.clone(table, on)],
            "stack": lambda table, on: self.stack(on),
            "multipath": lambda table, on: [self.multipath(), self.output_chosen()],
            "bundle": lambda table, on: self.bundle(),
            "mpls": lambda table, on: self.labels(on),
            "copy_ttl": lambda table, on: [rng.choice((act.CopyTtlIn(), act.CopyTtlOut()))],
            "set_nsh": lambda table, on: [DecNshTtl()] if _is_nsh(on) else [],
            "pbb": lambda table, on: [rng.choice((act.PushPbb(), act.PopPbb()))],
            "output_trunc": lambda table, on: [
                act.OutputTrunc(rng.choice(ofports), rng.choice((34, 38, 50, 2000)))
            ],
            "check_pkt_larger": lambda table, on: [
                act.CheckPktLarger(SubField(BY_NAME["reg1"], 0, 1), rng.choice((50, 60, 100))),
                self.output_chosen(),
            ],
            "ct_among_others": lambda table, on: [self.ct(table)],
            "sample": lambda table, on: [
                act.Sample(0xFFFF, rng.randrange(3), 7, table, rng.choice((OfPort.ANY, 2)))
            ],
            "actset_output": lambda table, on: [
                act.RegMove(SubField(BY_NAME["actset_output"], 0, 16), SubField(_REGS[1], 0, 16))
            ],
        }
        self.makers = [maker for name, maker in makers.items() if name in features]

    def wants(self, feature: str, share: float = 1.0) -> bool:
        return feature in self.features and self.rng.random() < share

    def first(self) -> list[Action]:
        """What a rule begins with: a meter, seldom."""
        return [act.Meter(self.rng.choice(_METERS))] if self.wants("meter", 0.1) else []

    def actions(self, table: int, on: Match) -> list[Action]:
        """Some actions of one feature, for a rule that matches `on`; [] where none is on."""
        return self.rng.choice(self.makers)(table, on) if self.makers else []

    def of_action_set(self) -> Action | None:
        """An action for write_actions."""
        choices: list[Callable[[], Action]] = []
        if "group_in_action_set" in self.features:
            choices.append(self.group)
        if "mpls" in self.features:
            choices.append(lambda: self.rng.choice(self.labels()))
        if "ct_in_action_set" in self.features:
            choices.append(lambda: self.rng.choice((self.ct(0), CtClear())))
        return self.rng.choice(choices)() if choices else None

    # -- copies ------------------------------------------------------------------------

    def group(self) -> Action:
        return act.Group(self.rng.randrange(1, _N_GROUPS + 2))

    def groups(self) -> tuple[Group, ...]:
        """The groups of a bridge; those of higher numbers may lead to those of lower ones."""
        if "group" not in self.features:
            return ()
        return tuple(self.one_group(number) for number in range(1, _N_GROUPS + 1))

    def one_group(self, number: int) -> Group:
        rng = self.rng
        kind = rng.choice(list(GroupType))
        n = 1 if kind is GroupType.INDIRECT else rng.randrange(1, 5)
        buckets = tuple(self.bucket(number, i, kind) for i in range(n))
        if kind is not GroupType.SELECT:
            return Group(number, kind, buckets)
        fields = rng.choice((0, FIVE_TUPLE, BY_NAME["eth_src"].full_mask))
        how = rng.choice(("", "hash", "dp_hash"))
        return Group(number, kind, buckets, how, rng.choice((0, 7)), fields)

    def bucket(self, group: int, index: int, kind: GroupType) -> Bucket:
        rng = self.rng
        on = self.plain.match() if "unpinned_fields" in self.features else ANY
        actions: list[Action] = [self.plain.change(on) for _ in range(rng.choice((0, 1, 1, 2)))]
        where = rng.random()
        if where < 0.25:
            actions.append(act.Resubmit(table_id=rng.randrange(1, N_TABLES)))
        elif where < 0.5 and group > 1 and "group_chain" in self.features:
            actions.append(act.Group(rng.randrange(1, group)))
        elif where < 0.95:
            actions.append(self.plain.output())
        rng.shuffle(actions)
        if "ct_among_others" in self.features:
            # By dice of its own: all else is as it was before buckets had a ct().
            self.track_in_bucket(actions, random.Random(f"{group} {index} {where}"))
        watch_port, watch_group = int(OfPort.ANY), GROUP_ANY
        if kind is GroupType.FAST_FAILOVER or rng.random() < 0.2:
            watch_port = rng.choice(self.ofports)
            if group > 1 and self.wants("group_chain", 0.3):
                watch_port = rng.choice((watch_port, int(OfPort.ANY)))
                watch_group = rng.randrange(1, group)
        weight = rng.choice((0, 1, 1, 2, 10)) if kind is GroupType.SELECT else 1
        return Bucket(tuple(actions), index, weight, watch_port, watch_group)

    def track_in_bucket(self, actions: list[Action], rng: random.Random) -> None:
        """Sometimes a ct() or ct_clear among a bucket's actions, sometimes in place of them."""
        if rng.random() > 0.4:
            return
        if rng.random() < 0.5:
            actions.clear()
        ct = _ct(rng, 0, nat="nat" in self.features)
        actions.insert(rng.randrange(len(actions) + 1), CtClear() if rng.random() < 0.1 else ct)

    def clone(self, table: int, on: Match) -> Action:
        rng = self.rng
        inner: list[Action] = []
        for _ in range(rng.randrange(1, 4)):
            kind = rng.random()
            if kind < 0.45:
                inner.append(self.plain.output())
            elif kind < 0.8:
                inner.append(self.plain.change(on))
            elif kind < 0.9 and table < N_TABLES - 1 and "clone_tables" in self.features:
                inner.append(act.Resubmit(table_id=rng.randrange(table + 1, N_TABLES)))
            elif self.wants("clone_exit", 0.3):
                inner.append(act.Exit())
            elif self.wants("ct_among_others", 0.5):
                inner.append(self.ct(table))
            elif self.wants("group"):
                inner.append(self.group())
        return act.Clone(tuple(inner or [self.plain.output()]))

    def ct(self, table: int) -> Action:
        """Tracking, anywhere in a list: connections hardly matter, but what a copy takes along does."""
        return _ct(self.rng, table, nat="nat" in self.features)

    # -- state -------------------------------------------------------------------------

    def stack(self, on: Match) -> list[Action]:
        rng = self.rng
        sources = [*_REGS, BY_NAME["eth_src"], BY_NAME["in_port"]]
        targets = [f for f in self.plain.settable if on.satisfies(f.prerequisite)]
        made: list[Action] = []
        for _ in range(rng.choice((1, 1, 2))):
            made.append(act.StackPush(self.subfield(rng.choice(sources))))
        for _ in range(rng.choice((0, 1, 2))):
            made.append(act.StackPop(self.subfield(rng.choice((*_REGS, rng.choice(targets))))))
        return made

    def subfield(self, f: Field) -> SubField:
        n_bits = self.rng.randrange(1, f.n_bits + 1)
        return SubField(f, self.rng.randrange(f.n_bits - n_bits + 1), n_bits)

    def output_chosen(self) -> Action:
        return act.OutputReg(SubField(_REGS[1], 0, 16))

    def multipath(self) -> Action:
        rng = self.rng
        return Multipath(
            rng.choice(list(HashFields)),
            rng.choice((0, 1024)),
            rng.choice(list(MultipathAlgorithm)),
            rng.choice((1, 2, 3, 4, 100)),
            rng.choice((0, 4, 7)),
            SubField(_REGS[1], 0, 16),
        )

    def bundle(self) -> list[Action]:
        rng = self.rng
        members = tuple(self.plain.port() for _ in range(rng.randrange(1, 4)))
        dst = SubField(_REGS[1], 0, 16) if rng.random() < 0.5 else None
        fields, algorithm = rng.choice(list(HashFields)), rng.choice(list(BundleAlgorithm))
        chosen = Bundle(fields, rng.choice((0, 9)), algorithm, members, dst)
        return [chosen] if dst is None else [chosen, self.output_chosen()]

    def meters(self) -> tuple[Meter, ...]:
        """Meters whose outcome does not depend on time: nothing passes, or everything."""
        if "meter" not in self.features:
            return ()
        return tuple(
            Meter(
                number,
                self.rng.choice((MeterFlag.PKTPS, MeterFlag.KBPS)),
                (
                    Band(
                        self.rng.choice(list(BandType)),
                        self.rng.choice((0, _UNLIMITED, _UNLIMITED)),
                        0,
                        1,
                    ),
                ),
            )
            for number in _METERS[:2]
        )

    # -- labels ------------------------------------------------------------------------

    def labels(self, on: Match = ANY) -> list[Action]:
        """Pushes, and where there is a label what else can be done with it; seldom where not."""
        rng = self.rng
        labelled = on.satisfies(BY_NAME["mpls_label"].prerequisite) or rng.random() < 0.1
        made: list[Action] = []
        for _ in range(rng.choice((1, 1, 2, 3))):
            kind = rng.random()
            if kind < 0.3 or not labelled:
                made.append(act.PushMpls(rng.choice((0x8847, 0x8848))))
                labelled = True
            elif kind < 0.5:
                f = BY_NAME[rng.choice(("mpls_label", "mpls_tc", "mpls_ttl"))]
                made.append(act.SetField(f, rng.getrandbits(f.n_bits), (1 << f.n_bits) - 1))
            elif kind < 0.65:
                made.append(act.DecMplsTtl())
            else:
                to = rng.choice((0x0800, 0x0800, 0x86DD, 0x8847, 0x1234))
                made.append(act.PopMpls(to))
                labelled = to == 0x8847
        return made

    # -- conjunctions ------------------------------------------------------------------

    def conjunctions(self) -> list[Flow]:
        """Sets of flows whose matches must all be met, and what is done then."""
        if "conjunction" not in self.features:
            return []
        rng = self.rng
        flows = []
        for number in range(rng.randrange(3)):
            table, conj_id = rng.randrange(N_TABLES), 100 + number
            n_clauses = rng.choice((2, 2, 3))
            for clause in range(n_clauses):
                part = act.Conjunction(conj_id, clause, n_clauses)
                for _ in range(rng.randrange(1, 4)):
                    on = self.plain.match()
                    flows.append(Flow(table, _CONJ_PRIORITY + number, on, (part,)))
            actions = (self.plain.change(ANY), self.plain.output())
            flows.append(Flow(table, 60 + number, match(conj_id=conj_id), actions))
        return _one_of_each(flows)


def _one_of_each(flows: list[Flow]) -> list[Flow]:
    """Without those that would replace another one."""
    kept = {(f.table_id, f.priority, f.match): f for f in flows}
    return list(kept.values())


def _ct(rng: random.Random, table: int, *, nat: bool) -> Action:
    how = [rng.choice(("commit", "commit", "commit,force", ""))]
    if rng.random() < 0.7 and table < N_TABLES - 1:
        how.append(f"table={rng.randrange(table + 1, N_TABLES)}")
    how.append(rng.choice(("zone=1", "zone=2", "")))
    if "commit" in how[0] and rng.random() < 0.3:
        how.append("exec(move:NXM_NX_REG1[]->NXM_NX_CT_MARK[],set_field:0x3/0x3->ct_label)")
    if nat:
        how.append(rng.choice(("", "", "nat(src=10.0.1.1)" if how[0] else "nat")))
    (action,) = parse_actions(f"ct({','.join(part for part in how if part)})")
    return action
