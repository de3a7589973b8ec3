"""What an adapter is: how one tool's own documentation says to do what the cases ask for, and what the tool claims to do."""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar, TypeVar

Function = Callable[..., Any]


class Tool:
    """One tool. A subclass fills in what its documentation claims, and nothing else.

    Words for `claims`. Kinds of function: `sync`, `async`, `generator`, `async-generator`, `method`, `callable` (objects and
    partials). What it does: `wrap` (may stand above any function), `ship` (cloudpickle), `cache`, `flight`, `timeout`, `retry`, `deadline` (one limit
    for all attempts), `breaker`, `slow-calls`, `validate`, `check` (a rule that must be asked before each call), `audit`,
    `durable` (kept when the process is killed), `tamper` (a change is found), `mask` (a secret argument is kept out of what it
    writes), `mask-errors` (what an error quotes, too), `records` (writes about calls at all), `export` (sends them to a collector).

    Attributes:
        name: On the command line and in the table.
        requirements: What is installed for it, by pip.
        lacks: Combinations that its documentation leaves out, such as a time limit (`timeout`) for plain functions (`sync`).
        about: How its documentation says to use it, and where that is said, in one line.
        environment: Variables that are set for it.
        path: Folders from which it can be imported, where it is not installed.
        ways: Several configurations of one tool; a case has to hold under each that claims it.
    """

    name: ClassVar[str]
    requirements: ClassVar[tuple[str, ...]] = ()
    about: ClassVar[str] = ""
    claims: ClassVar[frozenset[str]] = frozenset()
    lacks: ClassVar[tuple[frozenset[str], ...]] = ()
    ways: ClassVar[tuple[str, ...]] = ("",)
    environment: ClassVar[dict[str, str]] = {}
    path: ClassVar[tuple[str, ...]] = ()
    late: ClassVar[tuple[type[BaseException], ...]] = (TimeoutError,)
    way: str = ""
    home: Path

    def claimed(self, way: str) -> frozenset[str]:
        """Return what is claimed for one of the ways."""
        return self.claims

    def offers(self, way: str, needs: frozenset[str]) -> bool:
        """Say whether the tool claims all that a case needs."""
        return needs <= self.claimed(way) and not any(left_out <= needs for left_out in self.lacks)

    def start(self, home: Path) -> None:
        """Import and set up; not part of a case's time.

        Args:
            home: An empty folder, where everything it writes goes.
        """
        self.home = home

    def exporting(self, home: Path, port: int) -> None:
        """Do as `start`, and send to a collector at this port of 127.0.0.1, with the tool's own limits and no others."""
        raise NotImplementedError

    def written(self) -> None:
        """Write everything that waits to be written, and stay in use."""
        self.finish()

    def finish(self) -> None:
        """Write everything that waits to be written."""

    def wrap(self, fn: Function) -> Any:
        """Put it on a function in the ordinary way, so that nothing about good calls should change."""
        raise NotImplementedError

    def cached(self, fn: Function) -> Any:
        """Cache for a minute."""
        raise NotImplementedError

    def flown(self, fn: Function) -> Any:
        """Let equal calls at the same time be one."""
        return self.cached(fn)

    def timed(self, fn: Function, seconds: float) -> Any:
        """Raise one of `late` when a call takes longer."""
        raise NotImplementedError

    def retried(self, fn: Function, attempts: int, on: type[Exception], wait: float = 0.01) -> Any:
        """Try again on one type of error, after a pause of `wait` seconds or less."""
        raise NotImplementedError

    def within(self, fn: Function, attempts: int, on: type[Exception], wait: float, seconds: float) -> Any:
        """Try again, but take no longer than `seconds` in all."""
        raise NotImplementedError

    def broken(self, fn: Function, failures: int, open_for: float, slow_after: float | None = None) -> Any:
        """Refuse calls after some failures, or slow ones, in a row; try one call again after `open_for` seconds."""
        raise NotImplementedError

    def is_open(self, error: BaseException) -> bool:
        """Say whether an error is the breaker's refusal."""
        raise NotImplementedError

    def validated(self, fn: Function) -> Any:
        """Check the arguments by their annotations."""
        raise NotImplementedError

    def checked(self, fn: Function, parameter: str, allowed: Sequence[str]) -> Any:
        """Refuse every call in which an argument is not one of the allowed texts."""
        raise NotImplementedError

    def audited(self, fn: Function) -> Any:
        """Record every call."""
        raise NotImplementedError

    def recorded(self) -> int:
        """Return how many calls are recorded, after a flush."""
        raise NotImplementedError

    def intact(self) -> bool:
        """Return what the tool's own verification says of the record."""
        raise NotImplementedError

    def audit_files(self) -> list[Path]:
        """Return the files of lines, one record each, in which the record is kept."""
        raise NotImplementedError

    def tamper(self, kind: str) -> None:
        """Do what somebody who may write the record could do: "change", "remove", "swap", "cut" (ten) or "cut-one"."""
        file = max(self.audit_files(), key=lambda each: each.stat().st_size)
        lines = file.read_bytes().splitlines(keepends=True)
        file.write_bytes(b"".join(damaged(lines, kind, _other_digit)))

    def masked(self, fn: Function, parameter: str) -> Any:
        """Record, log or trace calls with an argument that must not be written anywhere."""
        raise NotImplementedError


Line = TypeVar("Line")


def damaged(lines: Sequence[Line], kind: str, change: Callable[[Line], Line]) -> list[Line]:
    """Return the records with damage done to them."""
    lines, middle = list(lines), len(lines) // 2
    if kind == "change":
        lines[middle] = change(lines[middle])
    elif kind == "remove":
        del lines[middle]
    elif kind == "swap":
        lines[middle], lines[middle + 1] = lines[middle + 1], lines[middle]
    elif kind == "cut":
        del lines[-10:]
    else:
        del lines[-1]
    return lines


def _other_digit(line: bytes) -> bytes:
    """Return a line in which the answer is another digit."""
    found = re.search(rb'"value": ?(\d)', line)
    if found is None:
        raise ValueError("no answer in the record")
    at = found.start(1)
    return line[:at] + (b"9" if line[at : at + 1] != b"9" else b"8") + line[at + 1 :]


def load() -> dict[str, type[Tool]]:
    """Import every adapter; return them by name, guardrail first, the bare function last."""
    from benchmarks.gauntlet import adapters

    found: dict[str, type[Tool]] = {}
    for module in pkgutil.iter_modules(adapters.__path__):
        adapter = importlib.import_module(f"{adapters.__name__}.{module.name}").Adapter
        found[adapter.name] = adapter
    order = {"guardrail": -1, "bare": 1}
    return dict(sorted(found.items(), key=lambda item: (order.get(item[0], 0), item[0])))
