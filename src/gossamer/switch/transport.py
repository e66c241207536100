"""Byte streams to controllers: tcp, ssl and unix, connecting and listening.

Sockets are used directly rather than through `ovs.stream`: that one knows no
``pssl:``, wants ``ptcp:`` arguments in another order than ovs-vswitchd, and
costs more a message than our decoder does.  Targets are written as in
ovs-vswitchd.conf.db(5), Controller.target.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import socket
import ssl
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Final

from gossamer.errors import GossamerError
from gossamer.switch.config import SslConfig

log = logging.getLogger(__name__)

OPENFLOW_PORT: Final = 6653
ACTIVE: Final = ("tcp", "ssl", "unix")
PASSIVE: Final = ("ptcp", "pssl", "punix")
_BACKLOG: Final = 64


class TransportError(GossamerError):
    """A target that cannot be understood, listened on or connected to."""

    def __init__(self, message: str, *, place: str = "", remedy: str = "", code: int = 0) -> None:
        super().__init__(message, place=place, remedy=remedy)
        self.code = code
        """errno, or 0."""


def is_passive(target: str) -> bool:
    """True for a target that listens."""
    return target.partition(":")[0] in PASSIVE


def split_address(text: str, target: str) -> tuple[str, str]:
    """``a:b`` or ``[v6]:b`` as two strings; either may be empty."""
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            raise TransportError("unbalanced brackets in address", place=target)
        return host, rest[1:]
    head, _, tail = text.partition(":")
    return head, tail


def _port(text: str, target: str) -> int:
    if not text:
        return OPENFLOW_PORT
    if not text.isdecimal() or int(text) > 0xFFFF:
        raise TransportError(f"{text!r} is not a port number", place=target)
    return int(text)


def _resolve(
    host: str, port: int, target: str
) -> tuple[socket.AddressFamily, tuple[str, int] | tuple[str, int, int, int]]:
    try:
        found = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST
        )[0]
    except OSError as e:
        raise TransportError(
            f"{host!r} is not an IP address", place=target, remedy="give an address, not a name"
        ) from e
    return found[0], found[4]  # type: ignore[return-value]


def error_text(error: OSError | TransportError) -> str:
    """Why a connection failed, for Controller.status:last_error."""
    if isinstance(error, TransportError):
        return error.message
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"certificate verify failed: {error.verify_message}"
    if isinstance(error, ssl.SSLError) and error.reason:
        return f"TLS: {error.reason.lower().replace('_', ' ')}"
    return error.strerror or str(error)


def ssl_context(config: SslConfig | None, *, server: bool, target: str) -> ssl.SSLContext:
    """A context that proves itself with our certificate and demands one of the CA's.

    Where the CA's certificate is yet to be fetched from the peer, any peer will do (see
    `bootstrap_ca()`).  Raises TransportError where the files of table SSL are missing or unusable.
    """
    if config is None or not (config.private_key and config.certificate and config.ca_cert):
        raise TransportError(
            "SSL needs a private key, a certificate and a CA certificate",
            place=target,
            remedy="ovs-vsctl set-ssl KEY CERTIFICATE CA-CERTIFICATE",
            code=errno.ENOPROTOOPT,
        )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server else ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED
    try:
        _load_chain(context, config)
        if config.ca_cert == "none" or (not server and must_bootstrap(config)):
            context.verify_mode = ssl.CERT_NONE
        else:
            context.load_verify_locations(config.ca_cert)
        if config.protocols:
            context.minimum_version, context.maximum_version = _versions(config.protocols)
        if config.ciphers:
            context.set_ciphers(config.ciphers)
    except (OSError, ValueError, ssl.SSLError) as e:
        raise TransportError(
            f"cannot load SSL files: {e}", place=target, remedy="ovs-vsctl get-ssl names them"
        ) from e
    return context


_VERSIONS: Final = {
    "tlsv1": ssl.TLSVersion.TLSv1,
    "tlsv1.1": ssl.TLSVersion.TLSv1_1,
    "tlsv1.2": ssl.TLSVersion.TLSv1_2,
}


def _versions(protocols: str) -> tuple[ssl.TLSVersion, ssl.TLSVersion]:
    """The lowest and the highest of a list.  Raises ValueError for others than the peer knows."""
    words = protocols.lower().replace(",", " ").split()
    unknown = [word for word in words if word not in _VERSIONS]
    if unknown or not words:
        raise ValueError(f"SSL protocol not recognized: {' '.join(unknown)}")
    versions = sorted(_VERSIONS[word] for word in words)
    return versions[0], versions[-1]


def _load_chain(context: ssl.SSLContext, config: SslConfig) -> None:
    if not config.peer_ca_cert:
        context.load_cert_chain(config.certificate, config.private_key)
        return
    # What is sent along must stand behind the certificate, in one file.
    with NamedTemporaryFile(suffix=".pem") as chain:
        for part in (config.certificate, config.peer_ca_cert):
            chain.write(Path(part).read_bytes() + b"\n")
        chain.flush()
        context.load_cert_chain(chain.name, config.private_key)


def must_bootstrap(config: SslConfig) -> bool:
    """Whether the CA's certificate is to be fetched from the peer (`bootstrap_ca()`)."""
    return config.bootstrap_ca_cert and not Path(config.ca_cert).exists()


def bootstrap_ca(peer: ssl.SSLSocket, file: Path) -> None:
    """Keep the CA's certificate that a peer sent with its own, to trust it from now on.

    (ovs-vswitchd.conf.db(5), SSL.bootstrap_ca_cert: open to a man in the middle
    once.)  Raises TransportError where the peer sends none that signed itself.
    """
    assert peer._sslobj is not None  # type: ignore[attr-defined]
    # Python has no public name for this before 3.13.
    chain = peer._sslobj.get_unverified_chain() or []  # type: ignore[attr-defined]
    last = chain[-1].get_info() if chain else {}
    if not chain or last["subject"] != last["issuer"]:
        raise TransportError(
            "could not bootstrap CA cert: the peer sends none that signed itself",
            place=str(file),
            remedy="give ovs-testcontroller --peer-ca-cert, or put the certificate there by hand",
        )
    try:
        with file.open("x", encoding="ascii") as out:
            out.write(chain[-1].public_bytes())
    except OSError as e:
        raise TransportError(f"could not bootstrap CA cert: {e.strerror}", place=str(file)) from e
    log.warning("the CA certificate in %s is the one that %s sent", file, peer.getpeername()[0])


class Transport:
    """One byte stream that never blocks."""

    def __init__(
        self,
        sock: socket.socket,
        name: str,
        context: ssl.SSLContext | None,
        *,
        server: bool,
        ca_file: Path | None = None,
    ) -> None:
        """`ca_file` is where to keep the CA's certificate that the peer sends; then the
        connection ends, and the next one can verify it."""
        sock.setblocking(False)
        if sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.name = name
        self._handshaking = context is not None
        self._ca_file = ca_file
        self._connecting = not server
        self.wants_write = False
        """The TLS layer must write before it can go on reading."""
        if context is not None:
            sock = context.wrap_socket(sock, server_side=server, do_handshake_on_connect=False)
        self.socket = sock

    def fileno(self) -> int:
        """For poll()."""
        return self.socket.fileno()

    @property
    def established(self) -> bool:
        """Connected, and through the TLS handshake."""
        return not (self._connecting or self._handshaking)

    def connect(self) -> bool:
        """Go on connecting; True once data can flow.

        Raises OSError (ssl.SSLError is one) when it failed.
        """
        if self._connecting:
            code = self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if code:
                raise OSError(code, os.strerror(code))
            try:
                self.socket.getpeername()
            except OSError as e:
                if e.errno == errno.ENOTCONN:
                    return False
                raise
            self._connecting = False
        if self._handshaking:
            assert isinstance(self.socket, ssl.SSLSocket)
            self.wants_write = False
            try:
                self.socket.do_handshake()
            except ssl.SSLWantReadError:
                return False
            except ssl.SSLWantWriteError:
                self.wants_write = True
                return False
            self._handshaking = False
            if self._ca_file is not None:
                bootstrap_ca(self.socket, self._ca_file)
                raise OSError(errno.EPROTO, "bootstrapped CA cert; connecting again")
        return True

    @property
    def waits_for_write(self) -> bool:
        """Whether progress needs the socket to become writable."""
        return self._connecting or self.wants_write

    def recv(self, n: int) -> bytes | None:
        """Up to `n` bytes; b"" at the end of the stream, None when nothing is there yet.

        Raises OSError when the stream broke.
        """
        try:
            return self.socket.recv(n)
        except (BlockingIOError, ssl.SSLWantReadError):
            return None
        except ssl.SSLWantWriteError:
            self.wants_write = True
            return None

    def send(self, data: bytes) -> int:
        """Send what fits; returns how much that was.

        Raises OSError when the stream broke.
        """
        try:
            self.wants_write = False
            return self.socket.send(data)
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return 0

    def close(self) -> None:
        """Close at once."""
        self.socket.close()


def open_active(target: str, ssl_config: SslConfig | None) -> Transport:
    """Begin to connect to ``tcp:IP[:PORT]``, ``ssl:IP[:PORT]`` or ``unix:FILE``.

    Raises TransportError for a bad target, OSError when it fails at once.
    """
    method, _, rest = target.partition(":")
    context = ssl_context(ssl_config, server=False, target=target) if method == "ssl" else None
    address: str | tuple[str, int] | tuple[str, int, int, int]
    if method == "unix":
        family, address = socket.AF_UNIX, rest
    elif method in ACTIVE:
        host, port = split_address(rest, target)
        family, address = _resolve(host, _port(port, target), target)
    else:
        raise TransportError(f"unknown connection method {method!r}", place=target)
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setblocking(False)
    try:
        sock.connect(address)
    except BlockingIOError:
        pass  # in progress: what a non-blocking connect is for
    except OSError:
        sock.close()
        raise
    ca_file = None
    if context is not None and ssl_config is not None and must_bootstrap(ssl_config):
        ca_file = Path(ssl_config.ca_cert)
    return Transport(sock, target, context, server=False, ca_file=ca_file)


class Listener:
    """Accepts connections on ``ptcp:[PORT][:IP]``, ``pssl:[PORT][:IP]`` or ``punix:FILE``."""

    def __init__(self, target: str, ssl_config: SslConfig | None) -> None:
        """Start to listen.  Raises TransportError where that is impossible."""
        self.target = target
        self._path: Path | None = None
        method, _, rest = target.partition(":")
        self._ssl = ssl_config
        self._tls = method == "pssl"
        if self._tls:
            ssl_context(ssl_config, server=True, target=target)  # tells at once what is wrong
        try:
            if method == "punix":
                self.socket = self._listen_unix(Path(rest))
            elif method in PASSIVE:
                self.socket = _listen_tcp(rest, target)
            else:
                raise TransportError(f"unknown connection method {method!r}", place=target)
        except OSError as e:
            raise TransportError(
                f"cannot listen: {e.strerror}", place=target, code=e.errno or 0
            ) from e
        self.socket.setblocking(False)

    def _listen_unix(self, path: Path) -> socket.socket:
        path.unlink(missing_ok=True)
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.bind(str(path))
            path.chmod(0o750)
            sock.listen(_BACKLOG)
        except OSError:
            sock.close()
            raise
        self._path = path
        return sock

    def accept(self) -> Transport | None:
        """The next connection, None when there is none."""
        try:
            sock, address = self.socket.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return None
        method = self.target.partition(":")[0][1:]
        peer = f"{method}:{address[0]}:{address[1]}" if isinstance(address, tuple) else "unix#"
        try:
            # The files anew for each: certificates are renewed under the same names.
            context = ssl_context(self._ssl, server=True, target=self.target) if self._tls else None
        except TransportError as e:
            log.warning("controller=%s: %s", self.target, e)
            sock.close()
            return None
        return Transport(sock, peer, context, server=True)

    def close(self) -> None:
        """Stop to listen; the socket's file goes too."""
        self.socket.close()
        if self._path is not None:
            with contextlib.suppress(FileNotFoundError):
                self._path.unlink()


def _listen_tcp(rest: str, target: str) -> socket.socket:
    if rest.startswith("["):
        raise TransportError("the port comes first: ptcp:PORT:ADDRESS", place=target)
    port_text, _, host = rest.partition(":")
    port = _port(port_text, target)
    family, address = _resolve(host.strip("[]") or "0.0.0.0", port, target)
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
        sock.listen(_BACKLOG)
    except OSError:
        sock.close()
        raise
    return sock
