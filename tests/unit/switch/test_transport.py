"""Targets are read as ovs-vswitchd reads them; TLS proves both ends."""

from __future__ import annotations

import socket
import ssl
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from running_switch import RunningSwitch, bridge
from tests.certificates import make_certificates

from gossamer.switch.config import ControllerConfig, SslConfig
from gossamer.switch.transport import (
    Listener,
    TransportError,
    is_passive,
    open_active,
    split_address,
    ssl_context,
)


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("10.0.0.1:6653", ("10.0.0.1", "6653")),
        ("10.0.0.1", ("10.0.0.1", "")),
        ("[::1]:6653", ("::1", "6653")),
        ("[::1]", ("::1", "")),
    ],
)
def test_addresses_are_split_at_the_port(text: str, parts: tuple[str, str]) -> None:
    assert split_address(text, text) == parts


@pytest.mark.parametrize(
    "target", ["tcp:example.org", "tcp:[::1", "tcp:1.2.3.4:x", "tcp:1.2.3.4:70000", "udp:1.2.3.4"]
)
def test_a_bad_target_is_told(target: str) -> None:
    with pytest.raises(TransportError):
        open_active(target, None)


def test_passive_targets_are_told_from_active_ones() -> None:
    assert is_passive("ptcp:6653") and is_passive("punix:/x") and not is_passive("tcp:1.2.3.4")


def test_a_listener_gives_its_socket_file_back(tmp_path: Path) -> None:
    path = tmp_path / "sock"
    path.write_text("stale")
    listener = Listener(f"punix:{path}", None)
    assert listener.accept() is None and path.is_socket()
    listener.close()
    assert not path.exists()


def test_a_taken_port_is_an_error_with_its_errno() -> None:
    port = free_port()
    listener = Listener(f"ptcp:{port}:127.0.0.1", None)
    with pytest.raises(TransportError) as caught:
        Listener(f"ptcp:{port}:127.0.0.1", None)
    assert caught.value.code
    listener.close()


def test_ssl_without_certificates_is_an_error() -> None:
    with pytest.raises(TransportError, match="private key"):
        open_active("ssl:127.0.0.1", None)


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CA (ca.pem) that signed switch.pem and tool.pem, and other.pem that it did not sign."""
    return make_certificates(tmp_path_factory.mktemp("pki"))


def test_a_tool_with_a_certificate_of_the_ca_is_let_in_and_no_other(
    pki: Path, tmp_path: Path
) -> None:
    port = free_port()
    ssl_config = SslConfig(str(pki / "switch.key"), str(pki / "switch.pem"), str(pki / "ca.pem"))
    running = RunningSwitch(tmp_path)
    controller = ControllerConfig(f"pssl:{port}:127.0.0.1")
    running.apply(bridge(controllers=(controller,)), ssl=ssl_config)

    def show(name: str) -> str:
        return running.ofctl(
            f"--private-key={pki}/{name}.key", f"--certificate={pki}/{name}.pem",
            f"--ca-cert={pki}/ca.pem", "show", f"ssl:127.0.0.1:{port}", check=False,
        )  # fmt: skip

    assert "OFPT_FEATURES_REPLY" in show("tool")
    assert "OFPT_FEATURES_REPLY" not in show("other")
    running.stop()


def _ours(pki: Path) -> SslConfig:
    return SslConfig(str(pki / "switch.key"), str(pki / "switch.pem"), str(pki / "ca.pem"))


def test_the_ca_none_trusts_everybody(pki: Path) -> None:
    assert ssl_context(_ours(pki), server=False, target="x").verify_mode is ssl.CERT_REQUIRED
    trusting = ssl_context(replace(_ours(pki), ca_cert="none"), server=True, target="x")
    assert trusting.verify_mode is ssl.CERT_NONE


def test_protocols_and_ciphers_are_those_that_were_asked_for(pki: Path) -> None:
    asked = replace(_ours(pki), protocols="TLSv1.2, TLSv1.1", ciphers="ECDHE-RSA-AES256-GCM-SHA384")
    context = ssl_context(asked, server=False, target="x")
    assert context.minimum_version is ssl.TLSVersion.TLSv1_1
    assert context.maximum_version is ssl.TLSVersion.TLSv1_2
    names = {cipher["name"] for cipher in context.get_ciphers()}
    assert {n for n in names if not n.startswith("TLS_")} == {"ECDHE-RSA-AES256-GCM-SHA384"}


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"protocols": "TLSv9"}, "SSL protocol not recognized: tlsv9"),
        ({"ciphers": "nosuch"}, "No cipher can be selected"),
        ({"peer_ca_cert": "/nonexist"}, "No such file"),
    ],
)
def test_what_tls_cannot_use_is_told(pki: Path, change: dict[str, Any], text: str) -> None:
    with pytest.raises(TransportError, match=text):
        ssl_context(replace(_ours(pki), **change), server=False, target="x")


def test_the_ca_is_sent_along_where_that_is_asked_for(pki: Path, tmp_path: Path) -> None:
    client_config = replace(_ours(pki), ca_cert=str(tmp_path / "got.pem"), bootstrap_ca_cert=True)
    server = ssl_context(
        replace(_ours(pki), peer_ca_cert=str(pki / "ca.pem"), ca_cert="none"), server=True, target="x"
    )
    a, b = socket.socketpair()
    with a, b, ThreadPoolExecutor(1) as pool:
        served = pool.submit(server.wrap_socket, a, True)
        client = ssl_context(client_config, server=False, target="x").wrap_socket(b)
        chain = client._sslobj.get_unverified_chain()  # type: ignore[union-attr]
        assert [one.get_info()["subject"][0][0][1] for one in chain] == ["switch", "ca"]
        client.close()
        served.result().close()
