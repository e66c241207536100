"""Actions that choose one of several links or ports by a hash: multipath and bundle."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from gossamer.pipeline.action import Action, SubField


class HashFields(IntEnum):
    """What multipath and bundle hash over (enum nx_hash_fields)."""

    ETH_SRC = 0
    SYMMETRIC_L4 = 1
    SYMMETRIC_L3L4 = 2
    SYMMETRIC_L3L4_UDP = 3
    NW_SRC = 4
    NW_DST = 5
    SYMMETRIC_L3 = 6


class MultipathAlgorithm(IntEnum):
    """How a hash becomes a link (enum nx_mp_algorithm)."""

    MODULO_N = 0
    HASH_THRESHOLD = 1
    HRW = 2
    ITER_HASH = 3


@dataclass(frozen=True, slots=True)
class Multipath(Action):
    """Choose one of `n_links` links by a hash, into a subfield (NXAST_MULTIPATH)."""

    fields: HashFields
    basis: int
    algorithm: MultipathAlgorithm
    n_links: int
    arg: int
    dst: SubField


class BundleAlgorithm(IntEnum):
    """How a bundle chooses a member (enum nx_bd_algorithm)."""

    ACTIVE_BACKUP = 0
    HRW = 1


@dataclass(frozen=True, slots=True)
class Bundle(Action):
    """Choose a live member port by a hash: output to it, or with `dst` load its number there
    (NXAST_BUNDLE, NXAST_BUNDLE_LOAD)."""

    fields: HashFields
    basis: int
    algorithm: BundleAlgorithm
    members: tuple[int, ...]
    dst: SubField | None = None
