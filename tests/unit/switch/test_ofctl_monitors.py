"""What ovs-ofctl monitor hears of ours is what it hears of Open vSwitch, in every version and form."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from difflib import unified_diff
from functools import partial
from pathlib import Path
from typing import Final

import pytest
from both_switches import Both, needs_peer, run_in

pytestmark = needs_peer

_LOW_TTL: Final = (
    "000000000002000000000001080045000028000000000111b5c90a0000010a0000020001003500140000" + "00" * 12
)
"""A datagram that may go no further."""
_CHANGES: Final = tuple(
    line.split()
    for line in f"""
        add-flow br0 table=1,cookie=7,ip,nw_dst=10.0.0.1,actions=output:2
        add-flow br0 table=1,cookie=8,tcp,tp_dst=80,importance=3,idle_timeout=60,actions=output:3
        add-flow br0 table=0,priority=9,arp,actions=group:1
        add-flow br0 priority=1,metadata=5,actions=output:2
        add-flow br0 priority=2,ct_state=+trk,ip,actions=ct(commit,zone=4),resubmit(,1)
        mod-flows br0 table=1,ip,actions=output:1
        mod-flows br0 cookie=8/-1,tcp,actions=output:2
        add-flow br0 table=1,cookie=9,ip,nw_dst=10.0.0.1,hard_timeout=90,actions=output:2
        packet-out br0 in_port=1,packet={_LOW_TTL},actions=dec_ttl,output:2
        packet-out br0 in_port=1,packet={_LOW_TTL},actions=controller(max_len=20)
        packet-out br0 in_port=2,packet={_LOW_TTL},actions=load:5->reg0[],controller(reason=no_match)
        packet-out br0 in_port=2,packet={_LOW_TTL},actions=set_tunnel:9,controller(userdata=01.02)
        mod-port br0 v3 no-flood
        mod-port br0 v3 flood
        del-flows br0 table=1,out_port=2
        del-flows br0 arp
        add-meter br0 meter=4,kbps,bands=type=drop,rate=5
        del-meter br0 meter=4
        del-groups br0 group_id=1
        del-flows br0
    """.strip().splitlines()
)
_EACH_ITS_OWN: Final = re.compile(
    r"xid=0x[0-9a-f]+|duration=[\d.]+s|buffer=0x[0-9a-f]+|^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}: |"
    r"addr:\S+|config: +\S.*|state: +\S.*|current: +.*|speed: .*|\d{4}-\S+Z\|\d+\|", re.M
)
_UPDATES: Final = re.compile(r"(?:^ event=.*\n)+", re.M)
FORMS: Final = (
    "watch:", "watch:!initial", "watch:!add", "watch:!delete", "watch:!modify", "watch:!own",
    "watch:!actions", "watch:table=1", "watch:out_port=2", "watch:out_port=local",
    "watch:ip,nw_dst=10.0.0.1", "watch:!initial,table=1,out_port=2", "watch:!initial,!add,!modify",
    "watch:table=1 watch:arp", "--names 65534 watch:", "--no-names 65534 watch:",
    "100 watch:!initial", "65534", "20", "invalid_ttl", "65534 invalid_ttl", "-P openflow10 65534",
    "-P nxt_packet_in 65534", "-P nxm 65534", "-P standard 65534", "-P nxt_packet_in2 65534",
    "-m 65534", "--timestamp 65534", "-F oxm 65534",
)  # fmt: skip
"""Options before the subcommand, and what follows the bridge."""
_LATER_FORMS: Final = ("watch:out_group=1", "watch:!initial,out_group=1,table=0", "watch:out_group=2")


class Monitor:
    """An ovs-ofctl monitor of a run directory's bridge, in the background."""

    def __init__(self, rundir: Path, version: int, name: str, form: str) -> None:
        folder = rundir / "monitors"
        folder.mkdir(exist_ok=True)
        self._rundir, self._log = rundir, folder / f"{name}.log"
        self._control = str(folder / f"{name}.ctl")
        words = form.split()
        at = next((i for i, w in enumerate(words) if w[0] != "-" and words[i - 1] not in _VALUED), None)
        before, behind = (words, []) if at is None else (words[:at], words[at:])
        # What ovs-ofctl does not begin, it says why in the same file.
        run_in(
            rundir, "sh", "-c", 'exec ovs-ofctl "$@" 2>"$0"', str(self._log),
            "-O", f"OpenFlow1{version}", "--detach", "--no-chdir", f"--pidfile={folder}/{name}.pid",
            f"--unixctl={self._control}", "-vconsole:off", *before, "monitor", "br0", *behind,
        )  # fmt: skip

    def heard(self) -> list[str]:
        """All that it has heard, without what each switch has its own of."""
        run_in(self._rundir, "ovs-appctl", "-t", self._control, "ofctl/barrier")
        text = _EACH_ITS_OWN.sub("", self._log.read_text())
        # Of flows that go together, either has an order of its own.
        text = _UPDATES.sub(lambda m: "".join(sorted(m[0].splitlines(keepends=True))), text)
        return [line.rstrip() for line in text.splitlines()]

    def end(self) -> None:
        """End it."""
        run_in(self._rundir, "ovs-appctl", "-t", self._control, "exit")


_VALUED: Final = ("-P", "-F")


def _hear(rundir: Path, version: int, forms: tuple[str, ...]) -> list[list[str]]:
    """What a monitor of each form hears while the changes are made."""
    for command in (["del-flows", "br0"], ["del-groups", "br0"],
                    ["add-group", "br0", "group_id=1,type=all,bucket=output:2"],
                    ["add-flow", "br0", "cookie=1,table=3,udp,actions=output:2"]):  # fmt: skip
        done = run_in(rundir, "ovs-ofctl", "-OOpenFlow15", *command)
        assert done.returncode == 0, done.stderr
    names = (f"{version}-{number}" for number in range(len(forms)))
    with ThreadPoolExecutor(8) as pool:
        monitors = list(pool.map(partial(Monitor, rundir, version), names, forms))
        try:
            for command in _CHANGES:
                run_in(rundir, "ovs-ofctl", "-OOpenFlow15", *command)
            return list(pool.map(Monitor.heard, monitors))
        finally:
            list(pool.map(Monitor.end, monitors))


@pytest.mark.parametrize("version", [0, 2, 3, 4])
def test_monitors_of_every_form_hear_the_same(both: Both, version: int) -> None:
    forms = FORMS + (_LATER_FORMS if version >= 4 else ())
    with ThreadPoolExecutor(2) as pool:
        heard = pool.map(lambda rundir: _hear(rundir, version, forms), both.rundirs)
    different = []
    for form, theirs, ours in zip(forms, *heard, strict=True):
        assert theirs, form
        if theirs != ours:
            different += [f"----- {form}", *unified_diff(theirs, ours, "theirs", "ours", lineterm="")]
    assert not different, "\n".join(different)
