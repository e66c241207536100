"""What the switch tells the datapath of bridges and ports, and what it hears back."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from gossamer.pipeline.fields import KEY_LEN


class PortKind(IntEnum):
    """How packets reach and leave a port (bpf/port.h)."""

    DEVICE = 1
    INTERNAL = 2
    PATCH = 3
    TUNNEL = 4
    """No device: `Datapath.set_tunnel()` says what packets are wrapped in."""


class VlanMode(IntEnum):
    """ovs-vswitchd.conf.db(5), Port vlan_mode."""

    ACCESS = 0
    TRUNK = 1
    NATIVE_TAGGED = 2
    NATIVE_UNTAGGED = 3


class MissAction(IntEnum):
    """What a table does with a packet no flow matches (OFPTC_TABLE_MISS_*)."""

    DROP = 0
    CONTROLLER = 1
    CONTINUE = 2


@dataclass(frozen=True, slots=True)
class BridgeSettings:
    """A bridge's learning: entries older than `mac_ageing_s` are forgotten, at most
    `mac_table_size` are kept; `forward_bpdu` lets NORMAL forward 01:80:c2:00:00:0x."""

    mac_ageing_s: int = 300
    mac_table_size: int = 8192
    forward_bpdu: bool = False


@dataclass(frozen=True, slots=True)
class PortSettings:
    """A port.

    `tag` is the access VLAN, or the native one; an empty `trunks` carries all.
    `live` says whether its link is up too, which is what watching groups look
    at.  `peer_mac` is the address of a veth's other end where that is in another
    network namespace, None otherwise.  Policing: rates in kbit/s and
    kpackets/s, bursts in kbit and kpackets, 0 meaning no limit
    (ovs-vswitchd.conf.db(5), ingress_policing_*).
    """

    name: str
    ofport: int
    kind: PortKind = PortKind.DEVICE
    ifindex: int = 0
    patch_peer: int | None = None
    vlan_mode: VlanMode = VlanMode.TRUNK
    tag: int = 0
    trunks: frozenset[int] = frozenset()
    flood: bool = True
    forward: bool = True
    receive: bool = True
    up: bool = True
    live: bool = True
    packet_in: bool = True
    policing_rate_kbps: int = 0
    policing_burst_kb: int = 0
    policing_rate_kpps: int = 0
    policing_burst_kpkts: int = 0
    peer_mac: bytes | None = None


@dataclass(frozen=True, slots=True)
class PortStatistics:
    """Packets and bytes of a port, as the switch sees them."""

    rx_packets: int = 0
    rx_bytes: int = 0
    rx_dropped: int = 0
    tx_packets: int = 0
    tx_bytes: int = 0
    tx_dropped: int = 0


@dataclass(frozen=True, slots=True)
class TableStatistics:
    """Lookups in a flow table, and how many of them found a flow."""

    lookups: int
    matched: int


@dataclass(frozen=True, slots=True)
class FdbEntry:
    """An address: learned, or put there by hand (`fixed`)."""

    vlan: int
    mac: bytes
    port_id: int
    age_s: float
    fixed: bool = False


@dataclass(frozen=True, slots=True)
class FdbTotals:
    """What happened to a bridge's addresses since the daemon began, or was told to forget it."""

    learned: int = 0
    expired: int = 0
    evicted: int = 0
    moved: int = 0


class PuntReason(IntEnum):
    """Reasons of punts that are for the daemon itself; the others are OpenFlow's."""

    LEARN = 0x80
    """`userdata_id` is that of the learn action: `Packets.learn_action()`."""
    FIN = 0x81
    """A FIN or RST passed a flow with fin_timeout."""
    SLOW = 0x82
    """The kernel cannot do all that the rules say: the packet begins anew in the reference
    pipeline, at the table before `table_id` where that is not 0.  Nothing is credited with it yet;
    `controller_id` is its length as it entered the switch, which it is to be credited with."""
    CT_ALG = 0x83
    """Payload of a connection with a helper: `data` is the packet as it is at its ct(), held under
    the id `userdata_id` until `Packets.let_go_on()`; the key has ct_zone, the port is the one it
    entered the switch by."""
    SAMPLE = 0x84
    """A sampled packet: its key says all; `userdata_id` is that of the sample action."""


@dataclass(frozen=True, slots=True)
class Punt:
    """A packet for the controllers.

    `key` is the flow key where it stood (registers, metadata, in_port),
    `data` the frame with its VLAN tags, cut to max_len; `total_len` its whole
    length.  `flow_id` is 0 where no flow sent it (a table miss).
    """

    bridge_id: int
    in_port_id: int
    reason: int
    controller_id: int
    table_id: int
    flow_id: int
    userdata_id: int
    max_len: int
    total_len: int
    key: int
    data: bytes
    gso_size: int = 0
    """Bytes of payload a segment where the frame is a train of TCP segments."""
    wrote: tuple[int, ...] = ()
    """With SLOW, after a ct(): flows whose write_actions, in this order, made the action set that the
    packet has brought."""

    @property
    def in_port(self) -> int:
        """OpenFlow number of the ingress port."""
        return self.key >> ((KEY_LEN - 4) * 8)
