"""Hostile OpenFlow: mutated messages into the decoder.

``python -m tests.fuzz.openflow_codec 1000000``: only OpenFlowError may come
out, and memory must not grow with the number of messages.
"""

from __future__ import annotations

import random
import resource
import sys

from gossamer.openflow.codec import Context, decode
from gossamer.openflow.error import OpenFlowError, encode_error
from gossamer.openflow.frame import frame
from gossamer.openflow.instruction import encode_instructions
from gossamer.openflow.match import encode_match, encode_match10, encode_ofp_match
from gossamer.pipeline import action as act
from gossamer.pipeline.fields import BY_NAME
from gossamer.pipeline.match import match

_MATCH = match(in_port=1, eth_type=0x800, nw_proto=6, ip_src=(0x0A000000, 0xFF000000), tcp_dst=80)
_ACTIONS = (
    act.SetField(BY_NAME["eth_dst"], 5, (1 << 48) - 1),
    act.RegLoad(act.SubField(BY_NAME["reg0"], 0, 16), 7),
    act.Resubmit(table_id=3),
    act.Controller(64, 3, 1, b"user", as_output=False),
    act.Output(2),
)


def seeds(version: int) -> list[bytes]:
    """Messages that are right, of every type there is."""
    instructions = encode_instructions(_ACTIONS, version)
    if version == 1:
        flow_mod = encode_match10(_MATCH) + bytes(24) + instructions
        nxm = encode_match(_MATCH, 1)
        nxm += bytes(-len(nxm) % 8)
        body = (0x2320).to_bytes(4, "big") + (13).to_bytes(4, "big") + bytes(24)
        body += len(encode_match(_MATCH, 1)).to_bytes(2, "big") + bytes(6) + nxm + instructions
        extra = [frame(1, 4, 1, body)]
    else:
        flow_mod = bytes(40) + encode_ofp_match(_MATCH, version) + instructions
        extra = []
    stats = [
        frame(version, 16 if version == 1 else 18, 1, kind.to_bytes(2, "big") + bytes(6) + bytes(n))
        for kind in (0, 1, 2, 3, 4, 5, 13, 0xFFFF)
        for n in (0, 8, 40)
    ]
    every = [frame(version, kind, 1, bytes(n)) for kind in range(36) for n in (0, 4, 8, 16, 32)]
    return [frame(version, 14, 1, flow_mod), *extra, *stats, *every]


def mutate(data: bytes, rng: random.Random) -> bytes:
    """The message with a few bytes wrong, cut or repeated; its length field mostly right."""
    raw = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        kind = rng.random()
        at = rng.randrange(len(raw)) if raw else 0
        if kind < 0.6 and raw:
            raw[at] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))
        elif kind < 0.8:
            del raw[at : at + rng.randint(1, 16)]
        else:
            raw[at:at] = raw[at : at + rng.randint(1, 24)]
    if len(raw) >= 4 and rng.random() < 0.9:
        raw[2:4] = (len(raw) & 0xFFFF).to_bytes(2, "big")
    return bytes(raw)


def run(count: int, seed: int = 1) -> tuple[int, int]:
    """(accepted, refused) of `count` mutated messages.  Anything but OpenFlowError escapes."""
    rng = random.Random(seed)
    pool = {version: seeds(version) for version in range(1, 7)}
    accepted = refused = 0
    for _ in range(count):
        version = rng.randint(1, 6)
        data = mutate(rng.choice(pool[version]), rng)
        try:
            decode(data, Context(version, flow_mod_table_id=rng.random() < 0.5))
            accepted += 1
        except OpenFlowError as e:
            encode_error(e.code, version, data, 1)
            refused += 1
    return accepted, refused


def main() -> None:
    """Run, and say what memory did."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    run(count // 10, seed=2)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    accepted, refused = run(count)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(
        f"{count} messages: {accepted} accepted, {refused} refused; memory {before} -> {after} KiB"
    )
    if after > before + 200_000:
        raise SystemExit("memory grows")


if __name__ == "__main__":
    main()
