"""Every subcommand of ovs-ofctl(8) that speaks to a switch tells the same of ours as of Open vSwitch.

Left out is what differs on purpose: descriptions, the fields of table features, what a meter may do
and how many there may be, the room for Geneve's options, counters and devices (of dummies there).
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Final

import pytest
from both_switches import Both, needs_peer

pytestmark = needs_peer

COMMANDS: Final = """
show
dump-table-desc
dump-tables
get-frags
set-frags drop
get-frags
set-frags nx-match
get-frags
get-frags
set-frags normal
mod-port v1 down
mod-port v1 up
mod-port 2 no-flood
mod-port v2 no-packet-in
mod-port v2 no-forward
mod-port v2 no-receive
mod-port v2 no-stp
mod-port v9 up
show
dump-ports-desc
dump-ports-desc v2
dump-ports-desc 2
dump-ports-desc 9
mod-port v2 flood
mod-port v2 packet-in
mod-port v2 forward
mod-port v2 receive
mod-table 0 controller
mod-table 0 continue
mod-table 0 drop
mod-table 1 evict
mod-table 1 vacancy:20,80
mod-table 1 novacancy
mod-table 1 noevict
mod-table 255 evict
mod-table 9 vacancy:80,20
dump-table-desc
add-flows {F}
dump-flows
dump-flows ip
dump-flows table=3
dump-flows tcp,tp_dst=80
dump-flows out_port=2
dump-flows --names
--names dump-flows
--no-names dump-flows
--no-stats dump-flows
--sort dump-flows
--rsort=priority dump-flows
--read-only dump-flows
-m dump-flows
dump-aggregate
dump-aggregate ip
dump-aggregate table=3
mod-flows ip,actions=output:3
--strict mod-flows priority=5,ip,actions=output:1
mod-flows cookie=7,udp,actions=output:1
add-flow check_overlap,priority=5,nw_dst=1.2.3.4,ip,actions=drop
add-flow reset_counts,priority=5,ip,actions=output:2
add-flow idle_timeout=100,hard_timeout=200,importance=5,send_flow_rem,no_packet_counts,no_byte_counts,priority=44,cookie=0x99,udp,actions=output:2
add-flow table=255,actions=drop
add-flow table=254,actions=drop
add-flow in_port=99,actions=output:98
add-flow actions=output:70000
add-flow actions=bogus
add-flow dp_hash=1/0xf,actions=drop
mod-flows dp_hash=1,actions=output:1
add-flow recirc_id=1,actions=drop
del-flows dp_hash=1
--strict del-flows dp_hash=1
dump-flows dp_hash=1
dump-flows
dump-flows cookie=0x99/-1
--strict del-flows priority=44,udp
del-flows cookie=0x1/0x1
dump-flows
--bundle add-flows {F2}
add-flows {F2}
dump-flows
replace-flows {F}
--bundle replace-flows {F}
--readd replace-flows {F}
diff-flows {F}
--strict del-flows priority=5,ip
diff-flows {F}
del-flows out_port=2
del-flows
dump-flows
add-group group_id=1,type=all,bucket=output:1,bucket=output:2
add-group group_id=2,type=select,selection_method=hash,fields(ip_src,ip_dst),bucket=weight:1,output:1,bucket=weight:2,output:2
add-group group_id=3,type=ff,bucket=watch_port:1,output:1,bucket=watch_port:2,output:2
add-group group_id=4,type=select,selection_method=dp_hash,selection_method_param=5,bucket=output:1
add-group group_id=5,type=bogus,bucket=output:1
add-group group_id=6,type=indirect,bucket=output:1,bucket=output:2
add-group group_id=7,type=ff,bucket=output:1
dump-groups
dump-groups 2
dump-groups 99
mod-group group_id=1,type=select,bucket=output:3
mod-group group_id=88,type=all,bucket=output:3
--may-create mod-group group_id=88,type=all,bucket=output:3
insert-buckets group_id=1,command_bucket_id=last,bucket=bucket_id:9,output:2
insert-buckets group_id=1,command_bucket_id=first,bucket=bucket_id:8,output:1
insert-buckets group_id=1,command_bucket_id=8,bucket=bucket_id:7,output:1
insert-buckets group_id=1,command_bucket_id=77,bucket=bucket_id:6,output:1
dump-groups
remove-buckets group_id=1,command_bucket_id=last
remove-buckets group_id=1,command_bucket_id=8
remove-buckets group_id=1,command_bucket_id=88
remove-buckets group_id=1,command_bucket_id=all
dump-groups
add-groups {G}
--bundle add-groups {G}
dump-groups
bundle {B}
dump-flows
dump-groups
del-groups 1
del-groups type=all
del-groups group_id=2
del-groups
add-meter meter=1,kbps,burst,stats,bands=type=drop,rate=1000,burst_size=100
add-meter meter=1,kbps,bands=type=drop,rate=1000
add-meter meter=2,pktps,bands=type=drop,rate=10,type=drop,rate=20
add-meter meter=4294967040,pktps,bands=type=drop,rate=10
add-meter meter=controller,pktps,bands=type=drop,rate=1000
dump-meters
dump-meter meter=1
dump-meters meter=1
dump-meters meter=9
mod-meter meter=1,kbps,bands=type=drop,rate=2000
mod-meter meter=9,kbps,bands=type=drop,rate=2000
del-meter meter=1
del-meters meter=2
del-meters
dump-meters
packet-out in_port=1,packet={P},actions=output:2
packet-out 1 output:2 {P}
packet-out controller flood {P}
packet-out none 2 {P}
packet-out in_port=99,packet={P},actions=output:2
packet-out in_port=1,packet=0011,actions=output:2
add-tlv-map {class=0xffff,type=0,len=4}->tun_metadata0
add-tlv-map {class=0xffff,type=1,len=8}->tun_metadata1,{class=0xffff,type=2,len=4}->tun_metadata5
add-tlv-map {class=0xffff,type=1,len=8}->tun_metadata2
add-tlv-map {class=0xffff,type=7,len=4}->tun_metadata0
add-tlv-map {class=0xffff,type=8,len=3}->tun_metadata8
dump-tlv-map
del-tlv-map {class=0xffff,type=0,len=4}->tun_metadata0
del-tlv-map {class=0xfffe,type=0,len=4}->tun_metadata0
dump-tlv-map
del-tlv-map
dump-tlv-map
dump-ipfix-bridge
dump-ipfix-flow
ct-flush-zone 5
ct-flush-zone 99999
ct-flush
ct-flush zone=5
ct-flush ct_nw_src=10.0.0.1,ct_nw_proto=6
mod-port v2 no-receive-stp
mod-port v2 stp
show
mod-port v2 receive-stp
dump-ports 9
dump-group-stats 99
meter-stats meter=9
queue-stats 99
queue-get-config 99
probe
-F openflow10 add-flow ip,actions=output:1
-F openflow10 add-flow reg0=1,actions=output:1
-F openflow10+table_id add-flow table=2,ip,actions=output:1
-F nxm add-flow table=2,ip,actions=output:1
-F nxm+table_id add-flow table=2,reg1=4,actions=output:1
-F oxm add-flow ipv6,actions=output:1
-F any --no-stats dump-flows
-F openflow10 --no-stats dump-flows
-F nxm --no-stats dump-flows
-F oxm --no-stats dump-flows
--sort --no-stats dump-flows
--rsort=nw_src --no-stats dump-flows
--sort=bogus dump-flows
--no-names --no-stats dump-flows
--read-only --no-stats dump-flows
--timestamp probe
benchmark 10
-P bogus monitor
monitor watch:bogus
monitor resume bogus
dump-tables-desc
mod-table all evict
mod-table all noevict
mod-table 4 name:foo
mod-table bogus evict
mod-table 0 bogus
dump-group-stats
dump-group-stats 4
meter-stats
bundle /nonexist
resume
"""
FILES: Final = {
    "F": """
priority=5,ip,actions=output:2
priority=6,tcp,tp_dst=80 actions=drop
table=3,priority=9,arp,actions=controller
""",
    "F2": """
add priority=5,ip,actions=output:1
delete tcp
modify_strict table=3,priority=9,arp,actions=output:3
""",
    "G": """
group_id=11,type=all,bucket=output:1
modify group_id=1,type=select,bucket=output:3
delete group_id=2
""",
    "B": """
group group_id=21,type=indirect,bucket=output:1
flow add table=4,priority=3,actions=group:21
packet-out in_port=1,packet=000000000001000000000002080000000000,actions=output:3
""",
}
PACKET: Final = "00" * 6 + "11" * 6 + "0800" + "00" * 46
_EACH_ITS_OWN: Final = re.compile(
    r"addr:|dpid:|current:|speed:|config:     PORT_DOWN|state:|option space|talking to|^$|config:     0$"
)
"""Lines that tell of the device below a port, of numbers of the bridge, or of room."""


def words_of(line: str, folder: Path) -> list[str]:
    """A line of COMMANDS as ovs-ofctl takes it: its files written, the bridge after the subcommand."""
    for name, text in FILES.items():
        path = folder / name
        path.write_text(text.lstrip())
        line = line.replace("{" + name + "}", str(path))
    words = line.replace("{P}", PACKET).split()
    at = next(i for i, word in enumerate(words) if not word.startswith("-")) + 1
    return [*words[:at], "br0", *words[at:]]


def comparable(lines: list[str]) -> Counter[str]:
    """What is said, without what is each switch's own."""
    return Counter(line for line in lines if not _EACH_ITS_OWN.search(line))


@pytest.mark.parametrize("version", [0, 5])
def test_every_subcommand_tells_the_same(both: Both, tmp_path: Path, version: int) -> None:
    for command in ("del-flows", "del-groups", "del-meters", "del-tlv-map"):
        both.ofctl(3, command, "br0")
    different = []
    for line in COMMANDS.strip().splitlines():
        theirs, ours = map(comparable, both.ofctl(version, *words_of(line, tmp_path)))
        if theirs != ours:
            different.append((line, "theirs:", *(theirs - ours), "ours:", *(ours - theirs)))
    assert not different, "\n".join(map(str, different))
