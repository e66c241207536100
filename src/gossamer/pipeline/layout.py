"""Writes the flow key's layout as a C header, so that BPF and Python cannot disagree.

``python -m gossamer.pipeline.layout`` prints what bpf/flow_key.h must hold; a test compares them.
"""

from __future__ import annotations

from gossamer.pipeline.fields import FRAG_ANY, FRAG_LATER, KEY_LEN, PACKET_OFFSET, SLOTS, VLAN_CFI

_C_TYPES = {1: "__u8 {}", 2: "__be16 {}", 4: "__be32 {}", 8: "__be64 {}"}


def c_header() -> str:
    """The text of bpf/flow_key.h."""
    lines = [
        "/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */",
        "/* Generated from src/gossamer/pipeline/fields.py by gossamer.pipeline.layout: do not edit. */",
        "#ifndef GOSSAMER_FLOW_KEY_H",
        "#define GOSSAMER_FLOW_KEY_H",
        "",
        f"#define KEY_LEN {KEY_LEN}",
        "#define KEY_WORDS (KEY_LEN / 4)",
        f"#define PACKET_WORD {PACKET_OFFSET // 4} /* words before it are pipeline state */",
        "#define PACKET_WORDS (KEY_WORDS - PACKET_WORD)",
        f"#define VLAN_CFI {VLAN_CFI:#x}",
        f"#define FRAG_ANY {FRAG_ANY}",
        f"#define FRAG_LATER {FRAG_LATER}",
        "",
        "/* What the pipeline knows of a packet; every field in network byte order. */",
        "struct flow_key {",
    ]
    for slot in SLOTS.values():
        decl = _C_TYPES.get(slot.length, "__u8 {}[" + str(slot.length) + "]").format(slot.name)
        lines.append(f"\t{decl}; /* {slot.offset} */")
    lines += ["};", ""]
    lines += [
        f"#define WORD_{slot.name.upper()} {slot.offset // 4}"
        for slot in SLOTS.values()
        if not slot.name.startswith("_")
    ]
    lines += ["", "#endif"]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(c_header(), end="")
