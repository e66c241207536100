"""What an earlier daemon left pinned goes on, until all is there again; then the rest of it goes."""

from __future__ import annotations

import logging
import time
from pathlib import Path

from gossamer.datapath import loader
from gossamer.datapath.conntrack.earlier import EarlierConnections
from gossamer.datapath.layout import CtConfigFlag
from gossamer.datapath.parts import Parts
from gossamer.datapath.publish import Publisher
from gossamer.errors import DatapathError

log = logging.getLogger(__name__)


class Takeover:
    """From the start of a daemon to its `end()`; rules of our layout, or connections of another."""

    def __init__(self, pin_dir: Path, parts: Parts, publisher: Publisher) -> None:
        self._pin_dir = pin_dir
        self._parts = parts
        self._publisher = publisher
        if self.takes_rules:
            parts.inherit()
        self._earlier = self._inherit_connections()

    @property
    def takes_rules(self) -> bool:
        """Whether what an earlier daemon left counts still: `end()` has not been called."""
        return self._publisher.takeover

    @property
    def found_running(self) -> bool:
        """Whether devices had programs already, which go on by themselves."""
        return self.takes_rules or self._parts.ports.waits

    def _inherit_connections(self) -> EarlierConnections | None:
        """Take over connections whose maps are laid out otherwise.  What is left to do at the end, None:
        nothing."""
        parts = self._parts
        folder = loader.earlier_connections(self._pin_dir)
        earlier = None
        if folder is not None:
            try:
                opened = EarlierConnections(folder, parts.loaded.map_fds, parts.conntrack)
                began = time.monotonic()
                n = opened.begin()
                log.info("connections=%d: from %s, in %.1f s", n, folder.name, time.monotonic() - began)
                earlier = opened
            except DatapathError as e:
                log.warning("%s: connections are forgotten: %s", folder.name, e)
        if earlier is None:
            parts.conntrack.config.set_flag(CtConfigFlag.INHERITS, False)
        loader.join(parts.loaded)
        if earlier is not None and self.takes_rules:
            # All ports are known: where all change at once, few packets see half of a connection.
            parts.switch_over()
            earlier.end()
            return None
        if not self.takes_rules and loader.has_earlier(self._pin_dir):
            # There are no rules yet, and other programs that have some.
            parts.wait()
        return earlier

    def end(self) -> None:
        """Remove what was not added again, and what is pinned in another layout."""
        parts, publisher = self._parts, self._publisher
        if parts.ports.waits:
            parts.switch_over()
        if self._earlier is not None:
            self._earlier.end()
            self._earlier = None
        loader.remove_earlier(self._pin_dir)
        if not self.takes_rules:
            return
        publisher.takeover = False
        # What is new, and what is gone, of each bridge at once; then what no rule refers to.
        parts.flows.disinherit()
        parts.groups.disinherit()
        parts.meters.disinherit()
        publisher.touch_all()
        parts.grace.settle()
        parts.programs.disinherit()
        parts.conntrack.nat_rules.disinherit()
        parts.ports.disinherit()
        for bridge_id in parts.bridges.unclaimed():
            parts.bridges.remove(bridge_id)
        for bridge_id in parts.bridges.ids():
            publisher.list_members(bridge_id)
        parts.tunnels.disinherit()
        parts.tunnels.set_relay(parts.ports.internal_ifindex())
        parts.uplinks.disinherit()
        publisher.touch_all()
