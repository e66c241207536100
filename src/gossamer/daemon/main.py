"""The daemon: database, switch and datapath around one event loop."""

from __future__ import annotations

import gc
import hashlib
import logging
import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from gossamer.daemon import options as opts
from gossamer.daemon import system_statistics
from gossamer.errors import DatabaseError, GossamerError
from gossamer.ovsdb.server import SCHEMA_PLACES, DatabaseServer, Directories

if TYPE_CHECKING:
    from gossamer.daemon.control import Reply
    from gossamer.datapath import Datapath
    from gossamer.switch.config import SslConfig

log = logging.getLogger(__name__)

_BPFFS: Final = Path("/sys/fs/bpf/gossamer")
_SWEEP_S: Final = 1.0
_SWEEP_PARTS: Final = 60


def pin_directory(rundir: Path) -> Path:
    """Where the datapath of a run directory is pinned."""
    digest = hashlib.sha256(str(rundir.resolve()).encode()).hexdigest()[:12]
    return _BPFFS / digest


def _remove_dead_sockets(rundir: Path) -> None:
    """Control sockets of daemons that were killed."""
    for path in rundir.glob("ovs-vswitchd.*.ctl"):
        pid = path.name.split(".")[1]
        if pid.isdigit() and not Path(f"/proc/{pid}").exists():
            path.unlink(missing_ok=True)


def _open_datapath(pin_dir: Path, server: DatabaseServer | None) -> Datapath:
    """The datapath; while the kernel verifies its programs, the database starts and code is read."""
    from gossamer.datapath import Datapath

    with ThreadPoolExecutor(1) as pool:
        opening = pool.submit(Datapath.open, pin_dir)
        try:
            if server is not None:
                server.ensure()
        except DatabaseError:
            if opening.exception() is None:
                datapath = opening.result()
                if datapath.found_running:
                    datapath.close()
                else:
                    datapath.destroy()
            raise
        import gossamer.daemon.appctl.commands
        import gossamer.daemon.control
        import gossamer.devices.devices
        import gossamer.ovsdb.client
        import gossamer.switch.switch  # noqa: F401

        return opening.result()


class Daemon:
    """Everything that runs; `serve()` returns when it is asked to end."""

    def __init__(self, guise: opts.Guise, options: opts.Options, dirs: Directories) -> None:
        self._dirs = dirs
        self._guise = guise
        self._stop = False
        self._cleanup = False
        self._server = (
            DatabaseServer(dirs) if guise.starts_database and not options.database else None
        )
        remote = options.database or f"unix:{dirs.run / 'db.sock'}"
        schema = next((p for p in SCHEMA_PLACES if p.exists()), SCHEMA_PLACES[0])
        pin_dir = pin_directory(dirs.run)
        self._datapath = _open_datapath(pin_dir, self._server)
        from gossamer.daemon.appctl.commands import AppctlCommands
        from gossamer.daemon.control import Control
        from gossamer.daemon.shortages import Shortages
        from gossamer.daemon.slices import Slices
        from gossamer.devices.devices import HostDevices
        from gossamer.ovsdb import tls
        from gossamer.ovsdb.client import Client
        from gossamer.switch.switch import Switch

        self._devices = HostDevices(dirs.run)
        self.switch = Switch(self._datapath, self._devices, dirs.run)
        self._tls = options.tls
        tls.install(options.tls)
        self._client = Client(remote, schema)
        _remove_dead_sockets(dirs.run)
        path = options.unixctl or str(dirs.run / f"ovs-vswitchd.{os.getpid()}.ctl")
        self._control = Control(path, opts.OVS_VERSION)
        self._control.add_deferring("exit", "[--cleanup]", 0, 1, self._exit)
        self._control.add_all(self.switch.commands)
        self._slices = Slices()
        self._appctl = AppctlCommands(self.switch, self._datapath, pin_dir, self._slices)
        self._appctl.register(self._control)
        self._shortages = Shortages(self._datapath.conntrack.counters)
        self._leaving: list[Reply] = []
        self.applied = False
        self._written_changes = -1
        self._next_statistics = 0.0
        self._statistics: Iterator[dict[str, dict[str, int]]] | None = None
        """Those that are being written."""
        self._system: dict[str, str] = {}
        self._next_sweep = 0.0

    def _exit(self, argv: Sequence[str], reply: Reply) -> None:
        self._cleanup = self._cleanup or "--cleanup" in argv
        self._stop = True
        self._leaving.append(reply)

    @property
    def ready(self) -> bool:
        """The database is there, and what it asks for is done."""
        return self.applied or (self._server is None and self._client.empty)

    def stop(self, *_: object) -> None:
        """End after this round (a signal handler)."""
        self._stop = True

    @property
    def stopping(self) -> bool:
        """True once it was asked to end."""
        return self._stop

    def run(self) -> None:
        """One round: what is ready."""
        now = time.monotonic()
        config = self._client.run()
        if config is not None:
            self.switch.converge(replace(config, ssl=_tls(self._tls, config.ssl)))
            self._appctl.coverage.count("bridge_reconfigure")
            self.applied = True
            # Tell the waiting ovs-vsctl at once.
            self._write_status()
        self.switch.run()
        if self.applied and (self.switch.changes != self._written_changes or self._client.rewrite):
            self._write_status()
        if self.applied:
            self._write_statistics(now)
        if now >= self._next_sweep:
            self._next_sweep = now + _SWEEP_S
            self._slices.start(self._datapath.sweep())
            self._sweep_connections()
            self.switch.helpers.sweep(now)
            self._appctl.each_second(now)
            self._shortages.run(now)
            if self._server is not None:
                self._server.watch()
        self._slices.run()
        self._appctl.run()
        self._control.run()

    def _sweep_connections(self) -> None:
        """Go over a part of the connections: over all of them about once a minute.

        The kernel expires them by itself; counts are right because of this.
        """
        conntrack = self._datapath.conntrack
        self._slices.start(conntrack.sweeping(_SWEEP_PARTS))

    def _write_statistics(self, now: float) -> None:
        """Go on with the statistics where it is time: a part in a transaction of its own, so that
        whoever waits for an answer never waits for all of it."""
        if self._client.busy:
            return
        if self._statistics is None:
            if now < self._next_statistics:
                return
            self._next_statistics = now + self._client.statistics_interval_ms / 1000
            wanted = self._client.wants_system_statistics
            self._system = system_statistics.read(self._dirs.run) if wanted else {}
            self._statistics = self.switch.read_statistics()
        part = next(self._statistics, None)
        if part is None:
            self._statistics = None
        else:
            self._client.write_statistics(part, self._system)

    def _write_status(self) -> None:
        if self._client.busy:
            return
        changes = self.switch.changes
        self._client.write(self.switch.status(), opts.OVS_VERSION)
        self._written_changes = changes

    def wait(self) -> None:
        """Sleep until something is ready."""
        from ovs.poller import Poller

        poller = Poller()
        self._client.wait(poller)
        self.switch.wait(poller)
        self._control.wait(poller)
        self._slices.wait(poller)
        self._appctl.wait(poller)
        moment = self._next_sweep
        if self.applied and not self._client.busy:
            moment = min(moment, self._next_statistics if self._statistics is None else 0.0)
        poller.timer_wait_until(int(moment * 1000) + 1)
        if self._stop:
            poller.immediate_wake()
        poller.block()

    def close(self) -> None:
        """End.  Packets go on being forwarded unless ``exit --cleanup`` asked otherwise."""
        self._appctl.close()
        if self._cleanup:
            self.switch.destroy()
            self._devices.destroy()
        else:
            self.switch.close()
            self._datapath.close()
            self._devices.close()
        self._client.close()
        for reply in self._leaving:
            reply.ok("")
        self._control.close()


def _tls(given: SslConfig | None, stored: SslConfig | None) -> SslConfig | None:
    """The database's key, certificate and CA come before those of the command line."""
    if given is None or stored is None:
        return stored or given
    return replace(
        stored,
        peer_ca_cert=given.peer_ca_cert,
        protocols=given.protocols,
        ciphers=given.ciphers,
    )


def _make(directory: Path) -> None:
    """Make a directory where it is not there.  Raises GossamerError."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        raise GossamerError(
            f"cannot be made: {e.strerror}",
            place=str(directory),
            remedy="run it as root, or name others by OVS_RUNDIR and OVS_LOGDIR",
        ) from None


def _serve(guise: opts.Guise, argv: Sequence[str]) -> int:
    gc.disable()  # what is made till it runs is there to stay
    dirs = Directories.from_environment(guise.product)
    # The library looks for these when it is imported.
    os.environ.update(dirs.environment())
    os.environ.setdefault("OVS_PKGDATADIR", "/usr/share/openvswitch")
    options = opts.parse(guise, argv)

    import ovs.daemon

    # All that logs must be known before logging is set up.
    import ovs.db.idl
    import ovs.dirs
    import ovs.stream
    import ovs.unixctl.client
    import ovs.unixctl.server
    import ovs.util
    import ovs.vlog

    from gossamer.daemon import log as daemon_log
    from gossamer.daemon import process

    daemon_log.install()
    ovs.dirs.RUNDIR, ovs.dirs.LOGDIR, ovs.dirs.DBDIR = str(dirs.run), str(dirs.log), str(dirs.db)
    ovs.util.PROGRAM_NAME = "ovs-vswitchd"  # ovs-appctl looks for our pid file and socket by it
    for directory in (dirs.run, dirs.log):
        _make(directory)
    if options.pidfile == "" or (guise.starts_database and options.pidfile is None):
        options.pidfile = str(dirs.run / "ovs-vswitchd.pid")
    daemon_log.start(options)
    process.become(options.user)
    process.tell_failures_as(guise.program)
    ovs.daemon.handle_args(options)
    ovs.daemon.daemonize_start()
    if options.mlockall:
        process.lock_memory()
    daemon = Daemon(guise, options, dirs)
    gc.freeze()
    gc.enable()
    signal.signal(signal.SIGTERM, daemon.stop)
    signal.signal(signal.SIGINT, daemon.stop)
    try:
        _loop(daemon, guise)
    except GossamerError:
        raise
    except Exception:
        # Nobody reads what a detached process writes to its console.
        log.critical("the daemon ends by an error of its own; packets go on", exc_info=True)
        raise
    daemon.close()
    return 0


def _loop(daemon: Daemon, guise: opts.Guise) -> None:
    import ovs.daemon

    detached = False
    while not daemon.stopping:
        daemon.run()
        if not detached and daemon.ready:
            ovs.daemon.daemonize_complete()
            detached = True
            log.info("%s is ready", opts.version_text(guise).splitlines()[0])
        if not daemon.stopping:
            daemon.wait()


def _guarded(guise: opts.Guise, argv: Sequence[str]) -> int:
    try:
        return _serve(guise, argv)
    except GossamerError as e:
        print(f"{guise.program}: {e}", file=sys.stderr)
        if e.remedy:
            print(f"{guise.program}: {e.remedy}", file=sys.stderr)
        return 1


def main() -> None:
    """gossamerd."""
    raise SystemExit(_guarded(opts.GOSSAMERD, sys.argv[1:]))


def main_vswitchd() -> None:
    """ovs-vswitchd."""
    raise SystemExit(_guarded(opts.OVS_VSWITCHD, sys.argv[1:]))


if __name__ == "__main__":
    main()
