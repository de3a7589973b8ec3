"""Child processes of `enforce="process"`, from their parent's side: started, kept warm, killed, reaped."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from multiprocessing import spawn, util
from typing import Any, Final

from guardrail import clock, lifecycle
from guardrail.drivers import channel, target
from guardrail.drivers.channel import Channel, dumps
from guardrail.drivers.child import IDLE
from guardrail.errors import ConfigError, LimitExceeded

START_SECONDS: Final = 60.0  # the most that a child may take to start and to import the function's module
EXIT_ORDER: Final = 10  # before the ledger: a child's last records are its own to write
_FRESH: Final = IDLE - 10.0  # an idle child is not used for longer, so that it never ends just when a job is on its way
_REAP: Final = 0.005  # seconds that a kill waits for the process to be gone; what takes longer is reaped later
# Not multiprocessing's own start methods: they run the user's main script again in every child.
_BOOT: Final = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[3]); "
    "from guardrail.drivers.child import main; main(int(sys.argv[1]), int(sys.argv[2]))"
)


class Child:
    """One child process, from the parent's side. It belongs to one caller at a time."""

    def __init__(self, where: target.Where) -> None:
        ours, theirs = socket.socketpair()
        life, self.life = os.pipe()  # the child ends when the last copy of our end is closed: with this process
        self.channel = Channel(ours)
        self.ready = False
        self.idle_since = 0.0
        given = (theirs.fileno(), life)
        command = [
            os.fsdecode(spawn.get_executable() or sys.executable),
            *util._args_from_interpreter_flags(),  # type: ignore[attr-defined]  # noqa: SLF001 - no public way to the flags
            *("-c", _BOOT, *map(str, given), json.dumps(sys.path)),
        ]
        try:
            # A session of its own: Ctrl-C does not reach it, and all that it starts is killed with it.
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, pass_fds=given, start_new_session=True)  # noqa: S603 - our own interpreter
        except BaseException:
            self._close()
            raise
        finally:
            theirs.close()
            os.close(life)
        living.add(self)
        with contextlib.suppress(OSError):  # it has died already, which `wait_ready` tells
            self.channel.send(channel.TARGET, dumps((sys.argv, where)), until=clock.now() + START_SECONDS)

    def _close(self) -> None:
        self.channel.close()
        os.close(self.life)

    def kill(self) -> None:
        """End it at once, with all that it has started."""
        if self not in living:
            return
        living.discard(self)
        if self.process.poll() is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.process.pid, signal.SIGKILL)
        self._close()
        try:
            self.process.wait(_REAP)
        except subprocess.TimeoutExpired:
            _dying.append(self.process)
        _reap()

    def forget(self) -> None:
        """Close what a forked process inherited of it, which is not its child."""
        self._close()
        self.process.returncode = 0  # or its end would be awaited here

    def usable(self) -> bool:
        """Return whether it lives and is not about to end by itself."""
        return self.process.poll() is None and (not self.ready or clock.now() - self.idle_since < _FRESH)


class Pool:  # per function and not per guard: a redefined function never runs in its predecessor's child
    """The idle children of one function, the latest used last."""

    def __init__(self, fn: Callable[..., Any], guard: str) -> None:
        self.fn = fn  # held, so that its id stays its own
        self.where = target.locate(fn, guard)
        self.idle: list[Child] = []
        self.used = clock.now()

    def take(self) -> Child | None:
        """Return an idle child, or None."""
        self.used = clock.now()
        while True:
            try:
                child = self.idle.pop()
            except IndexError:
                return None
            if child.usable():
                return child
            child.kill()

    def put(self, child: Child) -> None:
        """Keep a child for the next caller."""
        child.idle_since = self.used = clock.now()
        self.idle.append(child)


_lock = threading.RLock()  # a signal handler may call a guard while its thread is in `pool_of`
_pools: dict[int, Pool] = {}  # by id of the function
living: set[Child] = set()
_dying: list[subprocess.Popen[bytes]] = []


def pool_of(fn: Callable[..., Any], guard: str) -> Pool:
    """Return the children of a function, without starting any; forget those of functions that nobody calls any more.

    Raises:
        ConfigError: No child could find the function.
    """
    pool = _pools.get(id(fn))
    if pool is None:
        with _lock:
            pool = _pools.get(id(fn))
            if pool is None:
                before = clock.now() - IDLE
                for key in [key for key, old in _pools.items() if old.used < before]:
                    for child in _pools.pop(key).idle:
                        child.kill()
                pool = _pools[id(fn)] = Pool(fn, guard)
    return pool


def start(pool: Pool, guard: str) -> Child:
    """Start a child, without waiting for it.

    Raises:
        LimitExceeded: The system refuses.
    """
    _reap()
    try:
        return Child(pool.where)
    except OSError as error:
        raise LimitExceeded(
            f"no process can be started for {guard} ({type(error).__name__}); it was not run",
            guard=guard,
            policy="budget",
            hint="this system is at its limit of processes, files or memory; give the guard a limit=...",
        ) from error


def wait_ready(child: Child, guard: str, until: float, inherited: float | None = None) -> None:
    """Wait until a child has loaded its function.

    Raises:
        TimeoutError: The inherited deadline passed; the child goes on starting.
        ChildProcessError: It died, or was not ready at `until` (monotonic) and was killed.
        ConfigError: It could not load the function.
    """
    if child.ready:
        return
    bound = until if inherited is None else min(until, inherited)
    try:
        kind, text = child.channel.receive(bound)
    except EOFError:
        raise died(child, guard) from None
    except TimeoutError:
        if inherited is not None and inherited <= until:
            raise
        child.kill()
        raise ChildProcessError(f"the child process of {guard} was not ready within {START_SECONDS:g} s") from None
    if kind == channel.BROKEN:
        child.kill()
        raise ConfigError(
            f"the child process could not load the function: {text.decode()}; its error output says more",
            guard=guard,
            policy="budget",
            hint="its module must be importable in a fresh interpreter with the same sys.path",
        )
    child.ready = True


def died(child: Child, guard: str) -> ChildProcessError:
    """Return the error that says how a child died."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.process.wait(1.0)
    code = child.process.returncode
    child.kill()
    how = "" if code is None else f" with exit code {code}"
    if code is not None and code < 0:
        how = f" of signal {signal.Signals(-code).name}" if -code in set(signal.Signals) else f" of signal {-code}"
    why = "; the system may have run out of memory" if code == -signal.SIGKILL else ""
    return ChildProcessError(f"the child process that ran {guard} died{how}{why}")


# ── endings ───────────────────────────────────────────────────────────────────────────────────────────────────────────
def _reap() -> None:
    for process in list(_dying):
        if process.poll() is not None:
            with contextlib.suppress(ValueError):  # another thread was faster
                _dying.remove(process)


def _close_all(timeout: float) -> bool:
    """Let idle children end in order, as long as there is time, and kill the others."""
    until = clock.now() + timeout
    with _lock:
        idle = [child for pool in _pools.values() for child in pool.idle]
        _pools.clear()
    for child in idle:
        with contextlib.suppress(OSError):
            child.channel.sock.shutdown(socket.SHUT_RDWR)  # it sees the end of its input
    for child in idle:
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.process.wait(max(0.0, until - clock.now()))
    for child in list(living):
        child.kill()
    while _dying and clock.now() < until:
        _reap()
        clock.sleep(0.001)
    return not _dying


def _in_child() -> None:
    """Start without children: those of the process that this one was forked from are not its own."""
    global _lock  # noqa: PLW0603 - the inherited lock may be held by a thread that the fork left behind
    _lock = threading.RLock()
    for child in living:
        child.forget()
    for process in _dying:
        process.returncode = 0
    living.clear()
    _dying.clear()
    _pools.clear()


lifecycle.after_fork(_in_child)
lifecycle.at_exit(EXIT_ORDER, _close_all)
