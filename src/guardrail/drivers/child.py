"""The child's side of `enforce="process"`: loads one function, and runs it for each job until its parent is done."""

from __future__ import annotations

import fcntl
import os
import select
import signal
import socket
import struct
import sys
import threading
import traceback
from collections.abc import Callable
from contextlib import nullcontext, suppress
from typing import Any, Final

from guardrail import clock
from guardrail.drivers import channel, target
from guardrail.drivers.channel import Channel, dumps, loads
from guardrail.stages import stage

IDLE: Final = 60.0  # seconds without a job after which a child ends by itself
LEFT: Final = struct.Struct(">d")  # before the arguments of a job: the seconds it may take, infinite where there is no end


def main(jobs: int, life: int) -> None:
    """Serve the parent.

    Args:
        jobs: File descriptor of the socket to it.
        life: File descriptor of a pipe that it holds open as long as it lives.
    """
    os.set_inheritable(jobs, False)  # noqa: FBT003 - the function takes it no other way
    os.set_inheritable(life, False)  # noqa: FBT003 - as above
    _end_with_parent(life)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to answer
    parent = Channel(socket.socket(fileno=jobs))
    try:
        fn = _load(parent)
        while fn is not None and (job := _next_job(parent)) is not None:
            kind, answer = _answer(fn, job)
            del job
            for stream in (sys.stdout, sys.stderr):
                with suppress(AttributeError, OSError, ValueError):  # there is none, or the function has closed it
                    stream.flush()
            parent.send(kind, answer)
            del answer
    except (EOFError, OSError):  # the parent has closed its end
        return


def _end_with_parent(life: int) -> None:
    """Have the kernel end this process with its parent, also in the middle of a C call that never lets Python run."""
    if hasattr(fcntl, "F_SETSIG"):
        fcntl.fcntl(life, fcntl.F_SETOWN, os.getpid())
        fcntl.fcntl(life, fcntl.F_SETSIG, signal.SIGKILL)
        fcntl.fcntl(life, fcntl.F_SETFL, fcntl.fcntl(life, fcntl.F_GETFL) | os.O_ASYNC)
        if select.select([life], [], [], 0)[0]:  # it has ended already
            os._exit(1)
        return

    def wait() -> None:  # macOS has no such signal: a thread has to do, between two C calls
        os.read(life, 1)
        os._exit(1)

    threading.Thread(target=wait, name="guardrail-parent", daemon=True).start()


def _load(parent: Channel) -> Callable[..., Any] | None:
    _, message = parent.receive()
    try:
        argv, where = loads(message)
        sys.argv[:] = argv
        fn = target.load(where)
    except Exception as error:  # noqa: BLE001 - importing the user's module may raise anything
        traceback.print_exc()  # whole only here: its text may hold what a record or an error of ours must not
        parent.send(channel.BROKEN, _brief(error))
        return None
    parent.send(channel.READY, b"")
    return fn


def _brief(error: Exception) -> bytes:
    """Name an error; tell its text only where that is sure to be a name of code, not a value."""
    known = isinstance(error, ImportError | AttributeError)
    return (f"{type(error).__name__}: {error}" if known else type(error).__name__).encode()


def _next_job(parent: Channel) -> bytearray | None:
    try:
        return parent.receive(clock.now() + IDLE)[1]
    except TimeoutError:
        return None


def _answer(fn: Callable[..., Any], job: bytearray) -> tuple[bytes, bytes]:
    """Run one job, and return what to tell the parent."""
    (left,) = LEFT.unpack_from(job)
    try:
        args, kwargs = loads(memoryview(job)[LEFT.size :])
    except Exception as error:  # noqa: BLE001 - a class may have its own way of being rebuilt
        return channel.UNREADABLE, _brief(error)
    try:
        # As a stage, so that `remaining()` and `check_deadline()` know the end of the attempt in here too.
        with stage("attempt", budget=max(left, 1e-6)) if left != float("inf") else nullcontext():
            value = fn(*args, **kwargs)
    except BaseException as error:  # noqa: BLE001 - whatever it is, it is the caller's
        return channel.ERROR, _pack_error(error)
    try:
        return channel.VALUE, dumps(value)
    except Exception as error:  # noqa: BLE001 - as above
        return channel.UNSENDABLE, f"{type(value).__qualname__} ({type(error).__name__})".encode()


def _pack_error(error: BaseException) -> bytes:
    """Pack an exception, its cause and where it came from; of one that cannot travel, its name."""
    frames = error.__traceback__ and error.__traceback__.tb_next
    where = "".join(traceback.format_tb(frames)).rstrip()
    for cause in (error.__cause__, None):
        try:
            packed = dumps((error, cause, where))
            if type(loads(packed)[0]) is type(error):
                return packed
        except Exception:  # noqa: BLE001, S112 - it cannot be sent whole: less of it may do
            continue
    return dumps((None, f"{type(error).__module__}.{type(error).__qualname__}", where))
