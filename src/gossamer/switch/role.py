"""Roles of controllers (OpenFlow 1.3.5, 6.3.4)."""

from __future__ import annotations

from enum import IntEnum


class Role(IntEnum):
    """ofp_controller_role (OpenFlow 1.3.5, 7.3.9)."""

    EQUAL = 1
    MASTER = 2
    SLAVE = 3

    @property
    def database_name(self) -> str:
        """As Controller.role has it."""
        return {Role.EQUAL: "other", Role.MASTER: "master", Role.SLAVE: "slave"}[self]

    @property
    def rank(self) -> int:
        """Who matters most."""
        return {Role.SLAVE: 0, Role.EQUAL: 1, Role.MASTER: 2}[self]
