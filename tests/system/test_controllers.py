"""Controllers over TLS, and controllers that only the bridge itself leads to."""

from __future__ import annotations

import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.certificates import make_certificates
from tests.system import quiet_controller
from tests.system.quiet_controller import QuietController
from tests.system.world import Host, Netns, until


def connected(host: Host, bridge: str = "br0") -> bool:
    """What the Controller row says."""
    controller = host.vsctl("get", "bridge", bridge, "controller").strip("[]")
    return host.vsctl("get", "controller", controller, "is_connected") == "true"


def last_error(host: Host) -> str:
    """What the Controller row says of the last failure."""
    controller = host.vsctl("get", "bridge", "br0", "controller").strip("[]")
    return host.vsctl("--if-exists", "get", "controller", controller, "status:last_error")


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Keys and certificates."""
    return make_certificates(tmp_path_factory.mktemp("pki"))


@pytest.fixture
def host(shared_host: Host) -> Iterator[Host]:
    """The daemon, with a bridge br0 that forwards nothing by itself."""
    shared_host.vsctl("add-br", "br0", "--", "set-fail-mode", "br0", "secure")
    yield shared_host
    shared_host.vsctl("del-br", "br0", "--", "del-ssl")


def set_ssl(host: Host, pki: Path, ca: str = "ca", *options: str) -> None:
    """Give the switch its keys, and the CA it trusts."""
    names = (pki / "switch.key", pki / "switch.pem", pki / f"{ca}.pem")
    host.vsctl(*options, "set-ssl", *map(str, names))


def tls_context(pki: Path, name: str = "tool") -> ssl.SSLContext:
    """A controller's end, which asks for a certificate of the CA."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pki / f"{name}.pem", pki / f"{name}.key")
    context.load_verify_locations(pki / "ca.pem")
    context.verify_mode = ssl.CERT_REQUIRED
    return context


def test_a_controller_is_reached_over_tls_and_kept_by_its_echo_replies(
    host: Host, pki: Path
) -> None:
    controller = QuietController("127.0.0.1", context=tls_context(pki))
    set_ssl(host, pki)
    host.vsctl("set-controller", "br0", f"ssl:127.0.0.1:{controller.port}",
               "--", "set", "controller", "br0", "inactivity_probe=500")  # fmt: skip
    assert until(lambda: connected(host)), last_error(host)
    assert not controller.refused
    # Without answers it would last for two probes' time; a busy machine may need more than one connection.
    assert until(lambda: max(controller.answered, default=0) >= 3), controller.answered
    assert until(lambda: connected(host)), last_error(host)
    controller.close()


def test_a_controller_whose_certificate_is_of_another_ca_is_refused_and_the_row_says_why(
    host: Host, pki: Path
) -> None:
    controller = QuietController("127.0.0.1", context=tls_context(pki))
    set_ssl(host, pki, "other")
    host.vsctl("set-controller", "br0", f"ssl:127.0.0.1:{controller.port}")
    assert until(lambda: "certificate verify failed" in last_error(host)), last_error(host)
    assert not connected(host)
    # The right CA mends it.
    set_ssl(host, pki)
    assert until(lambda: connected(host)), last_error(host)
    controller.close()


def test_a_controller_that_is_not_there_is_logged_once_and_then_that_it_came(host: Host) -> None:
    absent = QuietController("127.0.0.1")
    absent.close()
    target = f"tcp:127.0.0.1:{absent.port}"
    host.vsctl(
        "set-controller", "br0", target, "--", "set", "controller", "br0", "max_backoff=1000"
    )
    refused = f"{target}: cannot connect: Connection refused"
    assert until(lambda: refused in host.log())
    time.sleep(2)  # for those tries that should not be logged
    assert host.log().count(refused) == 1
    present = QuietController("127.0.0.1", absent.port)
    assert until(lambda: connected(host)), last_error(host)
    assert host.log().count(f"{target}: connected") == 1
    present.close()


def test_a_switch_without_keys_says_so_in_the_row(host: Host) -> None:
    host.vsctl("set-controller", "br0", "ssl:127.0.0.1:6653")
    assert until(lambda: "private key" in last_error(host)), last_error(host)
    assert host.log().count("ssl:127.0.0.1:6653: SSL needs a private key") == 1


def test_the_cas_certificate_is_taken_from_the_first_connection_where_that_is_asked_for(
    host: Host, pki: Path, tmp_path: Path
) -> None:
    chain = tmp_path / "chain.pem"
    chain.write_text((pki / "tool.pem").read_text() + (pki / "ca.pem").read_text())
    context = tls_context(pki)
    context.load_cert_chain(chain, pki / "tool.key")
    controller = QuietController("127.0.0.1", context=context)
    ca = tmp_path / "fetched.pem"
    host.vsctl("--bootstrap", "set-ssl", str(pki / "switch.key"), str(pki / "switch.pem"), str(ca))
    host.vsctl("set-controller", "br0", f"ssl:127.0.0.1:{controller.port}")
    assert until(lambda: connected(host)), last_error(host)
    assert ssl.PEM_cert_to_DER_cert(ca.read_text()) == ssl.PEM_cert_to_DER_cert(
        (pki / "ca.pem").read_text()
    )
    controller.close()


def test_tools_come_in_over_tls_with_a_certificate_of_the_ca_and_keys_may_change(
    host: Host, pki: Path
) -> None:
    def show(name: str) -> subprocess.CompletedProcess[str]:
        return host.attempt(
            "ovs-ofctl", "--timeout=60", f"--private-key={pki}/{name}.key",
            f"--certificate={pki}/{name}.pem", f"--ca-cert={pki}/ca.pem",
            "show", "ssl:127.0.0.1:16654",
        )  # fmt: skip

    host.vsctl("set-controller", "br0", "pssl:16654:127.0.0.1")
    assert until(lambda: "private key" in last_error(host)), last_error(host)
    set_ssl(host, pki)
    assert "OFPT_FEATURES_REPLY" in show("tool").stdout
    assert show("other").returncode
    set_ssl(host, pki, "other")
    assert show("tool").returncode, "its CA is not trusted any more"


CONTROLLER, SWITCH = "10.9.0.2", "10.9.0.1"


@pytest.fixture
def beyond(host: Host) -> Iterator[Netns]:
    """A namespace with a controller in it, to which only a port of br0 leads."""
    where = host.netns("ctl", f"{CONTROLLER}/24", "br0")
    host.check("ip", "address", "add", f"{SWITCH}/24", "dev", "br0")
    host.check("ip", "link", "set", "br0", "up")
    process = where.start(sys.executable, quiet_controller.__file__, CONTROLLER, "6653")
    yield where
    process.kill()
    process.communicate()
    host.forget("ctl")


def test_a_controller_behind_the_bridge_is_reached_through_empty_tables(
    host: Host, beyond: Netns
) -> None:
    host.vsctl("set-controller", "br0", f"tcp:{CONTROLLER}:6653")
    assert until(lambda: connected(host)), last_error(host)
    assert "actions=" not in host.ofctl("dump-flows", "br0"), "the flows for it are hidden"
    hidden = host.appctl("bridge/dump-flows", "br0")
    assert f"nw_dst={CONTROLLER},tp_dst=6653,actions=NORMAL" in hidden
    assert "flow_count=0" in host.ofctl("dump-aggregate", "br0")
    # Nothing else comes through, and no controller can take the way away.
    assert beyond.ping(SWITCH, 1) == 0
    host.ofctl("del-flows", "br0")
    host.ofctl("add-flow", "br0", "priority=65535,actions=drop")
    host.vsctl("set", "controller", "br0", "inactivity_probe=1000")
    host.appctl("bridge/reconnect", "br0")
    assert until(lambda: connected(host)), last_error(host)
    assert "NORMAL" in host.appctl("ofproto/trace", "br0",
        f"in_port=LOCAL,tcp,nw_src={SWITCH},nw_dst={CONTROLLER},tp_dst=6653")  # fmt: skip


def test_the_way_to_the_controller_survives_the_death_of_the_daemon(
    host: Host, beyond: Netns
) -> None:
    host.vsctl("set-controller", "br0", f"tcp:{CONTROLLER}:6653")
    assert until(lambda: connected(host)), last_error(host)
    host.kill()
    host.start()
    assert until(lambda: connected(host)), last_error(host)


@pytest.mark.parametrize(
    "setting",
    [("set", "bridge", "br0", "other-config:disable-in-band=true"),
     ("set", "controller", "br0", "connection_mode=out-of-band")],
)  # fmt: skip
def test_nothing_is_let_through_where_control_is_not_in_band(
    host: Host, beyond: Netns, setting: tuple[str, ...]
) -> None:
    host.vsctl("set-controller", "br0", f"tcp:{CONTROLLER}:6653", "--", *setting)
    assert not until(lambda: connected(host), 2.5)
    assert host.appctl("bridge/dump-flows", "br0") == ""


def test_in_band_traffic_has_the_queue_asked_for(host: Host, beyond: Netns) -> None:
    host.vsctl("set", "bridge", "br0", "other-config:in-band-queue=3", "--",
               "set-controller", "br0", f"tcp:{CONTROLLER}:6653")  # fmt: skip
    assert until(lambda: connected(host)), last_error(host)
    flows = host.appctl("bridge/dump-flows", "br0").splitlines()
    assert flows and all(flow.endswith("actions=set_queue:3,NORMAL") for flow in flows)


def test_a_controller_row_gives_the_bridge_its_address_and_gateway(host: Host) -> None:
    controller = ("set-controller", "br0", "tcp:192.0.2.1:6653", "--", "set", "controller", "br0")
    host.vsctl(*controller, "local_ip=172.31.7.2", "local_gateway=172.31.0.1")
    shown = host.check("ip", "-4", "-o", "address", "show", "dev", "br0")
    assert "172.31.7.2/16" in shown, "the netmask is that of the address's class"
    assert "UP" in host.check("ip", "-o", "link", "show", "dev", "br0")
    assert "via 172.31.0.1 dev br0" in host.check("ip", "route", "show", "default")
    # Another one takes its place, and so it is after a restart.
    host.vsctl("set", "controller", "br0", "local_ip=172.31.7.3", "local_netmask=255.255.255.0",
               "local_gateway=172.31.7.1")  # fmt: skip
    for _ in range(2):
        shown = host.check("ip", "-4", "-o", "address", "show", "dev", "br0")
        assert "172.31.7.3/24" in shown and "172.31.7.2" not in shown
        routes = host.check("ip", "route", "show", "default")
        assert "via 172.31.7.1 dev br0" in routes and "172.31.0.1" not in routes
        host.kill()
        host.start()
        host.vsctl("set", "bridge", "br0", "external_ids:seen=again")
    assert "another default route" not in host.log()


def test_a_default_route_of_the_host_stays(host: Host) -> None:
    host.check("ip", "link", "add", "other0", "type", "veth", "peer", "name", "other1")
    host.check("ip", "link", "set", "other1", "up")
    try:
        host.check("ip", "address", "add", "198.51.100.2/24", "dev", "other0")
        host.check("ip", "link", "set", "other0", "up")
        host.check("ip", "route", "add", "default", "via", "198.51.100.1")
        host.vsctl("set-controller", "br0", "tcp:192.0.2.1:6653", "--", "set", "controller", "br0",
                   "local_ip=172.31.7.2", "local_gateway=172.31.0.1")  # fmt: skip
        assert host.check("ip", "route", "show", "default").split()[:3] == [
            "default", "via", "198.51.100.1",
        ]  # fmt: skip
        assert "gateway 172.31.0.1 is not used: the host has another default route" in host.log()
    finally:
        host.check("ip", "link", "del", "other0")


@pytest.mark.parametrize(
    ("setting", "complaint"),
    [("local_ip=example", "'example' is not an IPv4 address"),
     ("local_ip=224.0.0.9", "224.0.0.9 is not the address of one host"),
     ("local_ip=10.9.0.1 local_netmask=255.0.255.0", "255.0.255.0 is not a netmask")],
)  # fmt: skip
def test_an_address_that_cannot_be_is_warned_of_and_not_set(
    host: Host, setting: str, complaint: str
) -> None:
    host.vsctl("set-controller", "br0", "tcp:192.0.2.1:6653", "--", "set", "controller", "br0",
               *setting.split())  # fmt: skip
    assert host.check("ip", "-4", "-o", "address", "show", "dev", "br0") == ""
    assert complaint in host.log()
