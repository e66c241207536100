"""Errors of our own: what went wrong, where, and what to do about it."""

from __future__ import annotations


class GossamerError(Exception):
    """Base of every error a user may meet.

    `place` names where it happened (``file:line``, ``bridge=br0 table=3``, an
    OVSDB row) and `remedy` says what to do; the CLI prints both in two lines.
    """

    def __init__(self, message: str, *, place: str = "", remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.place = place
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.place}: {self.message}" if self.place else self.message


class PacketError(GossamerError):
    """A packet that cannot be parsed or changed as asked."""


class FieldError(GossamerError):
    """A field, value or mask that the specification does not allow."""


class DatapathError(GossamerError):
    """The kernel refused something the datapath asked of it."""


class UnsupportedActionError(DatapathError):
    """An action that the datapath cannot carry out, whatever room there is."""


class DeviceError(GossamerError):
    """A network device that is missing, busy or of the wrong kind."""


class ExportError(GossamerError):
    """A collector of flow records that cannot be told anything."""


class DatabaseError(GossamerError):
    """The state database is unreachable, or a row holds an invalid value."""


class TopologyError(GossamerError):
    """A topology file that cannot be understood or realised."""
