"""FTP and TFTP with real programs, where nothing passes but what a helper expects.

A client on port 1 may begin connections to FTP's and TFTP's ports of a server on port 2, and
nobody may begin any other: data connections pass because they are related, or not at all.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp

import pytest

from tests.system.tunnel_world import OUR_IP, PEER_IP, Peer, add_tunnel
from tests.system.world import Host, Netns, until

_RULES = """
table=0,priority=1,actions=drop
table=0,priority=5,arp,actions=NORMAL
table=0,priority=20,icmp6,icmp_type=135,actions=NORMAL
table=0,priority=20,icmp6,icmp_type=136,actions=NORMAL
table=0,priority=10,{ip},actions=ct(zone=1,nat,table=1)
table=1,priority=10,ct_state=+est-inv+trk,actions=NORMAL
table=1,priority=10,{ip},ct_state=+new+rel+trk,actions=ct(commit,zone=1,nat,table=2)
table=1,priority=8,in_port=1,tcp{six},tp_dst=21,ct_state=+new-rel+trk,actions=ct(commit,zone=1,{alg}{nat}table=2)
table=1,priority=8,in_port=1,udp{six},tp_dst=69,ct_state=+new-rel+trk,actions=ct(commit,zone=1,{talg}{nat}table=2)
table=2,actions=NORMAL
"""

_SERVER = """
import sys
from pyftpdlib.authorizers import DummyAuthorizer
from pyftpdlib.handlers import FTPHandler
from pyftpdlib.servers import FTPServer
authorizer = DummyAuthorizer()
authorizer.add_anonymous(sys.argv[1], perm="elrw")
FTPHandler.authorizer = authorizer
FTPHandler.use_sendfile = False
FTPServer(("::", 21), FTPHandler).serve_forever()
"""


@dataclass(frozen=True)
class Family:
    """Addresses of one family: a client, a server, and what each is seen as."""

    six: str
    client: str
    server: str
    public: str
    virtual: str

    def url(self, address: str) -> str:
        """In a URL, or in nat(...)."""
        return f"[{address}]" if self.six else address

    def nat(self, how: str) -> tuple[str, str]:
        """What to write into ct(), and whom the client asks."""
        return {
            "none": ("", self.server),
            "source": (f"nat(src={self.url(self.public)}),", self.server),
            "destination": (f"nat(dst={self.url(self.server)}),", self.virtual),
        }[how]


# Addresses of unlike lengths: a text that names them grows.
IPV4 = Family("", "10.0.0.1", "10.0.0.2", "10.0.0.199", "10.0.0.50")
IPV6 = Family("6", "fd00::1", "fd00::2", "fd00::1:2:99", "fd00::1:50")
families = pytest.mark.parametrize("family", [IPV4, IPV6], ids=["ipv4", "ipv6"])
translations = pytest.mark.parametrize("how", ["none", "source", "destination"])

_MODES = {
    "PORT": ("--disable-eprt", "--ftp-port"),
    "EPRT": ("--ftp-port",),
    "PASV": ("--disable-epsv", "--no-ftp-skip-pasv-ip"),
    "EPSV": (),
}


def serve(netns: Netns, files: Path) -> list[subprocess.Popen[str]]:
    """Servers of FTP and TFTP, once they listen."""
    servers = [
        netns.start("/usr/bin/python3", "-c", _SERVER, str(files)),
        netns.start("in.tftpd", "--listen", "--foreground", "--secure", "--create",
                    "--address", ":69", str(files)),
    ]  # fmt: skip
    assert until(lambda: netns.listens(21) and netns.listens(69, "udp")), "servers do not listen"
    return servers


def hang_up(*everyone: Netns) -> None:
    """Wait until TCP has said its last, by the rules it began with: others do not let it pass, and a
    segment that comes when connections are flushed makes one."""
    assert until(lambda: not any(ns.run("ss", "-Htn").stdout for ns in everyone))


class World:
    """The switch, a client with curl, a server of FTP and TFTP."""

    def __init__(self, host: Host) -> None:
        self.host = host
        host.vsctl("add-br", "br0")
        self.client = host.netns("a", "10.0.0.1/24", "br0")
        self.server = host.netns("b", "10.0.0.2/24", "br0")
        host.vsctl("set", "interface", "va", "ofport_request=1", "--", "set", "interface", "vb",
                   "ofport_request=2")  # fmt: skip
        for netns, own, seen, mac in (
            (self.client, IPV6.client, (IPV4.virtual, IPV6.virtual), self.server.mac),
            (self.server, IPV6.server, (IPV4.public, IPV6.public), self.client.mac),
        ):
            netns.run("ip", "addr", "add", f"{own}/64", "dev", "eth0", "nodad")
            for address in seen:
                netns.run("ip", "neigh", "add", address, "lladdr", mac, "dev", "eth0")
        self.files = Path(mkdtemp(prefix="files", dir="/run"))
        self.files.chmod(0o777)
        (self.files / "small").write_bytes(b"contents of a file\n")
        (self.files / "large").write_bytes(bytes(range(256)) * 4000)
        self._servers = serve(self.server, self.files)

    def rules(self, family: Family, how: str, alg: str = "alg=ftp,", talg: str = "alg=tftp,") -> str:
        """Write the rules; returns whom the client asks."""
        nat, address = family.nat(how)
        ip = "ipv6" if family.six else "ip"
        rules = _RULES.format(ip=ip, six=family.six, nat=nat, alg=alg, talg=talg)
        hang_up(self.client, self.server)
        self.host.ofctl("del-flows", "br0")
        self.host.ofctl("add-flows", "br0", "-", stdin=rules)
        self.host.appctl("dpctl/flush-conntrack")
        return family.url(address)

    def curl(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """curl at the client."""
        return self.client.run("curl", "-sS", "--max-time", "60", *arguments, timeout_s=90)

    def connections(self) -> list[str]:
        """As dpctl dumps them."""
        return self.host.appctl("dpctl/dump-conntrack", "-m").splitlines()

    def close(self) -> None:
        for server in self._servers:
            server.terminate()
            server.wait(60)


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    host = Host(Path(mkdtemp(prefix="host", dir="/run")))
    host.start()
    it = World(host)
    yield it
    it.close()
    host.end()


def options(family: Family, mode: str) -> list[str]:
    """What makes curl use a mode; it wants to be told its own address."""
    own = [family.client] if mode in ("PORT", "EPRT") else []
    return [*_MODES[mode], *own]


def fetch(world: World, family: Family, server: str, mode: str, *names: str) -> list[bytes]:
    """Files over one control connection."""
    into = Path(mkdtemp(prefix="got", dir="/run"))
    arguments: list[str] = []
    for n, name in enumerate(names):
        arguments += ["-o", str(into / str(n)), f"ftp://{server}/{name}"]
    done = world.curl(*options(family, mode), *arguments)
    assert done.returncode == 0, f"{done.stderr}\n{chr(10).join(world.connections())}"
    return [(into / str(n)).read_bytes() for n in range(len(names))]


@pytest.mark.parametrize(
    ("family", "mode"),
    [*((IPV4, mode) for mode in _MODES), (IPV6, "EPRT"), (IPV6, "EPSV")],
    ids=["PORT", "EPRT", "PASV", "EPSV", "EPRT-ipv6", "EPSV-ipv6"],
)
@translations
def test_files_come_by_ftp(world: World, family: Family, mode: str, how: str) -> None:
    server = world.rules(family, how)
    # Each file has a data connection of its own, announced after the text before was rewritten.
    small, large, again = fetch(world, family, server, mode, "small", "large", "small")
    assert small == again == (world.files / "small").read_bytes()
    assert large == (world.files / "large").read_bytes()
    lines = world.connections()
    assert sum("helper=ftp" in line for line in lines) == 1
    assert sum("parent=(" in line for line in lines) == 3


@families
@translations
def test_files_go_by_ftp(world: World, family: Family, how: str) -> None:
    server = world.rules(family, how)
    name = f"up-{family.six}{how}"
    sent = world.files / "large"
    done = world.curl(*options(family, "EPRT"), "-T", str(sent), f"ftp://{server}/{name}")
    assert done.returncode == 0, done.stderr
    assert (world.files / name).read_bytes() == sent.read_bytes()


@families
@translations
def test_files_come_by_tftp(world: World, family: Family, how: str) -> None:
    server = world.rules(family, how)
    for name in ("small", "large"):
        into = Path(mkdtemp(prefix="got", dir="/run")) / name
        done = world.curl("-o", str(into), f"tftp://{server}/{name}")
        assert done.returncode == 0, f"{done.stderr}\n{chr(10).join(world.connections())}"
        assert into.read_bytes() == (world.files / name).read_bytes()
    assert any("helper=tftp" in line for line in world.connections())


def test_without_a_helper_no_data_come(world: World) -> None:
    server = world.rules(IPV4, "none", alg="", talg="")
    for mode in ("PORT", "EPSV"):
        done = world.curl("--max-time", "2", *options(IPV4, mode), f"ftp://{server}/small")
        assert done.returncode != 0
    assert world.curl("--max-time", "2", f"tftp://{server}/small").returncode != 0


def test_nobody_announces_another_host_or_a_service(world: World) -> None:
    world.rules(IPV4, "none")
    talk = (
        "import socket,sys;s=socket.create_connection(('10.0.0.2',21),60);s.settimeout(60);"
        "say=lambda t:(s.send(t),s.recv(4000));s.recv(4000);"
        "[say(t.encode()+b'\\r\\n') for t in sys.argv[1:]]"
    )
    lines = ["USER anonymous", "PASS x", "PORT 10,0,0,77,4,210", "PORT 10,0,0,1,0,22"]
    done = world.client.run("python3", "-c", talk, *lines)
    assert done.returncode == 0, done.stderr
    for refused in ("PORT of another's address 10.0.0.77", "PORT of port 22"):
        assert until(lambda said=f"refused: {refused}": said in world.host.log()), refused


def test_a_restarted_daemon_goes_on_helping(world: World) -> None:
    server = world.rules(IPV4, "source")
    talk = (
        "import ftplib,sys,time;f=ftplib.FTP('10.0.0.2',timeout=60);f.login();f.set_pasv(False);"
        "got=[];f.retrbinary('RETR small',got.append);print('ready',flush=True);"
        "sys.stdin.readline();f.retrbinary('RETR small',got.append);print(b''.join(got))"
    )
    process = subprocess.Popen(
        ["ip", "netns", "exec", "a", "python3", "-c", talk],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    world.host.kill()
    world.host.start()
    out, _ = process.communicate("go\n", timeout=90)
    assert out == f"{(world.files / 'small').read_bytes() * 2!r}\n"
    assert server == "10.0.0.2"


@pytest.fixture(scope="module")
def far(world: World) -> Iterator[Netns]:
    """A client whose servers are another machine's, behind a patch port and a tunnel."""
    host, peer = world.host, Peer()
    host.vsctl("add-br", "brf")
    host.vsctl("add-br", "brt")
    client = host.netns("far", "10.8.0.1/24", "brf")
    assert host.vsctl("get", "interface", "vfar", "ofport") == "1"
    for name, bridge, other in (("pf", "brf", "pt"), ("pt", "brt", "pf")):
        host.vsctl("add-port", bridge, name, "--", "set", "interface", name, "type=patch",
                   f"options:peer={other}")  # fmt: skip
    add_tunnel(host, "brt", "tun9", "vxlan", f"remote_ip={PEER_IP}", "key=flow")
    # The tunnel's key is changed on the way: packets must come back in by the one they came with.
    host.ofctl("add-flow", "brt", "priority=9,in_port=tun9,actions=set_field:5->tun_id,NORMAL")
    host.ofctl("add-flow", "brt", "priority=9,in_port=pt,actions=set_field:77->tun_id,NORMAL")
    client.run("ip", "link", "set", "eth0", "mtu", "1400")
    peer.ip("link", "add", "vx77", "type", "vxlan", "id", "77", "dstport", "4789",
            "remote", OUR_IP, "local", PEER_IP)  # fmt: skip
    peer.ip("link", "set", "vx77", "mtu", "1400", "up")
    peer.addresses("vx77", "10.8.0.2/24")
    assert until(lambda: client.ping("10.8.0.2", 1)), "the tunnel does not come up"
    client.run("ip", "neigh", "add", "10.8.0.199", "lladdr", client.mac, "dev", "eth0")
    peer.attempt("ip", "neigh", "add", "10.8.0.199", "lladdr", client.mac, "dev", "vx77")
    servers = serve(Netns("peer", "up0"), world.files)
    yield client
    for server in servers:
        server.terminate()
        server.wait(60)
    peer.end()
    for name in ("brf", "brt"):
        host.vsctl("del-br", name)


@pytest.mark.parametrize("mode", ["PORT", "PASV", "EPSV"])
@pytest.mark.parametrize("nat", ["", "nat(src=10.8.0.199),"], ids=["none", "source"])
def test_files_come_through_a_tunnel(world: World, far: Netns, mode: str, nat: str) -> None:
    rules = _RULES.format(ip="ip", six="", nat=nat, alg="alg=ftp,", talg="alg=tftp,")
    hang_up(far)
    world.host.ofctl("del-flows", "brf")
    world.host.ofctl("add-flows", "brf", "-", stdin=rules)
    world.host.appctl("dpctl/flush-conntrack")
    own = ["10.8.0.1"] if mode == "PORT" else []
    for url in ("ftp://10.8.0.2/large", "tftp://10.8.0.2/small"):
        into = Path(mkdtemp(prefix="got", dir="/run")) / "file"
        done = far.run("curl", "-sS", "--max-time", "60", *_MODES[mode], *own, "-o", str(into), url,
                       timeout_s=90)  # fmt: skip
        assert done.returncode == 0, f"{url}: {done.stderr}\n{chr(10).join(world.connections())}"
        assert into.read_bytes() == (world.files / Path(url).name).read_bytes()
    assert sum("parent=(" in line for line in world.connections()) == 2
