"""What is done to the service and to all that it stands on; each fault is a function that waits until it is over."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

MEGABYTES = 96


class Program:
    """A server in a process of its own, which can be killed and started again."""

    def __init__(self, command: list[str], environment: dict[str, str] | None = None, log: Path | None = None) -> None:
        self.command, self.environment, self.log = command, environment, log
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it."""
        with (self.log or Path(os.devnull)).open("ab") as log:
            self.process = subprocess.Popen(self.command, env=self.environment, stdout=log, stderr=log)

    def kill(self, how: int = signal.SIGKILL) -> None:
        """End it."""
        if self.process is not None:
            self.process.send_signal(how)
            self.process.wait(60)
            self.process = None

    def send(self, number: int) -> None:
        """Send it a signal."""
        if self.process is not None:
            self.process.send_signal(number)


class World:
    """Everything that the service stands on."""

    def __init__(self, redis: Program, postgres: Any, receiver: Program, service: Program, home: Path, mounted: bool) -> None:
        self.redis, self.postgres, self.receiver, self.service = redis, postgres, receiver, service
        self.home, self.mounted = home, mounted
        self.killed = 0

    def workers(self) -> list[int]:
        """Return the process ids of the service's workers."""
        assert self.service.process is not None
        found = []
        for place in Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = place.read_text().rpartition(")")[2].split()
                command = place.with_name("cmdline").read_bytes()
            except OSError:
                continue
            if int(fields[1]) == self.service.process.pid and b"resource_tracker" not in command:
                found.append(int(place.parent.name))
        return found


def redis_away(world: World, seconds: float) -> None:
    """The cache is killed."""
    world.redis.kill()
    time.sleep(seconds)
    world.redis.start()


def redis_hangs(world: World, seconds: float) -> None:
    """The cache takes connections and answers nothing."""
    world.redis.send(signal.SIGSTOP)
    time.sleep(seconds)
    world.redis.send(signal.SIGCONT)


def postgres_killed(world: World, seconds: float) -> None:
    """The database of ledger and queue is killed."""
    world.postgres.end(signal.SIGKILL)
    time.sleep(seconds)
    world.postgres.start()


def sink_away(world: World, seconds: float) -> None:
    """A receiver of records is killed."""
    world.receiver.kill()
    time.sleep(seconds)
    world.receiver.start()


def worker_killed(world: World, seconds: float) -> None:
    """A worker is killed, in the middle of whatever it does."""
    workers = world.workers()
    if workers:
        os.kill(random.choice(workers), signal.SIGKILL)
        world.killed += 1
    time.sleep(seconds)


def disk_full(world: World, seconds: float) -> None:
    """Nothing more fits on the disk of the home folder; and the database is away, so that it is needed."""
    ballast = world.home.parent / "ballast"
    if not world.mounted:
        return
    world.postgres.end(signal.SIGKILL)
    with ballast.open("wb", buffering=0) as file:
        try:
            while file.write(b"\0" * 65_536):
                pass
        except OSError:
            pass
    time.sleep(seconds)
    ballast.unlink()
    world.postgres.start()


def clock_jumps(world: World, seconds: float) -> None:
    """The wall clock of every worker goes an hour ahead, and back."""
    for _ in range(2):
        for pid in world.workers():
            try:
                os.kill(pid, signal.SIGUSR2)
            except ProcessLookupError:
                continue
        time.sleep(seconds / 2)


FAULTS: tuple[Callable[[World, float], None], ...] = (
    redis_away, worker_killed, postgres_killed, sink_away, clock_jumps, redis_hangs, worker_killed, disk_full,
)  # fmt: skip


def mount(folder: Path) -> bool:
    """Put a small disk of its own under a folder; return whether that was possible: it needs root and Linux."""
    folder.mkdir()
    if sys.platform != "linux" or os.geteuid() or shutil.which("mount") is None:
        return False
    command = ["mount", "-t", "tmpfs", "-o", f"size={MEGABYTES}m", "tmpfs", str(folder)]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def unmount(folder: Path) -> None:
    """Take the small disk away."""
    subprocess.run(["umount", "-l", str(folder)], capture_output=True, check=False)
