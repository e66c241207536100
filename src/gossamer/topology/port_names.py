"""Names of ports in flows: a file cannot know the numbers, so it says ``vm1.eth0``.

``vm1.eth0`` is the port that eth0 of instance vm1 is plugged into; any other
port of the bridge goes by its own name.  Names become OpenFlow port numbers
before a flow is compared or sent: ovs-ofctl(8) understands them only when it
sends.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final

_INSTANCE_PORT: Final = re.compile(r"(?<![\w.-])([a-z][a-z0-9-]*)\.eth([0-9]+)(?![\w.-])")
_TOKEN: Final = re.compile(
    r'(?P<before>in_port=|in_phy_port=|output:|output\(port=|enqueue:)?'
    r'(?:"(?P<quoted>[^"]+)"|(?<![\w.])(?P<bare>[A-Za-z][\w.-]*))'
)
_OWN_WORD: Final = re.compile(r"[.-]")
"""No field and no action has these in its name, so such a word is a port wherever it stands."""


class UnknownPort(LookupError):
    """A flow names a port that the bridge does not have; the argument is the name."""


def instance_ports(flow: str) -> Iterator[tuple[str, int]]:
    """The ports of instances that a flow names."""
    for found in _INSTANCE_PORT.finditer(flow):
        yield found[1], int(found[2])


def numbered(flow: str, numbers: Mapping[str, int | str]) -> str:
    """The flow with numbers in place of names.

    Raises UnknownPort for what can only be a port and has no number.
    """

    def replace(found: re.Match[str]) -> str:
        name = found["quoted"] or found["bare"]
        certain = found["before"] or found["quoted"] or _OWN_WORD.search(name)
        if certain and name in numbers:
            return f"{found['before'] or ''}{numbers[name]}"
        if _INSTANCE_PORT.fullmatch(name) or (found["before"] and _OWN_WORD.search(name)):
            raise UnknownPort(name)
        return found[0]

    return _TOKEN.sub(replace, flow)
