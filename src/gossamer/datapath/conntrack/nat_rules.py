"""The ranges that nat() translates to, as the kernel has them: `struct ct_nat_rule` by a number."""

from __future__ import annotations

import hashlib
from collections import Counter

from gossamer.datapath import layout
from gossamer.datapath.maps import HashMap
from gossamer.errors import DatapathError
from gossamer.pipeline.action_ct import Nat
from gossamer.pipeline.format_ct import format_nat


def image_of(nat: Nat) -> bytes:
    """`struct ct_nat_rule`."""
    flags = int(nat.src) | nat.dst << 1 | nat.persistent << 2 | nat.hash << 3 | nat.random << 4
    first, last = nat.addresses or (b"", b"")
    ports = nat.ports or (0, 0)
    family = {0: 0, 4: 4, 16: 6}[len(first)]
    return layout.CT_NAT_RULE.pack(flags, first.ljust(16, b"\0"), last.ljust(16, b"\0"), *ports, family)


def nat_of(image: bytes) -> Nat:
    """The counterpart of image_of()."""
    flags, first, last, low, high, family = layout.CT_NAT_RULE.unpack(image)
    n_bytes = {0: 0, 4: 4, 6: 16}[family]
    addresses = (first[:n_bytes], last[:n_bytes]) if n_bytes else None
    src, dst, persistent, hashed, random = (bool(flags >> i & 1) for i in range(5))
    ports = (low, high) if low else None
    return Nat(src, dst, addresses, ports, persistent=persistent, hash=hashed, random=random)


class NatRules:
    """Each is there as long as some program asks for it.

    A number is made from what the range says, so that it is the same after a
    restart of the daemon.  Connections remember what was decided for them,
    and outlive the rule.
    """

    def __init__(self, rules: HashMap) -> None:
        self._rules = rules
        self._users: Counter[int] = Counter()

    def acquire(self, image: bytes) -> int:
        """The number of a range, written where it is new; one more program asks for it.

        Raises DatapathError where the kernel can hold no more.
        """
        number = int.from_bytes(hashlib.sha256(image).digest()[:4], "little") | 1
        for _ in range(layout.CT_NAT_RULES):
            present = self._rules.get(number.to_bytes(4, "little"))
            if present is None:
                self._rules.put(number.to_bytes(4, "little"), image)
            if present in (None, image):
                self._users[number] += 1
                return number
            number = (number + 2) & 0xFFFFFFFF
        raise DatapathError(
            "more nat() ranges than the kernel can hold",
            remedy=f"flows may have {layout.CT_NAT_RULES} different ones at a time",
        )

    def release(self, number: int) -> None:
        """One program less asks for it; call when no packet is on its way through that."""
        self._users[number] -= 1
        if not self._users[number]:
            del self._users[number]
            self._rules.delete(number.to_bytes(4, "little"))

    def text(self, number: int) -> str:
        """The nat() that a number stands for, as a rule has it; ``nat`` for 0 and one that is gone."""
        image = self._rules.get(number.to_bytes(4, "little")) if number else None
        return "nat" if image is None else format_nat(nat_of(image))

    def disinherit(self) -> None:
        """Delete those of an earlier daemon that nobody asked for again."""
        for key, _ in list(self._rules.items()):
            if int.from_bytes(key, "little") not in self._users:
                self._rules.delete(key)
