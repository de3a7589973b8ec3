"""Figures of several processes: each writes its own to a file of the home, and whoever is asked adds all of them up.

Files are written only once somebody wants metrics. What an ended process has counted is added to the sum of all that have
ended, so that no counter falls when a process does.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import orjson

from guardrail import clock, lifecycle, notices, settings
from guardrail.errors import ConfigError
from guardrail.store import file_lock
from guardrail.telemetry import names, standing, sums
from guardrail.telemetry.sums import Figures

FOLDER: Final = "metrics"
SECONDS: Final = 2.0  # between two writings of a process that makes calls
EXIT_ORDER: Final = 85  # at exit: after the ledger's thread has counted the last call
_VERSION: Final = 1  # of the files; those of another are left alone
_ENDED: Final = f"ended.{_VERSION}.json"
_SUFFIX: Final = f".figures.{_VERSION}.json"
_PATIENCE: Final = 2.0  # seconds to wait for another process that is adding up
_BY_NAME: Final = {metric.name: metric for metric in names.METRICS}


class _Mine:
    """The file of this process.

    Args:
        folder: Where it stands; it exists.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        name = f"{os.getpid()}-{secrets.token_hex(4)}"
        self._path = folder / f"{name}{_SUFFIX}"
        self._alive = folder / f"{name}.alive"
        self._written = b""
        # Locked for as long as the process lives, whatever ends it: who can have the lock knows that it does not.
        self._fd = os.open(self._alive, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._fd, fcntl.LOCK_EX)

    def write(self, found: Figures) -> None:
        """Write figures, if they are others than before."""
        content = _dump({"figures": _plain(found)})
        if content != self._written:
            _replace(self._path, content)
            self._written = content

    def close(self) -> None:
        """In a forked child: let go, so that the lock ends with the parent, whose it stays."""
        os.close(self._fd)


_lock = threading.Lock()
_mine: dict[Path, _Mine] = {}  # by folder: the home may be configured anew
_due = float("-inf")


def want() -> Path:
    """Have every process of this home write its figures from now on; return the folder in which they do.

    Raises:
        OSError: The folder cannot be made.
        ConfigError: A setting cannot be used.
    """
    folder = settings.home() / FOLDER
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


def poll() -> None:
    """Write the figures of this process, where somebody wants them and it is time. For the ledger's thread."""
    now = clock.now()
    if now < _due:
        return
    try:
        folder = settings.home(create=False) / FOLDER
        if folder.is_dir():
            _write(folder, now)
    except (OSError, ConfigError) as problem:
        notices.say("metrics-files", f"the figures of this process cannot be written ({_reason(problem)}); they are tried again")


def gathered() -> Figures:
    """Return the figures of all processes of this home, the ended ones included, and what they share.

    Raises:
        OSError: The folder cannot be used. Part of the figures would be worse than none: counters would fall.
        ConfigError: A setting cannot be used.
    """
    folder = want()
    _write(folder, clock.now())  # what is told now is there for others to tell, should this process end
    with _summing(folder, _PATIENCE):
        found = _add_up(folder)
    sums.merge(found, standing.of_home())
    return found


def finish(_seconds: float = 0.0) -> bool:
    """Write the last figures of this process. It counts as alive until it has really ended: it may go on to make calls."""
    try:
        folder = settings.home(create=False) / FOLDER
        if folder.is_dir():
            _write(folder, clock.now())
    except (OSError, ConfigError):
        return False
    return True


def _write(folder: Path, now: float) -> None:
    global _due  # noqa: PLW0603 - one file per process
    with _lock:
        found = standing.of_process()
        mine = _mine.get(folder)
        if mine is None and (found[names.CALLS] or found[names.LOST]):
            with contextlib.suppress(TimeoutError), _summing(folder, 0.0):
                _add_up(folder)  # so that the files of ended processes do not heap up where nobody asks any more
            mine = _mine[folder] = _Mine(folder)
        if mine is not None:
            mine.write(found)
        _due = now + SECONDS


# ── under the lock of all processes ───────────────────────────────────────────────────────────────────────────────────
@contextlib.contextmanager
def _summing(folder: Path, patience: float) -> Iterator[None]:
    until = clock.now() + patience
    while True:
        with file_lock.held(folder / "adding.lock", block=False) as held:
            if held:
                yield
                return
        if clock.now() >= until:
            raise TimeoutError("another process has been adding up figures for too long")
        clock.sleep(0.01)


def _add_up(folder: Path) -> Figures:
    """Return the sum of all processes; put those that have ended into the one file of the ended."""
    ended = _load(folder / _ENDED) or {}
    past = _typed(ended.get("figures", {}))
    added: list[str] = []
    living: Figures = {}
    for path in sorted(folder.glob(f"*{_SUFFIX}")):
        figures = _typed((_load(path) or {}).get("figures", {}))
        name = path.name.removesuffix(_SUFFIX)
        with file_lock.held(folder / f"{name}.alive", block=False) as dead:
            if not dead:
                sums.merge(living, figures)
                continue
            # Read again: its last words may have come between the first look and its end.
            figures = _typed((_load(path) or {}).get("figures", {}))
            if name not in ended.get("added", ()):
                sums.merge(past, {metric: series for metric, series in figures.items() if metric.kind != "gauge"})
            added.append(name)
    if added:
        _replace(folder / _ENDED, _dump({"added": added, "figures": _plain(past)}))
        for name in added:  # whoever dies in between leaves a file that is known to have been added
            (folder / f"{name}{_SUFFIX}").unlink(missing_ok=True)
            (folder / f"{name}.alive").unlink(missing_ok=True)
    sums.merge(past, living)
    return past


def _load(path: Path) -> dict[str, Any] | None:
    try:
        found = orjson.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except orjson.JSONDecodeError:  # the machine failed as it was written
        notices.say("metrics-damaged", "a file of figures cannot be read and is left out; counters begin anew without it")
        return None
    return found if isinstance(found, dict) else None


def _replace(path: Path, content: bytes) -> None:
    draft = path.with_name(f"{path.name}.{os.getpid()}.new")
    try:
        draft.write_bytes(content)
        draft.replace(path)
    except OSError:
        draft.unlink(missing_ok=True)
        raise


def _dump(document: dict[str, Any]) -> bytes:
    return orjson.dumps(document)


def _plain(figures: Figures) -> dict[str, Any]:
    return {metric.name: list(series.items()) for metric, series in figures.items()}


def _typed(document: Any) -> Figures:
    return {
        _BY_NAME[name]: {
            tuple(labels): (value[0], tuple(value[1])) if isinstance(value, list) else value for labels, value in series
        }
        for name, series in document.items()
        if name in _BY_NAME
    }


def _reason(problem: BaseException) -> str:
    return getattr(problem, "strerror", None) or str(problem)


def _in_child() -> None:
    global _lock, _due
    _lock, _due = threading.Lock(), float("-inf")
    for mine in _mine.values():
        mine.close()
    _mine.clear()


lifecycle.after_fork(_in_child)
lifecycle.at_exit(EXIT_ORDER, finish)
