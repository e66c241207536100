"""A switch in a thread behind its real sockets, for tests that drive it with real tools."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import ovs.poller
from fake_datapath import FakeDatapath
from fake_devices import FakeDevices
from tests.system.world import until

from gossamer.switch.config import BridgeConfig, InterfaceConfig, PortConfig, SwitchConfig
from gossamer.switch.session import Session
from gossamer.switch.status import SwitchStatus
from gossamer.switch.switch import Switch


class RunningSwitch:
    """One switch with the bridge br0 and the ports v1, v2, v3, unless told otherwise."""

    def __init__(self, rundir: Path, datapath: FakeDatapath | None = None) -> None:
        self.rundir = rundir
        self.datapath = datapath or FakeDatapath()
        self.devices = FakeDevices()
        for n in (1, 2, 3):
            self.devices.appear(f"v{n}", f"00:00:00:00:00:0{n}")
        self.switch = Switch(self.datapath, self.devices, rundir)
        self._calls: list[tuple[Callable[[], Any], threading.Event, list[Any]]] = []
        self._stop = False
        self._read_fd, self._write_fd = os.pipe()
        self._thread = threading.Thread(target=self._loop, daemon=True)
        self._thread.start()

    def _loop(self) -> None:
        while not self._stop:
            while self._calls:
                call, done, result = self._calls.pop(0)
                try:
                    result.append(call())
                except BaseException as e:  # handed to the caller, who raises it
                    result.append(e)
                done.set()
            self.switch.run()
            poller = ovs.poller.Poller()
            self.switch.wait(poller)
            poller.fd_wait(self._read_fd, 1)
            if not self._calls and not self._stop:
                poller.block()
            os.set_blocking(self._read_fd, False)
            with contextlib.suppress(BlockingIOError):
                os.read(self._read_fd, 64)

    def call(self, function: Callable[[], Any]) -> Any:
        """Run a function in the switch's thread."""
        done, result = threading.Event(), []  # type: ignore[var-annotated]
        self._calls.append((function, done, result))
        os.write(self._write_fd, b"x")
        assert done.wait(60), "the switch does not come round its loop"
        if isinstance(result[0], BaseException):
            raise result[0]
        return result[0]

    def apply(self, *bridges: BridgeConfig, **more: Any) -> SwitchStatus:
        """Apply a configuration; without bridges the usual one."""
        config = SwitchConfig(bridges or (bridge(),), **more)
        status = self.call(lambda: self.switch.apply(config))
        assert isinstance(status, SwitchStatus)
        return status

    def sessions(self) -> list[Session]:
        """Whom br0 talks to, asked for between two rounds of the switch's loop."""
        return cast(
            "list[Session]",
            self.call(lambda: list(self.switch.bridges["br0"].controllers.sessions())),
        )

    def flows(self, name: str = "br0") -> list[str]:
        """What ovs-ofctl dump-flows says, without what changes with time."""
        lines = self.ofctl("--no-stats", "dump-flows", name, version=14).splitlines()
        return sorted(line.strip() for line in lines if "actions=" in line)

    def ofctl(self, *argv: str, version: int = 13, check: bool = True, stdin: str = "") -> str:
        """Run ovs-ofctl; returns its standard output, then its errors."""
        done = subprocess.run(
            ["ovs-ofctl", "-O", f"OpenFlow{version}", "--timeout=60", *argv],
            env={**os.environ, "OVS_RUNDIR": str(self.rundir)},
            capture_output=True,
            text=True,
            input=stdin,
            check=False,
            timeout=90,
        )
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    def stop(self) -> None:
        """End the thread; the switch is closed in order."""
        self.call(self.switch.close)
        self.kill()

    def kill(self) -> None:
        """End the thread as SIGKILL would: nothing is closed or flushed."""
        self._stop = True
        os.write(self._write_fd, b"x")
        self._thread.join(60)
        assert not self._thread.is_alive()
        os.close(self._read_fd)
        os.close(self._write_fd)


class Watching:
    """A command of ovs-ofctl that runs until it is told to end."""

    def __init__(self, switch: RunningSwitch, *argv: str, version: int = 13) -> None:
        self.process = subprocess.Popen(
            ["ovs-ofctl", "-O", f"OpenFlow{version}", "--timeout=120", *argv],
            env={**os.environ, "OVS_RUNDIR": str(switch.rundir)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        assert self.process.stdout is not None
        os.set_blocking(self.process.stdout.fileno(), False)
        self.seen = ""

    def shows(self, pattern: str, seconds: float = 30.0) -> bool:
        """Whether a pattern comes up in what it prints."""

        def found() -> bool:
            assert self.process.stdout is not None
            self.seen += (self.process.stdout.read() or b"").decode()
            return re.search(pattern, self.seen) is not None

        return until(found, seconds)

    def __enter__(self) -> Watching:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


def bridge(name: str = "br0", ports: int = 3, **more: Any) -> BridgeConfig:
    """A bridge with the ports v1.. as system devices."""
    configs = tuple(PortConfig(f"v{n}", (InterfaceConfig(f"v{n}"),)) for n in range(1, ports + 1))
    return BridgeConfig(name, ports=configs, **more)
