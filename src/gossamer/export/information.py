"""Information elements of IPFIX: what a value in a record means (IANA's registry "ipfix"; RFC 7012).

Elements of a tunnel are VMware's, by whose numbers Open vSwitch exports them too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

VARIABLE: Final = 0xFFFF
"""The length of an element whose values say theirs themselves (RFC 7011, section 7)."""
VMWARE: Final = 6876


@dataclass(frozen=True, slots=True)
class Element:
    """An information element; `length` in bytes, `enterprise` 0 for IANA's own."""

    name: str
    number: int
    length: int
    enterprise: int = 0

    def specifier(self) -> bytes:
        """The field specifier of a template (RFC 7011, section 3.2)."""
        head = (self.number | (0x8000 if self.enterprise else 0)).to_bytes(2, "big")
        head += self.length.to_bytes(2, "big")
        return head + self.enterprise.to_bytes(4, "big") if self.enterprise else head

    def encode(self, value: int | bytes) -> bytes:
        """A value in a record; a number that is too large is the largest there is."""
        if isinstance(value, int):
            return min(value, (1 << 8 * self.length) - 1).to_bytes(self.length, "big")
        if self.length != VARIABLE:
            return value
        if len(value) < 255:
            return bytes((len(value),)) + value
        return b"\xff" + len(value).to_bytes(2, "big") + value


OCTET_DELTA: Final = Element("octetDeltaCount", 1, 8)
PACKET_DELTA: Final = Element("packetDeltaCount", 2, 8)
PROTOCOL: Final = Element("protocolIdentifier", 4, 1)
CLASS_OF_SERVICE: Final = Element("ipClassOfService", 5, 1)
SOURCE_PORT: Final = Element("sourceTransportPort", 7, 2)
SOURCE_IPV4: Final = Element("sourceIPv4Address", 8, 4)
INGRESS_INTERFACE: Final = Element("ingressInterface", 10, 4)
DESTINATION_PORT: Final = Element("destinationTransportPort", 11, 2)
DESTINATION_IPV4: Final = Element("destinationIPv4Address", 12, 4)
EGRESS_INTERFACE: Final = Element("egressInterface", 14, 4)
MINIMUM_LENGTH: Final = Element("minimumIpTotalLength", 25, 8)
MAXIMUM_LENGTH: Final = Element("maximumIpTotalLength", 26, 8)
SOURCE_IPV6: Final = Element("sourceIPv6Address", 27, 16)
DESTINATION_IPV6: Final = Element("destinationIPv6Address", 28, 16)
FLOW_LABEL: Final = Element("flowLabelIPv6", 31, 4)
SOURCE_MAC: Final = Element("sourceMacAddress", 56, 6)
VLAN_ID: Final = Element("vlanId", 58, 2)
IP_VERSION: Final = Element("ipVersion", 60, 1)
FLOW_DIRECTION: Final = Element("flowDirection", 61, 1)
DESTINATION_MAC: Final = Element("destinationMacAddress", 80, 6)
INTERFACE_NAME: Final = Element("interfaceName", 82, VARIABLE)
FLOW_END_REASON: Final = Element("flowEndReason", 136, 1)
OBSERVATION_POINT: Final = Element("observationPointId", 138, 4)
FLOW_START: Final = Element("flowStartDeltaMicroseconds", 158, 4)
FLOW_END: Final = Element("flowEndDeltaMicroseconds", 159, 4)
ICMP_TYPE_IPV4: Final = Element("icmpTypeIPv4", 176, 1)
ICMP_CODE_IPV4: Final = Element("icmpCodeIPv4", 177, 1)
ICMP_TYPE_IPV6: Final = Element("icmpTypeIPv6", 178, 1)
ICMP_CODE_IPV6: Final = Element("icmpCodeIPv6", 179, 1)
TTL: Final = Element("ipTTL", 192, 1)
DSCP: Final = Element("ipDiffServCodePoint", 195, 1)
PRECEDENCE: Final = Element("ipPrecedence", 196, 1)
OCTET_SQUARES: Final = Element("octetDeltaSumOfSquares", 198, 8)
TCP_SYN: Final = Element("tcpSynTotalCount", 218, 8)
TCP_FIN: Final = Element("tcpFinTotalCount", 219, 8)
TCP_RST: Final = Element("tcpRstTotalCount", 220, 8)
TCP_PSH: Final = Element("tcpPshTotalCount", 221, 8)
TCP_ACK: Final = Element("tcpAckTotalCount", 222, 8)
TCP_URG: Final = Element("tcpUrgTotalCount", 223, 8)
ETHERNET_HEADER: Final = Element("ethernetHeaderLength", 240, 1)
DOT1Q_VLAN_ID: Final = Element("dot1qVlanId", 243, 2)
DOT1Q_PRIORITY: Final = Element("dot1qPriority", 244, 1)
ETHERNET_TYPE: Final = Element("ethernetType", 256, 2)
LAYER2_OCTET_DELTA: Final = Element("layer2OctetDeltaCount", 352, 8)
TUNNEL_TYPE: Final = Element("tunnelType", 891, 1, VMWARE)
TUNNEL_KEY: Final = Element("tunnelKey", 892, VARIABLE, VMWARE)
TUNNEL_SOURCE_IPV4: Final = Element("tunnelSourceIPv4Address", 893, 4, VMWARE)
TUNNEL_DESTINATION_IPV4: Final = Element("tunnelDestinationIPv4Address", 894, 4, VMWARE)
TUNNEL_PROTOCOL: Final = Element("tunnelProtocolIdentifier", 895, 1, VMWARE)
TUNNEL_DESTINATION_PORT: Final = Element("tunnelDestinationTransportPort", 897, 2, VMWARE)
VIRTUAL_OBSERVATION: Final = Element("virtualObsID", 898, VARIABLE, VMWARE)
