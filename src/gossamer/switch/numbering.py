"""OpenFlow port numbers: asked for, remembered, or the next one free.

A port keeps its number as long as it can: a device that vanishes and comes
back, or a daemon that restarts, must not make a controller's flows point at
another port.  So numbers are given in order and not used again soon, as Open
vSwitch does (ovs-vswitchd.conf.db(5), Interface.ofport_request).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from gossamer.errors import DeviceError

LOCAL: Final = 65534
"""Number of the bridge's own port, in the 16-bit form that the database shows."""
MAX_OFPORT: Final = 65279
"""0xfeff: the highest number that OpenFlow 1.0 can express for an ordinary port."""


class PortNumbers:
    """The numbers of one bridge's ports, by port name."""

    def __init__(self) -> None:
        self._by_name: dict[str, int] = {}
        self._names: dict[int, str] = {}
        self._last = 0
        self._remembered: dict[str, int] = {}

    def allocate(self, name: str, request: int | None, previous: int | None) -> int:
        """A number for port `name`.

        `request` wins where no other port has it; then the number it had
        before, then `previous` (of the database), then the next free one.
        Raises DeviceError when all numbers are taken.
        """
        if name in self._by_name:
            return self._by_name[name]
        for wanted in (request, self._remembered.get(name), previous):
            if wanted is not None and 1 <= wanted <= MAX_OFPORT and wanted not in self._names:
                return self._take(name, wanted)
        for step in range(1, MAX_OFPORT + 1):
            number = (self._last + step - 1) % MAX_OFPORT + 1
            if number not in self._names:
                self._last = number
                return self._take(name, number)
        raise DeviceError(
            "no OpenFlow port number is free", place=name, remedy="remove ports of this bridge"
        )

    def wants_other(self, name: str, request: int | None) -> bool:
        """Whether a port has another number than the one it asks for, and could have that."""
        return (
            request is not None
            and self._by_name.get(name, request) != request
            and request not in self._names
        )

    def wanting_others(self, requests: Mapping[str, int]) -> list[str]:
        """Those of many ports that want another number, with what they ask for by name."""
        given, taken = self._by_name, self._names
        return [
            name
            for name, request in requests.items()
            if name in given and given[name] != request and request not in taken
        ]

    def release(self, name: str, *, remember: bool) -> None:
        """Give a number back; with `remember` the name gets it again if it can."""
        number = self._by_name.pop(name, None)
        if number is not None:
            del self._names[number]
        if remember and number is not None:
            self._remembered[name] = number
        else:
            self._remembered.pop(name, None)

    def _take(self, name: str, number: int) -> int:
        self._by_name[name] = number
        self._names[number] = name
        self._last = max(self._last, number) if number <= MAX_OFPORT else self._last
        return number
