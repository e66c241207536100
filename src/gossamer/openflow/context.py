"""What a connection has agreed on, by which its messages are read and written."""

from __future__ import annotations

from dataclasses import dataclass

from gossamer.openflow.message import FlowFormat


@dataclass(slots=True)
class Context:
    """The version, and what else was agreed on."""

    version: int
    flow_format: FlowFormat = FlowFormat.OPENFLOW10
    flow_mod_table_id: bool = False
