"""Runs a function in a child process and kills it when its time is up: `enforce="process"`, the only way to end a hung C call.

Children are kept warm, one for each caller at a time; starting one never counts against a budget. Arguments, results and
exceptions travel by pickle between a parent and its own child, in memory. Context variables do not travel; the deadline does.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from multiprocessing import spawn, util
from typing import TYPE_CHECKING, Any, Final

from guardrail import clock, lifecycle
from guardrail.drivers import channel, target
from guardrail.drivers.channel import Channel, dumps, loads
from guardrail.drivers.child import IDLE, LEFT
from guardrail.errors import ConfigError, LimitExceeded
from guardrail.policies.budget import too_late

if TYPE_CHECKING:
    from guardrail.call import Call

START_SECONDS: Final = 60.0  # the most that a child may take to start and to import the function's module
EXIT_ORDER: Final = 10  # before the ledger: a child's last records are its own to write
_FRESH: Final = IDLE - 10.0  # an idle child is not used for longer, so that it never ends just when a job is on its way
_REAP: Final = 0.005  # seconds that a kill waits for the process to be gone; what takes longer is reaped later
_NOT_STARTED: Final = "it was spent before the function could start"
_KILLED: Final = "the process that ran the function was killed"
# Not multiprocessing's own start methods: they run the user's main script again in every child.
_BOOT: Final = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[3]); "
    "from guardrail.drivers.child import main; main(int(sys.argv[1]), int(sys.argv[2]))"
)


class _Child:
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
        _children.add(self)
        with contextlib.suppress(OSError):  # it has died already, which `wait_ready` tells
            self.channel.send(channel.TARGET, dumps((sys.argv, where)), until=clock.now() + START_SECONDS)

    def _close(self) -> None:
        self.channel.close()
        os.close(self.life)

    def kill(self) -> None:
        """End it at once, with all that it has started."""
        if self not in _children:
            return
        _children.discard(self)
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


class _Pool:
    """The idle children of one function, the latest used last."""

    def __init__(self, fn: Callable[..., Any], guard: str) -> None:
        self.fn = fn  # held, so that its id stays its own
        self.where = target.locate(fn, guard)
        self.idle: list[_Child] = []
        self.used = clock.now()

    def take(self) -> _Child | None:
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

    def put(self, child: _Child) -> None:
        """Keep a child for the next caller."""
        child.idle_since = self.used = clock.now()
        self.idle.append(child)


_lock = threading.RLock()  # a signal handler may call a guard while its thread is in `_pool_of`
_pools: dict[int, _Pool] = {}  # by id of the function
_children: set[_Child] = set()
_dying: list[subprocess.Popen[bytes]] = []


# ── around the function ───────────────────────────────────────────────────────────────────────────────────────────────
def perform(call: Call, fn: Callable[..., Any]) -> Any:
    """Run the function on the call's arguments in a child process, until `call.until` (monotonic, None for ever).

    The time that a child takes to start is added to the call's deadlines, within those it inherited. Takes over `call.held`: the
    permits are given back when the child has answered, or is dead.

    Returns:
        A copy of what the function returned.

    Raises:
        BudgetExceeded: Time is up; the child was killed.
        ConfigError: The function, an argument or the result cannot be sent between processes.
        ChildProcessError: The child died of itself.
        LimitExceeded: No process can be started.
        BaseException: The function's own exception, with a note that holds its traceback.
    """
    pool = _pool_of(fn, call.plan.name)
    arguments = _pack(call)
    child = _ready_child(pool, call)
    until = call.until
    left = math.inf if until is None else until - clock.now()
    if left <= 0:
        pool.put(child)
        raise too_late(call, _NOT_STARTED)
    held, call.held = call.held, ()
    try:
        child.channel.send(channel.JOB, LEFT.pack(left), arguments, until=until)
        del arguments
        kind, answer = child.channel.receive(until)
    except BaseException as error:
        _after_failure(child, call, error)
        raise
    finally:
        for give_back in held:
            give_back()
    pool.put(child)
    return _unpack(kind, answer, call)


def warm(fn: Callable[..., Any], guard: str) -> None:
    """Have one child of a function ready before the first call.

    Raises:
        ConfigError, ChildProcessError, LimitExceeded: As `perform`.
    """
    pool = _pool_of(fn, guard)
    child = pool.take() or _start(pool, guard)
    _wait_ready(child, guard, clock.now() + START_SECONDS)
    pool.put(child)


def _after_failure(child: _Child, call: Call, error: BaseException) -> None:
    """Kill the child; raise in place of a failure to talk to it what that means for the call."""
    if isinstance(error, EOFError | ConnectionError):
        raise _died(child, call.plan.name) from None
    child.kill()
    if isinstance(error, TimeoutError):
        raise too_late(call, _KILLED) from None


def _died(child: _Child, guard: str) -> ChildProcessError:
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.process.wait(1.0)
    code = child.process.returncode
    child.kill()
    how = "" if code is None else f" with exit code {code}"
    if code is not None and code < 0:
        how = f" of signal {signal.Signals(-code).name}" if -code in set(signal.Signals) else f" of signal {-code}"
    why = "; the system may have run out of memory" if code == -signal.SIGKILL else ""
    return ChildProcessError(f"the child process that ran {guard} died{how}{why}")


# ── children ──────────────────────────────────────────────────────────────────────────────────────────────────────────
def _pool_of(fn: Callable[..., Any], guard: str) -> _Pool:
    pool = _pools.get(id(fn))
    if pool is None:
        with _lock:
            pool = _pools.get(id(fn))
            if pool is None:
                before = clock.now() - IDLE
                for key in [key for key, old in _pools.items() if old.used < before]:
                    for child in _pools.pop(key).idle:
                        child.kill()
                pool = _pools[id(fn)] = _Pool(fn, guard)
    return pool


def _start(pool: _Pool, guard: str) -> _Child:
    _reap()
    try:
        return _Child(pool.where)
    except OSError as error:
        raise LimitExceeded(
            f"no process can be started for {guard} ({type(error).__name__}); it was not run",
            guard=guard,
            policy="budget",
            hint="this system is at its limit of processes, files or memory; give the guard a limit=...",
        ) from error


def _ready_child(pool: _Pool, call: Call) -> _Child:
    """Return a child that waits for a job; what its start takes is not the call's time."""
    child = pool.take()
    if child is not None and child.ready:
        return child
    began = clock.now()
    parent = call.parent
    inherited = None if parent is None or parent.ended else parent.until or parent.deadline
    child = child or _start(pool, call.plan.name)
    try:
        _wait_ready(child, call.plan.name, began + START_SECONDS, inherited)
    except TimeoutError:
        pool.put(child)  # it goes on starting, for the next call
        raise too_late(call, "the child process was still starting when the time of the call around it was up") from None
    except BaseException:
        child.kill()
        raise
    _postpone(call, clock.now() - began, inherited)
    return child


def _wait_ready(child: _Child, guard: str, until: float, inherited: float | None = None) -> None:
    if child.ready:
        return
    bound = until if inherited is None else min(until, inherited)
    try:
        kind, text = child.channel.receive(bound)
    except EOFError:
        raise _died(child, guard) from None
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


def _postpone(call: Call, by: float, inherited: float | None) -> None:
    """Move the deadlines of a call, but not beyond the one that it inherited."""
    end = call.last_moment or call.deadline or call.until
    if inherited is not None and end is not None:
        by = min(by, max(0.0, inherited - end))
    if call.until is not None:
        call.until += by
    if call.deadline is not None:
        call.deadline += by
    if call.last_moment is not None:
        call.last_moment += by


# ── what travels ──────────────────────────────────────────────────────────────────────────────────────────────────────
def _pack(call: Call) -> bytes:
    try:
        return dumps((call.args, call.kwargs))
    except Exception as error:  # noqa: BLE001 - an argument may have its own way of being packed
        name, value = next((pair for pair in (*enumerate(call.args, 1), *call.kwargs.items()) if not _travels(pair[1])), (None, None))
        which = "the arguments" if name is None else f"argument {name}, of type {type(value).__qualname__},"
        raise ConfigError(
            f'enforce="process": {which} cannot be sent to a child process ({type(error).__name__})',
            guard=call.plan.name,
            policy="budget",
            decision_id=call.id,
            hint='pass what can be pickled, or use Budget(..., enforce="thread")',
        ) from None


def _travels(value: Any) -> bool:
    try:
        dumps(value)
    except Exception:  # noqa: BLE001 - as above
        return False
    return True


def _unpack(kind: bytes, answer: bytearray, call: Call) -> Any:
    """Return the function's answer or raise its exception."""
    if kind == channel.VALUE:
        return loads(answer)
    if kind == channel.ERROR:
        error, cause, where = loads(answer)
        if error is None:
            error = RuntimeError(f"{cause} was raised in the child process, and such an exception cannot be sent to its parent")
        elif cause is not None:
            error.__cause__ = cause
        if where:
            error.add_note(f"Traceback in the child process (most recent call last):\n{where}")
        try:
            raise error
        finally:
            del error  # or the traceback would hold this frame, and the frame the error
    what = f"the result, of type {answer.decode()}, cannot be sent back"
    if kind == channel.UNREADABLE:
        what = f"the arguments cannot be rebuilt in the child process ({answer.decode()})"
    raise ConfigError(
        f'enforce="process": {what}',
        guard=call.plan.name,
        policy="budget",
        decision_id=call.id,
        hint="send what can be pickled and belongs to a module; for classes of a script or notebook `pip install cloudpickle`",
    )


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
    for child in list(_children):
        child.kill()
    while _dying and clock.now() < until:
        _reap()
        clock.sleep(0.001)
    return not _dying


def _in_child() -> None:
    """Start without children: those of the process that this one was forked from are not its own."""
    global _lock  # noqa: PLW0603 - the inherited lock may be held by a thread that the fork left behind
    _lock = threading.RLock()
    for child in _children:
        child.forget()
    for process in _dying:
        process.returncode = 0
    _children.clear()
    _dying.clear()
    _pools.clear()


lifecycle.after_fork(_in_child)
lifecycle.at_exit(EXIT_ORDER, _close_all)
