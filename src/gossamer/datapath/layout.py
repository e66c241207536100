"""The limits and records of bpf/*.h, for Python; tests/unit/datapath/test_layout.py compares both."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, IntFlag
from struct import Struct
from typing import Final

from gossamer.pipeline.fields import KEY_LEN

LAYOUT_VERSION: Final = 13
"""Raise when a record below changes: maps of another version are not taken over."""

CT_LAYOUT_VERSION: Final = 10
"""The same for the maps of bpf/conntrack.h alone, so that they outlive a change of the others.

Connections are taken over from another layout by the names of fields (conntrack/earlier.py): a field
that comes to mean something else wants another name."""

# bpf/limits.h
MAX_PORTS: Final = 16384
MAX_BRIDGES: Final = 256
LOW_IFINDEXES: Final = 65536
MAX_TABLES: Final = MAX_BRIDGES * 256
MAX_SUBTABLES: Final = 8192
MAX_TABLE_INDEX: Final = 65536
MAX_MEMBERS: Final = 65536
MAX_FLOWS: Final = 1 << 20
FILTER_WORDS: Final = 1 << 19
MAX_MASKS: Final = 1024
BRIDGE_SHIFT: Final = 10
VERSION_SHIFT: Final = 18
"""A bridge's version is generation, bridge and cache mask; masks have as many numbers as fit."""
MATCH_WORDS: Final = 48
CACHE_WORDS: Final = 56
CACHE_SETS: Final = 2048
SMALL_OPS: Final = 4
LARGE_OPS: Final = 64
CACHED_OPS: Final = 24
CACHED_FLOWS: Final = 16
MAX_GROUPS: Final = 65536
MAX_BUCKETS: Final = 131072
GROUP_WORDS: Final = 24
MAX_TTL_CONTROLLERS: Final = 4
MAX_WRITERS: Final = 9
MAX_CHAIN: Final = 128
"""Groups that watch groups: how deep this is followed."""
MAX_LENGTHS: Final = 8
MAX_METERS: Final = 16384
METER_SHIFT: Final = 7
"""Meters count time in 1/128 ns."""
MAX_BANDS: Final = 8
MAX_OPTIONS: Final = 14
"""Words that Geneve's options have in a bridge's key, all together."""
OVER_IPV6: Final = 0x80
"""Beside the kind of an endpoint."""
INJECT_MARK: Final = 0x60550A3E
CUT_MARK: Final = 0x60550B00
INJECT_ARRIVED: Final = 0x60550A3F
CAPTURE_ARRIVED: Final = 1 << 31
MAX_CONNECTIONS: Final = 3_000_000
CT_CHUNK: Final = 65536
CT_CHUNKS: Final = 46
CT_SLOT_BITS: Final = 22
CT_HOME_LINES: Final = 1 << 17
CT_MORE_LINES: Final = 1 << 19
CT_LEAST_REACH: Final = 8192
CT_ZONES: Final = 65536
CT_POLICIES: Final = 1024
CT_NAT_RULES: Final = 65536
CT_EXPECTATIONS: Final = 65536

KEY_CLASSES: Final = (3, 7, 15, MATCH_WORDS)
"""Words (beside the subtable's number) that keys of each rules_* map have."""

TABLE_MISS: Final = 1 << 31
LARGE_PROGRAM: Final = 1 << 31

# Records, in the host's byte order.
PORT: Final = Struct("=IIIHBBH6sIIQQQQ32s")
OFPORT_KEY: Final = Struct("=II")
TRUNKS: Final = Struct("=64Q")
PORT_COUNTERS: Final = Struct("=6Q")
BRIDGE: Final = Struct("=QQQIIII16s8HII")
LENGTHS_OFFSET: Final = 56
"""Of the lengths that rules ask about, in struct bridge."""
MATCH_WORD: Final = Struct("=HHI")
SUBTABLE_HEAD: Final = Struct("=IHBBQ")
"""number, n_words, key_class, conjunctive, filter"""
SUBTABLE_SIZE: Final = SUBTABLE_HEAD.size + MATCH_WORDS * MATCH_WORD.size
TABLE: Final = Struct("=QII")
SINCE: Final = Struct("=Q")
"""The version from which on the first of the two states that follow counts."""
RULE: Final = Struct("=QIIIIIIII")
RULE_STATE: Final = Struct("=IIII")
FLOW_COUNTERS: Final = Struct("=QQQII")
CACHE_MASK_HEAD: Final = Struct("=II")
CACHE_MASK_SIZE: Final = CACHE_MASK_HEAD.size + CACHE_WORDS * MATCH_WORD.size
OP: Final = Struct("=BBHIII")
PROGRAM_HEAD: Final = Struct("=II")
GROUP_KEY: Final = Struct("=II")
GROUP_HEAD: Final = Struct("=QIIIIII")
GROUP_STATE_SIZE: Final = GROUP_HEAD.size + GROUP_WORDS * MATCH_WORD.size
GROUP_SIZE: Final = SINCE.size + 2 * GROUP_STATE_SIZE
METER_KEY: Final = Struct("=II")
METER: Final = Struct("=QII")
BANDS_HEAD: Final = Struct("=BBB5x")
BAND: Final = Struct("=QQQII")
BANDS_SIZE: Final = BANDS_HEAD.size + MAX_BANDS * BAND.size
METER_STATE: Final = Struct(f"={MAX_BANDS}Q")
METER_COUNTS: Final = Struct(f"={2 + 2 * MAX_BANDS}Q")
BUCKET: Final = Struct("=IIIIII")
CT_TUPLE: Final = Struct("=16s16s2s2sBBH")
CT_CONNECTION: Final = Struct("=IIQ2Q2QI4s16s" + 2 * "IIHBB" + "16s16s2s2sHBB")
CT_LINE: Final = Struct("=I4x14I")
CT_RECORD_SIZE: Final = 192
CT_REPLY_AT: Final = 96
"""Bytes of struct ct_record, and where `reply` is in struct ct_connection."""
CT_ZONE: Final = Struct("=IIHH4x")
CT_POLICY: Final = Struct("=12I")
CT_CONFIG: Final = Struct("=4IQ4I10I")
CT_FRAGMENT_EPOCHS: Final = 4
CT_FRAGMENT_EPOCH_NS: Final = 5_000_000_000
CT_SHARED: Final = Struct("=I60xIII52xI60xI60x8I32x")
CT_NAT_RULE: Final = Struct("=I16s16sHHI")
CT_EXPECTATION: Final = Struct("=40s16sH2s4s16s")
CT_SEQUENCES: Final = Struct("=" + 2 * "Iii")
CT_EVENT: Final = Struct("=QII40s4sI2Q2Q")
FDB_KEY: Final = Struct("=H6sHH")
FDB_ENTRY: Final = Struct("=IIQ")
POLICE_BUCKET_SIZE: Final = 32
TUNNEL: Final = Struct("=16s16s8sI2sBBBBBBIBBxxIII")
TUNNEL_KIND_OFFSET: Final = 46
ENDPOINT: Final = Struct("=16s16s8s2sBBI")
SOURCE_KEY: Final = Struct("=II")
TUNNEL_CONFIG_SIZE: Final = 24
TUNNEL_OPTIONS_SIZE: Final = 4 * (MAX_OPTIONS + 2)
UDP_PORT_WORDS: Final = 2048
QUEUE_UNKNOWN: Final = 0xFFFF
WROTE: Final = Struct(f"={MAX_WRITERS}I")
PUNT_HEAD: Final = Struct(f"=9I2s2sI{4 * MAX_WRITERS}s{KEY_LEN}s")
PATH_HEAD: Final = Struct("=QQQQIHBB")
"""version, packets, bytes, used, hash, n_ops, n_flows, uses_state"""
PATH_KEY_OFFSET: Final = PATH_HEAD.size + CACHED_OPS * OP.size
PATH_FLOWS_OFFSET: Final = PATH_KEY_OFFSET + CACHE_WORDS * 4
PATH_SIZE: Final = PATH_FLOWS_OFFSET + CACHED_FLOWS * 8 + 8


class PortFlag(IntFlag):
    """struct port, flags."""

    RECEIVE = 1 << 0
    FORWARD = 1 << 1
    FLOOD = 1 << 2
    UP = 1 << 3
    PEER_MAC = 1 << 4
    ALL_VLANS = 1 << 5
    POLICED = 1 << 6
    PACKET_IN = 1 << 7
    LIVE = 1 << 8


FORWARD_BPDU: Final = 1
ASKS_LENGTHS: Final = 2
FRAG_NORMAL: Final = 4
FRAG_DROP: Final = 8
SAMPLES: Final = 16
"""struct bridge, flags."""


class CtFlag(IntFlag):
    """struct ct_connection, flags."""

    SWAPPED = 1 << 0
    SRC_NAT = 1 << 1
    DST_NAT = 1 << 2
    EXPECTED = 1 << 3
    REPLIED = 1 << 4


class CtConfigFlag(IntFlag):
    """struct ct_config, flags."""

    NO_SEQUENCE_CHECK = 1 << 0
    TELL_NEW = 1 << 1
    TELL_INVALID = 1 << 2
    TELL_GONE = 1 << 3
    NO_IPV4_FRAGMENTS = 1 << 4
    NO_IPV6_FRAGMENTS = 1 << 5
    INHERITS = 1 << 6


CT_TRANSLATED: Final = 0x80
CT_ALIAS: Final = 0x40
"""Beside the family, in the keys of connections whose addresses are translated."""
CT_WSCALE_FLAG: Final = 0x80
CT_WSCALE_UNKNOWN: Final = 0x40
CT_WSCALE_MASK: Final = 0x0F
"""struct ct_peer, wscale."""
CT_ZONE_LIMITED: Final = 1
"""struct ct_zone, flags."""

CT_TIMEOUTS: Final = (
    "tcp_syn_sent",
    "tcp_syn_recv",
    "tcp_established",
    "tcp_fin_wait",
    "tcp_time_wait",
    "tcp_close",
    "udp_first",
    "udp_single",
    "udp_multiple",
    "icmp_first",
    "icmp_reply",
)
"""enum ct_timeout, in its order."""

CT_FRAGMENT_COUNTS: Final = ("accepted", "completed", "unknown", "short", "overlap")
"""enum ct_fragment_count, in its order."""
CT_COUNTS: Final = (
    "created",
    "expired",
    "evicted",
    "full",
    "zone_full",
    "nat_full",
    "invalid",
    "tcp_flags",
    "tcp_sequence",
    *(f"fragments_{family}_{count}" for family in ("v4", "v6") for count in CT_FRAGMENT_COUNTS),
)
"""enum ct_count, in its order."""

CT_TCP_STATES: Final = (
    "CLOSED",
    "LISTEN",
    "SYN_SENT",
    "SYN_RECV",
    "ESTABLISHED",
    "CLOSE_WAIT",
    "FIN_WAIT_1",
    "CLOSING",
    "LAST_ACK",
    "FIN_WAIT_2",
    "TIME_WAIT",
)
"""enum ct_tcp_state, in its order."""


class TunnelFlag(IntFlag):
    """bpf/tunnel.h, struct tunnel, flags."""

    REMOTE_FLOW = 1 << 0
    LOCAL_FLOW = 1 << 1
    OUT_KEY = 1 << 2
    OUT_KEY_FLOW = 1 << 3
    TTL_INHERIT = 1 << 4
    TOS_INHERIT = 1 << 5
    CSUM = 1 << 6
    DF = 1 << 7
    SEQ = 1 << 8
    GBP = 1 << 9
    GPE = 1 << 10
    VERSION_FLOW = 1 << 11
    INDEX_FLOW = 1 << 12
    DIRECTION_FLOW = 1 << 13
    HWID_FLOW = 1 << 14
    MARK = 1 << 15


class Wild(IntFlag):
    """bpf/tunnel.h, struct endpoint: what any packet may have, and what an entry is for."""

    KEY = 1 << 0
    REMOTE = 1 << 1
    LOCAL_ANY = 1 << 2
    LOCAL_FLOW = 1 << 3
    KNOWN_KEY = 1 << 4
    KNOWN_REMOTE = 1 << 5


class ParseDepth(IntEnum):
    """How deep the parser must look."""

    L2 = 0
    L4 = 1


@dataclass(frozen=True, slots=True)
class ListRef:
    """A list in an index array: what `LIST_OFFSET` and `LIST_LENGTH` take apart."""

    offset: int
    length: int

    def __int__(self) -> int:
        return self.offset << 32 | self.length
