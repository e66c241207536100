"""What kind of port an interface asks for (ovs-vswitchd.conf.db(5), Interface.type)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gossamer.datapath.settings import PortKind
from gossamer.errors import DeviceError
from gossamer.switch.tunnel_options import TUNNEL_TYPES, UNSUPPORTED

if TYPE_CHECKING:
    from gossamer.switch.config import InterfaceConfig

MAX_NAME_BYTES: Final = 15
"""Of a device's name: IFNAMSIZ less the NUL at its end."""
_SYSTEM_TYPES: Final = ("", "system")


def kind_of(interface: InterfaceConfig, bridge: str) -> PortKind:
    """The kind of port that an interface of a bridge is to be.

    Raises DeviceError, in words of ovs-vswitchd, where it cannot be any.
    """
    name = interface.name
    if name == bridge or interface.type == "internal":
        return PortKind.INTERNAL
    if interface.type in _SYSTEM_TYPES:
        return PortKind.DEVICE
    if interface.type == "patch":
        peer = interface.options.get("peer", "")
        if not peer:
            raise DeviceError(
                f"{name}: patch type requires valid 'peer' argument",
                place=f"bridge={bridge} port={name}",
                remedy="set options:peer to the name of the other patch port",
            )
        if peer == name:
            raise DeviceError(
                f"{name}: patch peer must not be self",
                place=f"bridge={bridge} port={name}",
                remedy="set options:peer to the name of the other patch port",
            )
        return PortKind.PATCH
    if interface.type in TUNNEL_TYPES:
        return PortKind.TUNNEL
    if interface.type in UNSUPPORTED:
        raise DeviceError(
            f"{name}: tunnels of type {interface.type} are not supported",
            place=f"bridge={bridge} port={name}",
            remedy=f"types there are: {', '.join(sorted(TUNNEL_TYPES))}",
        )
    raise DeviceError(
        f"could not open network device {name} (Address family not supported by protocol)",
        place=f"bridge={bridge} port={name}",
        remedy=f"interface type {interface.type!r} is not known",
    )


def check_name(name: str, place: str) -> None:
    """Raises DeviceError for what the kernel takes for no device's name (its dev_valid_name())."""
    if (
        len(name.encode()) > MAX_NAME_BYTES
        or name in ("", ".", "..")
        or any(c in "/:" or c.isspace() for c in name)
    ):
        raise DeviceError(
            f"{name!r} cannot be the name of a network device (at most {MAX_NAME_BYTES} bytes, "
            "no spaces, '/' or ':')",
            place=place,
            remedy="choose another name",
        )
