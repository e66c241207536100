"""dpctl/ipf-*: which fragments are tracked (ovs-dpctl(8)).

The peer keeps fragments until a datagram is whole; here the later ones pass by
what the first one said (docs/conntrack.md, Fragments).  So what is limited is not
how many are kept, but how many there have been of datagrams that are not whole.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from gossamer.daemon.appctl.dpctl_arguments import DpctlError, options
from gossamer.datapath.conntrack.config import MAX_FRAGMENTS
from gossamer.switch.ct_match import number_of

if TYPE_CHECKING:
    from gossamer.datapath.conntrack import Conntrack

Row = tuple[str, int, int, Callable[[Sequence[str]], str]]
_SHORTEST: Final = 400
"""Bytes of an IP packet: what the peer takes for the least that a minimum may be."""
_FAMILIES: Final = ("v4", "v6")


class FragmentCommands:
    """The commands; `open_datapath` takes the datapath's name off the arguments, where one is given."""

    def __init__(
        self,
        conntrack: Callable[[], Conntrack],
        open_datapath: Callable[[list[str], int], list[str]],
    ) -> None:
        self._conntrack = conntrack
        self._open = open_datapath

    def commands(self) -> dict[str, Row]:
        """Usage, least and most arguments, and what to run, by the name after ``dpctl/``."""
        return {
            "ipf-set-enabled": ("[dp] v4|v6", 1, 2, lambda argv: self.enable(argv, on=True)),
            "ipf-set-disabled": ("[dp] v4|v6", 1, 2, lambda argv: self.enable(argv, on=False)),
            "ipf-set-min-frag": ("[dp] v4|v6 minfragment", 2, 3, self.set_shortest),
            "ipf-set-max-nfrags": ("[dp] maxfrags", 1, 2, self.set_most),
            "ipf-get-status": ("[dp]", 0, 1, self.status),
        }

    def enable(self, argv: Sequence[str], *, on: bool) -> str:
        """Whether fragments of a family are tracked, or invalid."""
        _, args = options(argv)
        args = self._open(args, 3)  # as in the peer: of two, the first need be no datapath
        ipv6 = _family(args[-1] if args else "", "'v4' for IPv4 or 'v6' for IPv6")
        self._conntrack().config.track_fragments(ipv6, on)
        return f"{'enabling' if on else 'disabling'} fragmentation reassembly successful"

    def set_shortest(self, argv: Sequence[str]) -> str:
        """How long fragments but the last must be; 0: any length."""
        _, args = options(argv)
        args = self._open(args, 3)
        ipv6 = _family(args[0] if len(args) == 2 else "", "v4 for IPv4 or v6 for IPv6")
        length = number_of(args[1])
        if length is None or length >> 32:
            raise DpctlError("parameter missing for minimum fragment size", "Invalid argument")
        if 0 < length < _SHORTEST:
            raise DpctlError(
                "requested minimum fragment size too small; see documentation",
                "Operation not permitted",
            )
        self._conntrack().config.set_shortest_fragment(ipv6, length)
        return "setting minimum fragment size successful"

    def set_most(self, argv: Sequence[str]) -> str:
        """How many fragments there may be of datagrams that are not whole."""
        _, args = options(argv)
        args = self._open(args, 2)
        most = number_of(args[-1]) if args else None
        if most is None or most >> 32:
            raise DpctlError("parameter missing for maximum fragments", "Invalid argument")
        if most > MAX_FRAGMENTS:
            raise DpctlError("setting maximum fragments failed", "Operation not permitted")
        self._conntrack().config.max_fragments = most
        return "setting maximum fragments successful"

    def status(self, argv: Sequence[str]) -> str:
        """Settings, and how many fragments met which fate; with ``-m`` the peer's list of what waits
        to be whole, where nothing ever is: fragments pass one by one here."""
        asked, args = options(argv)
        self._open(args, 1)
        conntrack = self._conntrack()
        counts = conntrack.counters()
        lines = ["Fragmentation Module Status", "---------------------------"]
        lines += [
            f"{family} enabled: {int(conntrack.config.tracks_fragments(bool(ipv6)))}"
            for ipv6, family in enumerate(_FAMILIES)
        ]
        lines += [
            f"max num frags (v4/v6): {conntrack.config.max_fragments}",
            f"num frag: {conntrack.n_fragments}",
        ]
        for ipv6, family in enumerate(_FAMILIES):
            lines.append(f"min {family} frag size: {conntrack.config.shortest_fragment(bool(ipv6))}")
            lines += [
                f"{family} frags {shown}: {counts[f'fragments_{family}_{name}'] if name else 0}"
                for shown, name in (
                    ("accepted", "accepted"),
                    ("completed", "completed"),
                    ("expired", "unknown"),
                    ("too small", "short"),
                    ("overlapped", "overlap"),
                    ("purged", ""),
                )
            ]
        text = "".join(f"        {line}\n" for line in lines)
        return text + ("\n        Fragment Lists:\n\n" if asked.verbosity > 0 else "")


def _family(text: str, wanted: str) -> bool:
    if not text.startswith(_FAMILIES):
        raise DpctlError(f"parameter missing: {wanted}", "Invalid argument")
    return text.startswith("v6")
