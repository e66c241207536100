"""The database over TLS (``ssl:HOST:PORT``), with the files of the command line.

The library's own stream for it cannot do without any of the files, nor fetch a
CA's certificate: connecting is done as to controllers.
"""

from __future__ import annotations

import errno
import logging
import socket
import ssl
from pathlib import Path

import ovs.socket_util
import ovs.stream

from gossamer.switch.config import SslConfig
from gossamer.switch.transport import TransportError, bootstrap_ca, must_bootstrap, ssl_context

log = logging.getLogger(__name__)


def install(config: SslConfig | None) -> None:
    """Let the library connect with these files; without them ``ssl:`` fails, and is tried again."""
    library = ovs.stream.SSLStream
    finish = library.connect
    told: set[str] = set()

    def open_(suffix: str, dscp: int) -> tuple[int, socket.socket | None]:
        try:
            context = ssl_context(config, server=False, target=f"ssl:{suffix}")
        except TransportError as e:
            if str(e) not in told:  # it is tried again and again
                log.error("%s", e)
            told.add(str(e))
            return errno.ENOPROTOOPT, None
        address = ovs.socket_util.inet_parse_active(suffix, 0, raises=False)
        family, plain = ovs.socket_util.inet_create_socket_active(socket.SOCK_STREAM, address)
        if plain is None:
            return family, None
        wrapped = context.wrap_socket(plain, do_handshake_on_connect=False)
        error = ovs.socket_util.inet_connect_active(wrapped, address, family, dscp)
        if not error:
            wrapped.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return error, wrapped

    def connect(self: ovs.stream.SSLStream) -> int:
        fetches = config is not None and must_bootstrap(config)
        error = int(finish(self))
        if error or not fetches:
            return error
        assert config is not None
        assert isinstance(self.socket, ssl.SSLSocket)
        try:
            bootstrap_ca(self.socket, Path(config.ca_cert))
        except TransportError as e:
            log.error("%s", e)
        return errno.EPROTO  # the next connection can be verified

    library._open = staticmethod(open_)
    library.connect = connect
