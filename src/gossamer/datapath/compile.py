"""Compile flows: a match to a subtable's key, actions to a program of operations.

The counterparts in the kernel are bpf/classify.h and bpf/program.h.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from typing import Final, Protocol

from gossamer.datapath.exec_changes import unfolded
from gossamer.datapath.layout import (
    CACHE_WORDS,
    CT_NAT_RULE,
    CT_ZONE_IN_WORD,
    KEY_CLASSES,
    LARGE_OPS,
    MATCH_WORD,
    MATCH_WORDS,
    MAX_LENGTHS,
    MAX_TTL_CONTROLLERS,
    OP,
    OP_WRITE,
    QUEUE_UNKNOWN,
    CtDo,
    Group,
    Need,
    ParseDepth,
    RuleOp,
)
from gossamer.errors import DatapathError, UnsupportedActionError
from gossamer.pipeline import action as act
from gossamer.pipeline.fields import (
    BY_NAME,
    ETH_ARP,
    ETH_IPV4,
    ETH_IPV6,
    ETH_MPLS,
    ETH_MPLS_MC,
    ETH_RARP,
    KEY_BITS,
    KEY_LEN,
    NSH,
    SLOTS,
    Field,
    slot_shift,
)
from gossamer.pipeline.links import looks_at

KEY_WORDS: Final = KEY_LEN // 4
SCRATCH_WORD: Final = KEY_WORDS
"""A word behind the key that programs may use for themselves."""
STACK_WORD: Final = KEY_WORDS + 12
"""The last four of these are what push and pop of the stack go through."""

_NATIVE: Final = "little" if sys.byteorder == "little" else "big"


def words_of(key: int) -> list[int]:
    """A key (or mask) as 32-bit words, each as the kernel sees it in memory."""
    raw = key.to_bytes(KEY_LEN, "big")
    return [int.from_bytes(raw[i : i + 4], _NATIVE) for i in range(0, KEY_LEN, 4)]


def _groups() -> list[int]:
    """Header groups by word; 0 for pipeline state."""
    by_slot = {
        "eth_dst": Group.ETH,
        "eth_src": Group.ETH,
        "eth_type": Group.VLAN,
        "vlan_tci": Group.VLAN,
        "vlan_tpid": Group.VLAN,
        "vlan1_tpid": Group.VLAN,
        "vlan1_tci": Group.VLAN,
        "tp_src": Group.L4,
        "tp_dst": Group.L4,
        "mpls_lse0": Group.MPLS,
        "mpls_lse1": Group.MPLS,
        "mpls_lse2": Group.MPLS,
        "arp_sha": Group.ARP_ND,
        "arp_tha": Group.ARP_ND,
        "nd_target": Group.ARP_ND,
        "pbb_isid": Group.ARP_ND,  # nd_reserved; the slow path sets pbb_isid itself
        "tcp_flags": Group.ARP_ND,  # nd_options_type; TCP's are read only
    } | dict.fromkeys(
        ("nw_proto", "nw_tos", "nw_ttl", "nw_src", "nw_dst", "ipv6_src", "ipv6_dst", "ipv6_label"),
        Group.L3,
    )
    out = [0] * (KEY_WORDS + 16)
    for name, group in by_slot.items():
        slot = SLOTS[name]
        for word in range(slot.offset // 4, (slot.offset + slot.length + 3) // 4):
            out[word] |= group
    return out


GROUPS: Final = _groups()
_L2_END: Final = SLOTS["mpls_lse0"].offset // 4
IN_PORT_MASK: Final = BY_NAME["in_port"].full_mask
_PIPELINE_STATE: Final = sum(
    0xFFFFFFFF << (KEY_BITS - 32 - 32 * word)
    for word in range(SLOTS["metadata"].offset // 4, SLOTS["tun_id"].offset // 4)
)


_RESUMES: Final = 0x1FF << slot_shift("_pad2") + 8
"""Where a pass goes on after a ct(): part of what tells its packets apart."""
_CARRIED: Final = sum(
    0xFFFFFFFF << (KEY_BITS - 32 - 32 * word)
    for word in range(SLOTS["metadata"].offset // 4, SLOTS["eth_dst"].offset // 4)
)


def cache_bits(reads: int, writes: int) -> int:
    """The bits that tell packets of a bridge apart, from those its rules read and write.

    Registers begin at zero in each pass, so they can differ between packets only where a pass
    goes on with them after a ct().
    """
    if reads & _RESUMES:
        return reads | writes & _CARRIED
    return reads & ~_PIPELINE_STATE


def parse_depth(mask: int) -> ParseDepth:
    """How deep the parser must look for someone who cares about these bits."""
    below = mask & ((1 << (KEY_BITS - 32 * _L2_END)) - 1)
    return ParseDepth.L4 if below else ParseDepth.L2


@dataclass(slots=True)
class KeyShape:
    """How the keys of one mask are written: class, and the runs of bytes they gather."""

    key_class: int
    words: list[tuple[int, int]]
    """(word, mask as in memory), what the kernel gathers."""
    slices: list[slice]
    padding: bytes

    def key(self, subtable_id: bytes, value: int) -> bytes:
        """A rule's key from its match value; `subtable_id` is its four bytes in memory."""
        raw = value.to_bytes(KEY_LEN, "big")
        return subtable_id + b"".join([raw[s] for s in self.slices]) + self.padding

    def words_bytes(self) -> bytes:
        """`struct match_word` records."""
        return b"".join(MATCH_WORD.pack(word, 0, mask) for word, mask in self.words)


def key_shape(mask: int) -> KeyShape:
    """The shape of a mask's keys; raises DatapathError where it covers too much."""
    words = [(i, w) for i, w in enumerate(words_of(mask)) if w]
    if len(words) > MATCH_WORDS:
        raise DatapathError(
            f"a match covers {len(words)} words of the key, {MATCH_WORDS} are possible",
            remedy="match fewer fields in one flow",
        )
    key_class = next(i for i, n in enumerate(KEY_CLASSES) if n >= len(words))
    slices: list[slice] = []
    for word, _ in words:
        if slices and slices[-1].stop == word * 4:
            slices[-1] = slice(slices[-1].start, word * 4 + 4)
        else:
            slices.append(slice(word * 4, word * 4 + 4))
    padding = bytes(4 * (KEY_CLASSES[key_class] - len(words)))
    return KeyShape(key_class, words, slices, padding)


def cache_words(mask: int) -> list[tuple[int, int]]:
    """(word, mask) pairs of a cache mask; at most CACHE_WORDS, more cannot be cached."""
    words = [(i, w) for i, w in enumerate(words_of(mask)) if w]
    if len(words) > CACHE_WORDS:
        raise DatapathError(
            f"the flows of a bridge look at {len(words)} words of the key together,"
            f" {CACHE_WORDS} are possible",
            remedy="match fewer fields in this bridge",
        )
    return words


@dataclass(slots=True)
class Program:
    """Compiled actions: the operations, and the bits they read or write."""

    ops: list[bytes] = field(default_factory=list)
    reads: int = 0
    """Key bits the outcome depends on: they belong in the cache mask."""
    writes: int = 0
    lengths: set[int] = field(default_factory=set)
    """Lengths of packets that it asks about."""
    groups: set[int] = field(default_factory=set)
    """Groups it passes packets to."""


class Names(Protocol):
    """What programs refer to by number."""

    def userdata(self, data: bytes) -> int:
        """The id of a controller action's userdata."""

    def learn(self, action: act.Learn) -> int:
        """The id of a learn action."""

    def sample(self, action: act.Sample) -> int:
        """The id of a sample action."""

    def program(self, actions: act.Actions) -> int:
        """The id of another program, 0 for no actions."""

    def nat_rule(self, image: bytes) -> int:
        """The number of a `struct ct_nat_rule`."""


def compile_actions(actions: act.Actions, names: Names) -> Program:
    """The program of an action list.

    Raises DatapathError for an action the kernel cannot perform.
    """
    program = Program()
    for action in actions:
        _compile(action, program, 0, names)
        if isinstance(action, act.Controller) and action.pause:
            # The packet waits at a controller; what follows is run when it comes back.
            _compile(act.Exit(), program, 0, names)
            break
    return program


def _emit(program: Program, flags: int, code: RuleOp, a: int = 0, b: int = 0, c: int = 0, d: int = 0) -> None:
    program.ops.append(OP.pack(code, flags, a, b, c, d))


def _slow(program: Program) -> None:
    """What the kernel cannot do: packets that come this far go on in the reference pipeline."""
    _emit(program, 0, RuleOp.SLOW)


_NEEDED_BITS: Final = {
    Need.L4: 2 << slot_shift("nw_frag"),
    Need.TAG: 0x1000 << slot_shift("vlan_tci"),
    Need.ND: 0xFFFFFFFF << slot_shift("tp_dst"),
    Need.ND_SOLICIT: 0xFFFFFFFF << slot_shift("tp_dst"),
    Need.ND_ADVERT: 0xFFFFFFFF << slot_shift("tp_dst"),
    Need.IPV4: 0xFFFF << slot_shift("eth_type"),
    Need.IPV6: 0xFFFF << slot_shift("eth_type"),
    Need.ARP: 0xFFFF << slot_shift("eth_type"),
    Need.MPLS: 0xFFFF << slot_shift("eth_type"),
    Need.PROTO: 0xFF << slot_shift("nw_proto"),
}
"""The key bits that tell whether a packet has what is needed."""
_ETH_TYPES: Final = {
    ETH_IPV4: Need.IPV4,
    ETH_IPV6: Need.IPV6,
    ETH_ARP: Need.ARP,
    ETH_RARP: Need.ARP,
    ETH_MPLS: Need.MPLS,
    ETH_MPLS_MC: Need.MPLS,
}
_ND_NEEDS: Final[dict[tuple[int, ...], Need]] = {
    (135,): Need.ND_SOLICIT,
    (136,): Need.ND_ADVERT,
}


def _needs(f: Field) -> tuple[Need, int]:
    """What a packet must have for a field to be there, and of which IP protocol it must be.

    A match may have made sure of it, but not where a bucket, or OpenFlow 1.0, sets the field.
    """
    needs = Need(0)
    p = f.prerequisite
    if p.vlan:
        needs |= Need.TAG
    for eth_type in p.eth_types:
        needs |= _ETH_TYPES.get(eth_type, Need(0))
    if p.nw_proto is not None:
        needs |= Need.L4 | Need.PROTO
    if p.icmpv6_types:
        needs |= _ND_NEEDS.get(p.icmpv6_types, Need.ND)
    return needs, p.nw_proto or 0


def _change(program: Program, flags: int, fields: tuple[Field, ...], change: Program) -> None:
    """Operations that change the first of `fields`, left out where the packet lacks one."""
    if fields[0].name == "pbb_isid" or any(f.prerequisite is NSH for f in fields):
        _slow(program)
        return
    if fields[0].marks:
        _set_bits(change, flags, fields[0].marks, fields[0].marks)
    if fields[0].slot == "vlan_tci":
        change.reads |= _BOTH_TAGS
        _emit(change, flags, RuleOp.FIX_TAG)
    found = sorted({(needs, proto) for needs, proto in map(_needs, fields) if needs})
    n_ops = len(change.ops) + len(found)
    for needs, proto in found:
        n_ops -= 1
        for need in needs:
            program.reads |= _NEEDED_BITS[need]
        _emit(program, flags, RuleOp.SKIP, n_ops, needs | proto << 16)
    program.ops += change.ops
    program.reads |= change.reads
    program.writes |= change.writes


def _set_bits(program: Program, flags: int, value: int, mask: int) -> None:
    """Operations that set the masked bits of the key, word by word."""
    program.writes |= mask
    for word, (v, m) in enumerate(zip(words_of(value), words_of(mask), strict=True)):
        if m:
            _emit(program, flags, RuleOp.SET, word, v, m, GROUPS[word])


def _move(program: Program, flags: int, src_bit: int, dst_bit: int, n_bits: int) -> None:
    """Copy bits, given by their distance from the key's lowest bit, 32 or fewer at a time.

    Goes through scratch words where source and destination overlap or more
    than one step is needed, so that no step reads what another wrote.
    """
    program.reads |= ((1 << n_bits) - 1) << src_bit
    program.writes |= ((1 << n_bits) - 1) << dst_bit
    steps: list[tuple[int, int, int]] = []  # source bit, destination bit, bits
    done = 0
    while done < n_bits:
        s, d = src_bit + done, dst_bit + done
        take = min(n_bits - done, 32 - s % 32, 32 - d % 32)
        steps.append((s, d, take))
        done += take
    if len(steps) == 1:
        s, d, take = steps[0]
        _move_step(program, flags, _word(s), s % 32, _word(d), d % 32, take)
        return
    if len(steps) > 15:
        raise UnsupportedActionError(f"a move of {n_bits} bits takes too many steps")
    for i, (s, _, take) in enumerate(steps):
        _move_step(program, flags, _word(s), s % 32, SCRATCH_WORD + 1 + i, 0, take)
    for i, (_, d, take) in enumerate(steps):
        _move_step(program, flags, SCRATCH_WORD + 1 + i, 0, _word(d), d % 32, take)


def _stack_push(program: Program, flags: int, source: act.SubField) -> None:
    """Gather the bits in the stack's scratch words, right-aligned, then push these."""
    for word in range(4):
        _emit(program, flags, RuleOp.SET, STACK_WORD + word, 0, 0xFFFFFFFF)
    program.reads |= ((1 << source.n_bits) - 1) << source.shift
    done = 0
    while done < source.n_bits:
        at = source.shift + done
        take = min(source.n_bits - done, 32 - at % 32, 32 - done % 32)
        to = STACK_WORD + 3 - done // 32
        _move_step(program, flags, _word(at), at % 32, to, done % 32, take)
        done += take
    _emit(program, flags, RuleOp.PUSH)


def _store(program: Program, flags: int, dst: act.SubField, n_bits: int = 128) -> None:
    """What is in the scratch words, right-aligned and `n_bits` of it, to a field; zeros above."""
    change = Program()
    change.writes |= ((1 << dst.n_bits) - 1) << dst.shift
    done = 0
    while done < dst.n_bits:
        at = dst.shift + done
        take = min(dst.n_bits - done, 32 - at % 32, 32 - done % 32)
        take = min(take, n_bits - done) if done < n_bits else take
        if done < n_bits:
            source = STACK_WORD + 3 - done // 32
            _move_step(change, flags, source, done % 32, _word(at), at % 32, take)
        else:
            _set_bits(change, flags, 0, ((1 << take) - 1) << at)
        done += take
    _change(program, flags, (dst.field,), change)


_LENGTHS: Final = ((1 << MAX_LENGTHS) - 1) << slot_shift("_pad2")
"""Which of the bridge's lengths a packet exceeds."""
_HRW_LINKS: Final = 64


def _iterates(action: act.Multipath) -> bool:
    return action.algorithm is act.MultipathAlgorithm.ITER_HASH


def _algorithm(action: act.Multipath) -> act.MultipathAlgorithm:
    """As links.link() has it: more links than these are too many to weigh each."""
    if action.algorithm is act.MultipathAlgorithm.HRW and action.n_links > _HRW_LINKS:
        return act.MultipathAlgorithm.ITER_HASH
    return action.algorithm


def _modulo(n_links: int, wanted: int) -> int:
    fits = wanted >= n_links and wanted // 2 <= n_links
    return wanted if fits else 1 << (n_links - 1).bit_length()


def _stack_pop(program: Program, flags: int, dst: act.SubField) -> None:
    """Pop into the scratch words, and from there to the field, where the stack was not empty."""
    setting = Program()
    _store(setting, flags, dst)
    if dst.field.marks:
        _set_bits(setting, flags, dst.field.marks, dst.field.marks)
    _emit(program, flags, RuleOp.POP, len(setting.ops))
    program.ops += setting.ops
    program.reads |= setting.reads
    program.writes |= setting.writes


def _word(bit: int) -> int:
    return (KEY_BITS - 1 - bit) // 32


def _move_step(
    program: Program, flags: int, src: int, src_shift: int, dst: int, dst_shift: int, n_bits: int
) -> None:
    _emit(
        program,
        flags,
        RuleOp.MOVE,
        src | dst << 8,
        src_shift | dst_shift << 8 | n_bits << 16,
        0,
        GROUPS[dst],
    )


_ETH_TYPE = BY_NAME["eth_type"].full_mask
_TTL = BY_NAME["nw_ttl"].full_mask
_TOS = BY_NAME["nw_tos"].full_mask
_LABELS = _ETH_TYPE | sum(0xFFFFFFFF << slot_shift(f"mpls_lse{i}") for i in range(3))
_BELOW_LABELS = 0xFF << slot_shift("nw_proto")
"""Enough for the parser to look there."""
_FIN_OR_RST = 5 << slot_shift("tcp_flags")
_VLAN_PRESENT = 0x1000 << slot_shift("vlan_tci")
_VLAN_TCI = 0xFFFF << slot_shift("vlan_tci")
_BOTH_TAGS = _VLAN_TCI | 0xFFFF << slot_shift("vlan1_tci") | 0xFFFFFFFF << slot_shift("vlan1_tpid")
"""Both tags with their types: what a pop brings to light, and whether a push has room."""


def _compile(action: act.Action, program: Program, flags: int, names: Names) -> None:
    match action:
        case act.Output(port=port, max_len=max_len):
            if port == act.OfPort.CONTROLLER:
                _emit(program, flags | 1, RuleOp.CONTROLLER, max_len or 0xFFFF, 1 << 16)
            elif port == act.OfPort.TABLE or port == act.OfPort.ANY:
                return  # TABLE means something in packet-out only, ANY is no port
            else:
                _emit(program, flags, RuleOp.OUTPUT, 0, port)
        case act.Enqueue(port=port, queue_id=queue_id):
            if flags & OP_WRITE:
                _slow(program)
                return
            _choose_queue(program, 0, queue_id + 1)
            _emit(program, 0, RuleOp.OUTPUT, 0, port)
            _choose_queue(program, 0, 0)
        case act.OutputReg(source=source, max_len=max_len):
            if source.n_bits > 32:
                _slow(program)
                return
            program.reads |= ((1 << source.n_bits) - 1) << source.shift
            first = source.shift % 32
            if first + source.n_bits <= 32:
                word, shift = _word(source.shift), first
            else:
                # The number lies across two words: bring it together first.
                low = 32 - first
                word, shift = SCRATCH_WORD, 0
                _move_step(program, flags, _word(source.shift), first, word, 0, low)
                high = source.shift + low
                _move_step(program, flags, _word(high), 0, word, low, source.n_bits - low)
            _emit(program, flags, RuleOp.OUTPUT_REG, word, shift | source.n_bits << 8, max_len)
        case act.Controller():
            userdata_id = names.userdata(action.userdata) if action.userdata else 0
            who = action.controller_id | action.reason << 16
            flags |= int(action.as_output)
            _emit(program, flags, RuleOp.CONTROLLER, action.max_len, who, userdata_id)
        case act.SetField(field=f, value=value, mask=mask):
            change = Program()
            _set_bits(change, flags, value << f.shift, mask << f.shift)
            _change(program, flags, (f,), change)
        case act.RegLoad(dst=dst, value=value):
            mask = (1 << dst.n_bits) - 1
            change = Program()
            _set_bits(change, flags, (value & mask) << dst.shift, mask << dst.shift)
            _change(program, flags, (dst.field,), change)
        case act.RegMove(src=src, dst=dst):
            change = Program()
            _move(change, flags, src.shift, dst.shift, dst.n_bits)
            _change(program, flags, (dst.field, src.field), change)
        case act.DeleteField(field=f):
            _set_bits(program, flags, 0, f.full_mask | f.marks)
        case act.PushVlan(ethertype=ethertype):
            program.reads |= _BOTH_TAGS
            program.writes |= _VLAN_TCI
            _emit(program, flags, RuleOp.PUSH_VLAN, _network16(ethertype))
        case act.PopVlan():
            program.reads |= _BOTH_TAGS
            program.writes |= _VLAN_TCI
            _emit(program, flags, RuleOp.POP_VLAN)
        case act.SetVlanVid(vid=vid, push=push):
            program.reads |= _BOTH_TAGS
            program.writes |= _VLAN_TCI
            _emit(program, flags | int(push), RuleOp.SET_VLAN, vid & 0xFFF, 0x0FFF)
        case act.SetVlanPcp(pcp=pcp, push=push):
            program.reads |= _BOTH_TAGS
            program.writes |= _VLAN_TCI
            _emit(program, flags | int(push), RuleOp.SET_VLAN, pcp << 13, 0xE000)
        case act.DecTtl(controller_ids=ids):
            program.reads |= _ETH_TYPE | _TTL
            program.writes |= _TTL
            if len(ids) > MAX_TTL_CONTROLLERS:
                _slow(program)
                return
            packed = sum(number << 16 * i for i, number in enumerate(ids))
            _emit(program, flags, RuleOp.DEC_TTL, len(ids), packed & 0xFFFFFFFF, packed >> 32)
        case act.Resubmit(in_port=in_port, table_id=table_id):
            _emit(program, flags, RuleOp.RESUBMIT, table_id, in_port)
        case act.WriteMetadata(value=value, mask=mask):
            shift = BY_NAME["metadata"].shift
            _set_bits(program, flags, (value & mask) << shift, mask << shift)
        case act.GotoTable(table_id=table_id):
            _emit(program, flags, RuleOp.GOTO, table_id)
        case act.ClearActions():
            _emit(program, flags, RuleOp.CLEAR_ACTIONS)
        case act.WriteActions(actions=actions):
            for written in actions:
                _compile(written, program, flags | OP_WRITE, names)
        case act.Exit():
            _emit(program, flags, RuleOp.EXIT)
        case act.Group(group_id=group_id):
            program.groups.add(group_id)
            _emit(program, flags, RuleOp.GROUP, 0, group_id)
        case act.Clone(actions=inner):
            number = names.program(inner)
            if number:
                _emit(program, flags, RuleOp.CLONE, 0, number)
        case act.Meter(meter_id=meter_id):
            _emit(program, flags, RuleOp.METER, 0, meter_id)
        case act.OutputTrunc(port=port, max_len=max_len):
            if port == act.OfPort.CONTROLLER:
                _compile(act.Controller(max_len=max_len), program, flags, names)
                return
            if flags & OP_WRITE:
                _slow(program)
                return
            _emit(program, flags, RuleOp.TRUNCATE, 0, max_len)
            _compile(act.Output(port), program, flags, names)
            _emit(program, flags, RuleOp.TRUNCATE, 0, 0)
        case act.Learn(specs=specs):
            for spec in specs:
                if isinstance(spec.source, act.SubField):
                    program.reads |= ((1 << spec.n_bits) - 1) << spec.source.shift
            _emit(program, flags, RuleOp.LEARN, 0, names.learn(action))
            if action.result is not None:
                if action.limit:
                    # Whether there is room is known where the flows are.
                    _slow(program)
                    return
                _compile(act.RegLoad(action.result, 1), program, flags, names)
        case act.Sample(probability=probability):
            program.writes |= _BELOW_LABELS
            _emit(program, flags, RuleOp.SAMPLE, probability, names.sample(action))
        case act.FinTimeout():
            program.reads |= _FIN_OR_RST
            _emit(program, flags, RuleOp.FIN)
        case act.Multipath(dst=dst):
            program.reads |= looks_at(action.fields)
            how = action.fields | _algorithm(action) << 8
            n_links = action.n_links
            modulo = _modulo(n_links, action.arg if _iterates(action) else 0)
            _emit(program, flags, RuleOp.MULTIPATH, how, action.basis, n_links, modulo)
            _store(program, flags, dst)
        case act.Bundle(members=members, dst=dst):
            program.reads |= looks_at(action.fields)
            _emit(program, flags, RuleOp.BUNDLE, action.fields, action.basis)
            by_weight = action.algorithm is act.BundleAlgorithm.HRW
            for number, port in enumerate(members):
                if port != act.OfPort.CONTROLLER:
                    _emit(program, flags, RuleOp.MEMBER, number, port, by_weight)
            if dst is None:
                _emit(program, flags, RuleOp.SEND)
            else:
                _store(program, flags, dst, 16)
        case act.CheckPktLarger(dst=dst, length=length):
            program.lengths.add(length)
            program.reads |= _LENGTHS
            _emit(program, flags, RuleOp.LARGER, 0, length)
            _store(program, flags, dst)
        case act.PushMpls(ethertype=ethertype):
            program.reads |= _LABELS | _TTL | _TOS
            program.writes |= _LABELS
            _emit(program, flags, RuleOp.PUSH_MPLS, _network16(ethertype))
        case act.PopMpls(ethertype=ethertype):
            program.reads |= _LABELS
            program.writes |= _LABELS | _BELOW_LABELS
            _emit(program, flags, RuleOp.POP_MPLS, _network16(ethertype))
        case act.DecMplsTtl():
            program.reads |= _LABELS
            program.writes |= _LABELS
            _emit(program, flags, RuleOp.DEC_MPLS_TTL)
        case act.CopyTtlOut() | act.CopyTtlIn():
            program.reads |= _LABELS | _TTL
            program.writes |= _LABELS | _TTL
            out = isinstance(action, act.CopyTtlOut)
            _emit(program, flags, RuleOp.COPY_TTL_OUT if out else RuleOp.COPY_TTL_IN)
        case act.Conjunction(conj_id=conj_id, clause=clause, n_clauses=n_clauses):
            _emit(program, flags, RuleOp.CONJUNCTION, clause | n_clauses << 8, conj_id)
        case act.StackPush(source=source):
            _stack_push(program, flags, source)
        case act.StackPop(dst=dst):
            _stack_pop(program, flags, dst)
        case act.PushPbb() | act.PopPbb() | act.Encap() | act.Decap() | act.DecNshTtl():
            _slow(program)
        case act.Ct():
            _ct(action, program, flags, names)
        case act.CtClear():
            program.reads |= _RESUMES
            _emit(program, flags, RuleOp.CT_CLEAR)
        case act.PopQueue():
            _choose_queue(program, flags, 0)
        case act.SetQueue(queue_id=queue_id):
            _choose_queue(program, flags, queue_id + 1)
        case act.Note():
            return  # nothing a packet would show
        case _:
            raise UnsupportedActionError(
                f"the datapath has no {type(action).__name__} action",
                remedy="see docs/compat.md for what is supported",
            )


_CT_MARK_WORD: Final = SLOTS["ct_mark"].offset // 4
"""The label's words follow."""
_TRACKED: Final = sum(
    ((1 << 8 * SLOTS[name].length) - 1) << slot_shift(name)
    for name in ("nw_src", "nw_dst", "ipv6_src", "ipv6_dst", "tp_src", "tp_dst")
)
"""What nat() may write, and how deep the parser must look for tracking."""


def _ct(action: act.Ct, program: Program, flags: int, names: Names) -> None:
    if flags & OP_WRITE:
        raise UnsupportedActionError("ct() cannot be written to the action set")
    program.reads |= _RESUMES
    program.writes |= _TRACKED
    for change in unfolded(action.actions):
        _ct_exec(change, program)
    wanted = CtDo.COMMIT if action.commit else CtDo(0)
    if action.force:
        wanted |= CtDo.FORCE
    if action.table is not None:
        wanted |= CtDo.TABLE
    wanted |= {act.CT_ALG_FTP: CtDo.FTP, act.CT_ALG_TFTP: CtDo.TFTP}.get(action.alg, CtDo(0))
    nat = 0
    if action.nat is not None:
        wanted |= CtDo.NAT
        if action.nat.src or action.nat.dst:
            nat = names.nat_rule(_nat_image(action.nat))
    where, bits, zone = 0, 0, action.zone
    if action.zone_field is not None:
        source = action.zone_field
        program.reads |= ((1 << source.n_bits) - 1) << source.shift
        word, shift, bits = _word(source.shift), source.shift % 32, source.n_bits
        if shift + bits > 32:
            low = 32 - shift
            _move_step(program, 0, word, shift, SCRATCH_WORD, 0, low)
            _move_step(program, 0, word - 1, 0, SCRATCH_WORD, low, bits - low)
            word, shift = SCRATCH_WORD, 0
        where, zone = CT_ZONE_IN_WORD, word | shift << 8
    _emit(program, int(wanted) | where, RuleOp.CT, zone, nat, (action.table or 0) | bits << 8)


def _ct_exec(change: act.Action, program: Program) -> None:
    """A change of ct_mark or ct_label in exec()."""
    match change:
        case act.SetField(field=f, value=value, mask=mask):
            value, mask = value << f.shift, mask << f.shift
        case act.RegLoad(dst=dst, value=value):
            mask = ((1 << dst.n_bits) - 1) << dst.shift
            value = value << dst.shift & mask
        case act.RegMove(src=src, dst=dst):
            moving = Program()
            moving.reads |= ((1 << dst.n_bits) - 1) << src.shift
            done = 0
            while done < dst.n_bits:
                s, d = src.shift + done, dst.shift + done
                take = min(dst.n_bits - done, 32 - s % 32, 32 - d % 32)
                _move_step(moving, 0, _word(s), s % 32, SCRATCH_WORD, d % 32, take)
                bits = words_of(((1 << take) - 1) << d)[_word(d)]
                index = _word(d) - _CT_MARK_WORD
                _emit(moving, 0, RuleOp.CT_SET, index, 0, bits, SCRATCH_WORD + 1)
                done += take
            _change(program, 0, (BY_NAME["ct_mark"], src.field), moving)
            return
        case _:
            raise UnsupportedActionError(
                f"{type(change).__name__} within ct(exec(...))",
                remedy="set ct_mark or ct_label there, and nothing else",
            )
    for word, (v, m) in enumerate(zip(words_of(value), words_of(mask), strict=True)):
        if m:
            _emit(program, 0, RuleOp.CT_SET, word - _CT_MARK_WORD, v, m)


def _nat_image(nat: act.Nat) -> bytes:
    """`struct ct_nat_rule`."""
    flags = int(nat.src) | nat.dst << 1 | nat.persistent << 2 | nat.hash << 3 | nat.random << 4
    first, last = nat.addresses or (b"", b"")
    ports = nat.ports or (0, 0)
    family = {0: 0, 4: 4, 16: 6}[len(first)]
    return CT_NAT_RULE.pack(flags, first.ljust(16, b"\0"), last.ljust(16, b"\0"), *ports, family)


def _choose_queue(program: Program, flags: int, number: int) -> None:
    """Outputs that follow go to a queue: `number` is that plus one, 0 for the port's default."""
    mask = 0xFFFF << slot_shift("queue")
    # A queue that no port can have is as good as none.
    known = number if number < QUEUE_UNKNOWN else 0
    change = Program()
    _set_bits(change, flags, known << slot_shift("queue"), mask)
    program.ops += change.ops  # nothing looks at it, so it is no part of what the rules change


def _network16(value: int) -> int:
    return int.from_bytes(value.to_bytes(2, "big"), _NATIVE)


def split(ops: list[bytes]) -> list[list[bytes]]:
    """Cut a long program into pieces that each leave room for the chaining operation."""
    if len(ops) <= LARGE_OPS:
        return [ops]
    size = LARGE_OPS - 1
    return [ops[i : i + size] for i in range(0, len(ops), size)]
