"""Messages between a parent and its own child process: framed, bounded in time, pickled for these two only."""

from __future__ import annotations

import importlib.util
import io
import pickle
import socket
import struct
from multiprocessing.reduction import ForkingPickler
from typing import Any, Final

from guardrail import clock

# Kinds of messages: to the child a target, then jobs; back that it is ready (or why not), then what came of each job.
TARGET: Final = b"T"
JOB: Final = b"J"
READY: Final = b"R"
BROKEN: Final = b"B"  # the function could not be loaded
VALUE: Final = b"V"
ERROR: Final = b"E"
UNREADABLE: Final = b"U"  # the arguments could not be rebuilt in the child
UNSENDABLE: Final = b"S"  # the result cannot be sent

_HEAD: Final = struct.Struct(">cQ")
_PROTOCOL: Final = 5  # both sides are the same interpreter; this one does not copy an array twice
_LEAST: Final = 1e-4  # seconds: nought would make the socket non-blocking

loads = pickle.loads


def dumps(value: Any) -> bytes:
    """Pickle a value; one that belongs to `__main__`, which the other side lacks, with cloudpickle if it is installed.

    Raises:
        Exception: Whatever pickle or the value's own methods raise.
    """
    buffer = io.BytesIO()
    try:
        ForkingPickler(buffer, _PROTOCOL).dump(value)
    except Exception:
        if not has_cloudpickle():
            raise
        return _dumps_by_value(value)
    packed = buffer.getvalue()
    if b"__main__" in packed and has_cloudpickle():
        return _dumps_by_value(value)
    return packed


def has_cloudpickle() -> bool:
    """Return whether functions and classes of a notebook or a script can be sent."""
    return importlib.util.find_spec("cloudpickle") is not None


def _dumps_by_value(value: Any) -> bytes:
    import cloudpickle  # noqa: PLC0415 - optional, for what belongs to `__main__`

    return cloudpickle.dumps(value)  # type: ignore[no-any-return]


class Channel:
    """One end of the pair of sockets between parent and child."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock

    def send(self, kind: bytes, *parts: bytes, until: float | None = None) -> None:
        """Send a message; its payload may come in parts.

        Raises:
            TimeoutError: It was not taken before `until` (monotonic).
            OSError: The other side is gone.
        """
        for part in (_HEAD.pack(kind, sum(map(len, parts))), *parts):
            self._bound(until)
            self.sock.sendall(part)

    def receive(self, until: float | None = None) -> tuple[bytes, bytearray]:
        """Return the next message, its kind and its payload.

        Raises:
            TimeoutError: It was not there, whole, before `until` (monotonic).
            EOFError: The other side is gone.
        """
        kind, length = _HEAD.unpack(self._exactly(_HEAD.size, until))
        return kind, self._exactly(length, until)

    def _exactly(self, length: int, until: float | None) -> bytearray:
        whole = bytearray(length)
        room = memoryview(whole)
        while room:
            self._bound(until)
            try:
                got = self.sock.recv_into(room)
            except ConnectionError:
                got = 0
            if not got:
                raise EOFError
            room = room[got:]
        return whole

    def _bound(self, until: float | None) -> None:
        if until is None:
            self.sock.settimeout(None)
            return
        left = until - clock.now()
        if left <= 0:
            raise TimeoutError
        self.sock.settimeout(max(left, _LEAST))

    def close(self) -> None:
        """Close this end; the other side sees the end of its input."""
        self.sock.close()
