"""ovs-vsctl, as people and scripts use it."""

from __future__ import annotations

import os
import signal
import time

import pytest

from tests.system.world import Host, until


@pytest.fixture
def host(cleared_host: Host) -> Host:
    """One daemon for all tests here."""
    return cleared_host


def test_show_and_list_tell_what_is_there(host: Host) -> None:
    host.vsctl("add-br", "br0")
    host.netns("a", "10.0.0.1/24", "br0", tag="7")
    shown = host.vsctl("show")
    assert "Bridge br0" in shown
    assert "tag: 7" in shown
    assert host.vsctl("get", "interface", "va", "link_state") == "up"
    assert host.vsctl("get", "interface", "va", "admin_state") == "up"
    assert host.vsctl("get", "interface", "va", "error") == "[]"
    ifindex = host.check("cat", "/sys/class/net/va/ifindex").strip()
    assert host.vsctl("get", "interface", "va", "ifindex") == ifindex
    assert host.vsctl("get", "interface", "va", "mtu") == "1500"
    assert host.vsctl("get", "interface", "br0", "ofport") == "65534"


def test_a_transaction_of_many_commands_takes_effect_together(host: Host) -> None:
    host.vsctl(
        "add-br", "br0", "--", "add-port", "br0", "i1", "--", "set", "interface", "i1",
        "type=internal", "ofport_request=42", "--", "--may-exist", "add-br", "br0",
    )  # fmt: skip
    assert host.vsctl("get", "interface", "i1", "ofport") == "42"
    assert "i1" in host.check("ip", "-o", "link", "show", "i1")
    host.vsctl("del-br", "br0")
    assert host.attempt("ip", "link", "show", "i1").returncode != 0
    assert host.attempt("ip", "link", "show", "br0").returncode != 0


def test_an_internal_port_may_be_moved_into_a_namespace_and_back(host: Host) -> None:
    """As agents of routers and DHCP servers do with their ports."""
    host.vsctl("add-br", "br0", "--", "add-port", "br0", "i1", "--", "set", "interface", "i1",
               "type=internal", 'mac="02:00:00:00:00:77"')  # fmt: skip
    a = host.netns("a", "10.0.0.1/24", "br0")
    b = host.netns("b", "10.1.0.1/24")
    ofport = host.vsctl("get", "interface", "i1", "ofport")
    host.check("ip", "link", "set", "i1", "netns", "b")
    b.run("ip", "addr", "add", "10.0.0.2/24", "dev", "i1")
    b.run("ip", "link", "set", "i1", "up")
    host.vsctl("wait-until", "interface", "i1", "link_state=up")
    assert a.ping("10.0.0.2") == 3
    assert host.vsctl("get", "interface", "i1", "ofport", "error") == f"{ofport}\n[]"
    assert host.vsctl("get", "interface", "i1", "mac_in_use") == '"02:00:00:00:00:77"'
    host.kill()
    assert a.ping("10.0.0.2") == 3
    host.start()
    assert a.ping("10.0.0.2") == 3
    b.run("ip", "link", "set", "i1", "netns", "1")
    host.vsctl("wait-until", "interface", "i1", "link_state=down")
    host.check("ip", "addr", "add", "10.0.0.2/24", "dev", "i1")
    host.check("ip", "link", "set", "i1", "up")
    assert a.ping("10.0.0.2") == 3
    assert host.attempt("ip", "-o", "link").stdout.count(": gs-") == 0
    host.check("ip", "link", "set", "i1", "netns", "b")
    host.vsctl("wait-until", "interface", "i1", "link_state=down")
    host.vsctl("del-port", "i1")
    assert b.run("ip", "link", "show", "i1").returncode != 0


def test_a_port_whose_device_was_away_for_a_moment_forwards_again(host: Host) -> None:
    """The kernel takes off a device that moves whatever ran on it; it is back before anybody looks."""
    host.vsctl("add-br", "br0")
    a, b = host.netns("a", "10.0.0.1/24", "br0"), host.netns("b", "10.0.0.2/24", "br0")
    assert a.ping("10.0.0.2") == 3
    there = "/sys/class/net/va/ifindex"
    before = host.check("cat", there)
    os.kill(host.pid, signal.SIGSTOP)
    try:
        host.check("ip", "link", "set", "va", "netns", "b")
        b.run("ip", "link", "set", "va", "netns", "1")
        assert host.check("cat", there) == before
        host.check("ip", "link", "set", "va", "up")
    finally:
        os.kill(host.pid, signal.SIGCONT)
    assert until(lambda: a.ping("10.0.0.2") == 3)


def test_mac_mtu_and_numbers_that_are_asked_for_later_are_given(host: Host) -> None:
    host.vsctl("add-br", "br0")
    host.netns("a", "10.0.0.1/24", "br0")
    for name in ("i1", "i2"):
        host.vsctl("add-port", "br0", name, "--", "set", "interface", name, "type=internal",
                   "ofport_request=9")  # fmt: skip
    host.vsctl("set", "interface", "i1", 'mac="02:00:00:00:00:78"', "mtu_request=1300")
    assert host.vsctl("get", "interface", "i1", "mac_in_use", "mtu", "ofport") == (
        '"02:00:00:00:00:78"\n1300\n9'
    )
    assert host.check("cat", "/sys/class/net/i1/mtu").strip() == "1300"
    host.vsctl("set", "interface", "va", "mtu_request=1400")
    assert host.vsctl("get", "interface", "va", "mtu") == "1400"
    assert host.vsctl("get", "interface", "i2", "mtu") == "1400", "the lowest of the others"
    assert "PROMISC" in host.check("ip", "link", "show", "va")
    host.vsctl("del-port", "i1")
    assert host.vsctl("get", "interface", "i2", "ofport") == "9", "it asked for this one"
    host.vsctl("del-port", "va")
    assert "PROMISC" not in host.check("ip", "link", "show", "va")


def test_columns_that_are_not_served_are_warned_of_once(host: Host) -> None:
    host.vsctl("add-br", "br0")
    host.vsctl("add-port", "br0", "p", "--", "set", "interface", "p", "type=patch", "options:peer=q")
    assert "No usable peer 'q'" in host.vsctl("get", "interface", "p", "error")
    host.vsctl("set", "bridge", "br0", "stp_enable=true", "--", "set", "port", "p", "lacp=active")
    host.vsctl("set", "bridge", "br0", "external_ids:a=b")
    assert host.log().count("bridge=br0 column=stp_enable") == 1
    assert host.log().count("port=p column=lacp") == 1
    host.vsctl("set", "bridge", "br0", "stp_enable=false")
    host.vsctl("set", "bridge", "br0", "stp_enable=true")
    assert host.log().count("bridge=br0 column=stp_enable") == 2


def test_a_missing_device_is_an_error_of_its_interface_alone(host: Host) -> None:
    host.vsctl("add-br", "br0")
    host.check("ovs-vsctl", "--timeout=10", "--no-wait", "add-port", "br0", "nowhere")
    host.vsctl("add-port", "br0", "i1", "--", "set", "interface", "i1", "type=internal")
    assert host.vsctl("get", "interface", "nowhere", "ofport") == "-1"
    assert "No such device" in host.vsctl("get", "interface", "nowhere", "error")
    assert host.vsctl("get", "interface", "i1", "ofport") == "1"


def test_what_is_not_ours_is_left_alone(host: Host) -> None:
    host.check("ip", "link", "add", "mine", "type", "veth", "peer", "name", "other")
    mac = host.check("cat", "/sys/class/net/mine/address")
    host.vsctl("add-br", "br0")
    host.attempt("ovs-vsctl", "--timeout=3", "add-port", "br0", "mine", "--", "set", "interface",
                 "mine", "type=internal")  # fmt: skip
    host.vsctl("del-br", "br0")
    assert host.check("cat", "/sys/class/net/mine/address") == mac
    host.check("ip", "link", "del", "mine")


def test_statistics_are_written_back(host: Host) -> None:
    host.vsctl("add-br", "br0", "--", "set", "Open_vSwitch", ".",
               "other_config:stats-update-interval=5000", "other_config:enable-statistics=true")  # fmt: skip
    a = host.netns("a", "10.0.0.1/24", "br0")
    host.netns("b", "10.0.0.2/24", "br0")
    assert a.ping("10.0.0.2", 5) == 5

    def told() -> int:
        asked = ("ovs-vsctl", "--timeout=100", "get", "interface", "va", "statistics:rx_packets")
        text = host.attempt(*asked).stdout.strip()
        return int(text) if text.isdigit() else 0

    assert until(lambda: told() >= 5)
    kept = host.vsctl("get", "interface", "va", "statistics")
    for key in ("rx_errors", "tx_errors", "rx_crc_err", "rx_missed_errors", "collisions"):
        assert f"{key}=0" in kept
    keys = ("cpu=", "load_average=", "memory=", "process_ovs-vswitchd=", "process_ovsdb-server=")
    system: list[str] = []

    def all_told() -> bool:
        system.append(host.vsctl("get", "Open_vSwitch", ".", "statistics"))
        return all(key in system[-1] for key in keys)

    assert until(all_told), system[-1]
    assert "ovs-vswitchd" in host.appctl("version"), "its pid file is locked as before"
    host.vsctl("clear", "Open_vSwitch", ".", "other_config")


def test_the_database_may_die_and_come_back(host: Host) -> None:
    host.vsctl("add-br", "br0")
    a = host.netns("a", "10.0.0.1/24", "br0")
    host.netns("b", "10.0.0.2/24", "br0")
    pid = int((host.rundir / "ovsdb-server.pid").read_text())
    os.kill(pid, signal.SIGKILL)
    assert a.ping("10.0.0.2", 5) == 5
    tag = ("ovs-vsctl", "--timeout=20", "set", "port", "va", "tag=5")
    assert until(lambda: host.attempt(*tag).returncode == 0)
    host.vsctl("set", "port", "vb", "tag=5")
    assert a.ping("10.0.0.2", 2) == 2


def test_emer_reset_leaves_a_working_switch(host: Host) -> None:
    host.vsctl("add-br", "br0", "--", "set-fail-mode", "br0", "secure")
    host.vsctl("emer-reset")
    assert host.vsctl("get-fail-mode", "br0") == ""
    assert host.vsctl("list-br") == "br0"


def test_policing_follows_the_columns(host: Host) -> None:
    host.vsctl("add-br", "br0")
    a = host.netns("a", "10.0.0.1/24", "br0")
    host.netns("b", "10.0.0.2/24", "br0")
    host.vsctl("set", "interface", "va", "ingress_policing_rate=80", "ingress_policing_burst=80")

    def held_back() -> bool:
        began = time.monotonic()
        done = a.run("ping", "-n", "-q", "-s", "1000", "-i", "0.002", "-c", "100", "-W", "1", "10.0.0.2")
        received = int(done.stdout.split(" received")[0].rsplit(" ", 1)[1])
        # Ten that the bucket holds, and ten a second.
        most = 15 + 11 * (time.monotonic() - began)
        assert 5 <= received < most, done.stdout
        return most < 100

    assert until(held_back), "it always takes ten seconds"
    assert "drop_policed" in host.appctl("coverage/show")
    host.vsctl("set", "interface", "va", "ingress_policing_rate=0")
    assert a.ping("10.0.0.2", 20) == 20


def test_a_bridge_of_an_unknown_datapath_type_is_none_until_it_is_put_right(host: Host) -> None:
    done = host.attempt("ovs-vsctl", "--timeout=100", "add-br", "odd0", "--", "set", "bridge", "odd0",
                        "datapath_type=wrong")  # fmt: skip
    text = "could not create datapath odd0 of unknown type wrong"
    assert "Error detected while setting up 'odd0'" in done.stderr
    assert text in done.stderr and text in host.log()
    assert host.attempt("ip", "link", "show", "odd0").returncode
    host.vsctl("set", "bridge", "odd0", "datapath_type=netdev")
    assert host.vsctl("get", "interface", "odd0", "ofport", "error") == "65534\n[]"
    host.vsctl("del-br", "odd0")
