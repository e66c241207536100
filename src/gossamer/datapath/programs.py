"""Programs: compiled actions in the kernel, shared by all flows that have the same ones."""

from __future__ import annotations

from dataclasses import dataclass, field

from gossamer.datapath import layout
from gossamer.datapath.compile import compile_actions
from gossamer.datapath.conntrack.nat_rules import NatRules
from gossamer.datapath.maps import HashMap
from gossamer.datapath.operations import RuleOp
from gossamer.datapath.program import split
from gossamer.errors import DatapathError
from gossamer.pipeline.action import Actions, Conjunction, Sample
from gossamer.pipeline.action_learn import Learn


@dataclass(slots=True, eq=False)
class ProgramRecord:
    """Some actions and where their program is.

    `reads` are the key bits the outcome depends on, `writes` those it changes.
    """

    actions: Actions
    program_id: int
    pieces: dict[int, bytes] = field(default_factory=dict)
    """Program id -> record in the kernel, the chained ones too."""
    reads: int = 0
    writes: int = 0
    groups: frozenset[int] = frozenset()
    """Groups of the flow's bridge that it passes packets to."""
    lengths: set[int] = field(default_factory=set)
    """Lengths of packets that it asks about."""
    conjunctive: bool = False
    """Its flows are alternatives of conjunctions."""
    inner: list[ProgramRecord] = field(default_factory=list)
    """Programs it runs (clone), which it uses."""
    nat_rules: list[int] = field(default_factory=list)
    """Ranges that it translates to."""
    users: int = 0
    releases: int = 0
    """How often it was left without users."""


class Programs:
    """All programs; written at `flush()`, deleted by `sweep()`."""

    def __init__(self, small: HashMap, large: HashMap, nat_rules: NatRules) -> None:
        self._small = small
        self.nat_rules = nat_rules
        self._large = large
        self._by_actions: dict[Actions, ProgramRecord] = {}
        self._by_identity: dict[int, ProgramRecord] = {}
        self._unwritten: list[ProgramRecord] = []
        self._unused: list[tuple[ProgramRecord, int]] = []
        self._next_id = 1
        self._inherited: dict[bytes, int] = {}
        self.userdata: list[bytes] = [b""]
        """controller(userdata=) bytes by id."""
        self.learns: list[Learn] = []
        """Learn actions by id."""
        self._learn_ids: dict[Learn, int] = {}
        self.samples: list[Sample] = []
        """Sample actions by id."""
        self._sample_ids: dict[Sample, int] = {}
        self._userdata_ids: dict[bytes, int] = {b"": 0}

    def record(self, actions: Actions) -> ProgramRecord:
        """The record of these actions, compiled where they are new.

        Looks at the identity of the tuple first: a codec that hands out the
        same tuple for the same bytes spares hashing it.
        """
        known = self._by_identity.get(id(actions))
        if known is not None and known.actions is actions:
            return known
        known = self._by_actions.get(actions)
        if known is None:
            known = self._compile(actions)
            self._by_actions[actions] = known
            # Only the tuple the record keeps alive may be known by its identity.
            self._by_identity[id(actions)] = known
        return known

    def acquire(self, record: ProgramRecord) -> None:
        """One more flow runs it."""
        record.users += 1

    def release(self, record: ProgramRecord) -> None:
        """One flow less runs it."""
        record.users -= 1
        if not record.users:
            record.releases += 1
            self._unused.append((record, record.releases))

    def flush(self) -> None:
        """Write what is new; call before rules that refer to it are written."""
        if not self._unwritten:
            return
        small: list[tuple[bytes, bytes]] = []
        large: list[tuple[bytes, bytes]] = []
        for record in self._unwritten:
            for number, image in record.pieces.items():
                pairs = large if number & layout.LARGE_PROGRAM else small
                pairs.append((number.to_bytes(4, "little"), image))
        self._small.put_all([k for k, _ in small], [v for _, v in small])
        self._large.put_all([k for k, _ in large], [v for _, v in large])
        self._unwritten.clear()

    def take_unused(self) -> list[tuple[ProgramRecord, int]]:
        """What flows ceased to run since the last call, for `sweep()`."""
        unused, self._unused = self._unused, []
        return unused

    def sweep(self, unused: list[tuple[ProgramRecord, int]]) -> None:
        """Delete what was unused and is still; call when no packet is on its way through it."""
        for record, releases in unused:  # which grows by what they run
            if record.users or record.releases != releases:
                continue
            if self._by_actions.get(record.actions) is not record:
                continue
            del self._by_actions[record.actions]
            self._by_identity.pop(id(record.actions), None)
            self._delete(record.pieces)
            for number in record.nat_rules:
                self.nat_rules.release(number)
            for inner in record.inner:
                self.release(inner)
                unused.append((inner, inner.releases))

    def inherit(self) -> None:
        """Learn the ids of what an earlier daemon wrote, to use them again."""
        for programs, size in ((self._small, 0), (self._large, layout.LARGE_PROGRAM)):
            for key, image in programs.items():
                number = int.from_bytes(key, "little")
                self._inherited[image] = number
                self._next_id = max(self._next_id, (number & ~size) + 1)

    def disinherit(self) -> None:
        """Delete what nobody asked for again."""
        self._delete({number: image for image, number in self._inherited.items()})
        self._inherited.clear()

    def _delete(self, pieces: dict[int, bytes]) -> None:
        for number in pieces:
            programs = self._large if number & layout.LARGE_PROGRAM else self._small
            programs.delete(number.to_bytes(4, "little"))

    def _compile(self, actions: Actions) -> ProgramRecord:
        record = ProgramRecord(actions, 0)
        record.conjunctive = any(isinstance(a, Conjunction) for a in actions)
        program = compile_actions(actions, _Names(self, record))
        record.reads |= program.reads
        record.writes |= program.writes
        record.groups |= program.groups
        record.lengths |= program.lengths
        if program.ops:
            following = 0
            for piece in reversed(split(program.ops)):
                ops = list(piece)
                if following:
                    ops.append(layout.OP.pack(RuleOp.CHAIN, 0, 0, following, 0, 0))
                following = self._place(record, ops)
            record.program_id = following
            self._unwritten.append(record)
        return record

    def _place(self, record: ProgramRecord, ops: list[bytes]) -> int:
        """Give a piece its id: the inherited one where the same piece is there already."""
        large = len(ops) > layout.SMALL_OPS
        size = layout.LARGE_OPS if large else layout.SMALL_OPS
        image = layout.PROGRAM_HEAD.pack(len(ops), 0) + b"".join(ops)
        image = image.ljust(layout.PROGRAM_HEAD.size + size * layout.OP.size, b"\0")
        number = self._inherited.pop(image, 0)
        if not number:
            if self._next_id >= layout.LARGE_PROGRAM:
                raise DatapathError("program numbers are used up", remedy="restart the daemon")
            number = self._next_id | (layout.LARGE_PROGRAM if large else 0)
            self._next_id += 1
        record.pieces[number] = image
        return number

    def learn_id(self, action: Learn) -> int:
        """The id of a learn action, a new one where it is new."""
        known = self._learn_ids.get(action)
        if known is None:
            known = self._learn_ids[action] = len(self.learns)
            self.learns.append(action)
        return known

    def sample_id(self, action: Sample) -> int:
        """The id of a sample action, a new one where it is new."""
        known = self._sample_ids.get(action)
        if known is None:
            known = self._sample_ids[action] = len(self.samples)
            self.samples.append(action)
        return known

    def userdata_id(self, data: bytes) -> int:
        """The id of a controller action's userdata, a new one where it is new."""
        known = self._userdata_ids.get(data)
        if known is None:
            known = self._userdata_ids[data] = len(self.userdata)
            self.userdata.append(data)
        return known


class _Names:
    """What the actions of one record refer to."""

    def __init__(self, programs: Programs, record: ProgramRecord) -> None:
        self._programs = programs
        self._record = record

    def userdata(self, data: bytes) -> int:
        return self._programs.userdata_id(data)

    def learn(self, action: Learn) -> int:
        return self._programs.learn_id(action)

    def sample(self, action: Sample) -> int:
        return self._programs.sample_id(action)

    def program(self, actions: Actions) -> int:
        inner = self._programs.record(actions)
        self._programs.acquire(inner)
        record = self._record
        record.inner.append(inner)
        record.reads |= inner.reads
        record.writes |= inner.writes
        record.groups |= inner.groups
        record.lengths |= inner.lengths
        return inner.program_id

    def nat_rule(self, image: bytes) -> int:
        number = self._programs.nat_rules.acquire(image)
        self._record.nat_rules.append(number)
        return number
