"""The datapath: flows compiled into BPF maps, programs loaded, pinned and taken over."""

from gossamer.datapath.datapath import Datapath
from gossamer.datapath.settings import (
    BridgeSettings,
    FdbEntry,
    MissAction,
    PortKind,
    PortSettings,
    PortStatistics,
    Punt,
    TableStatistics,
    VlanMode,
)

__all__ = [
    "BridgeSettings",
    "Datapath",
    "FdbEntry",
    "MissAction",
    "PortKind",
    "PortSettings",
    "PortStatistics",
    "Punt",
    "TableStatistics",
    "VlanMode",
]
