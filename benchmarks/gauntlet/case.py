"""What a case is: a function that takes a tool and an empty folder, and raises if the tool does not do what it is asked."""

from __future__ import annotations

import dataclasses
import importlib
import pkgutil
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from benchmarks.gauntlet.tool import Tool

CASES: dict[str, Case] = {}


class Failed(AssertionError):
    """The tool did not do what the case asks."""


@dataclasses.dataclass(frozen=True)
class Case:
    """One case.

    Attributes:
        name: How it is called on the command line.
        title: What is expected, in one line.
        group: The heading it stands under: first line of its module's docstring.
        needs: What a tool must claim; one that does not is "not offered".
        limit: Seconds after which a run that has not come back is "did not return".
        packages: What it needs to be installed beside the tool.
        exits: Whether the process has to end by itself soon after the case did.
        run: The case itself.
    """

    name: str
    title: str
    group: str
    needs: frozenset[str]
    limit: float
    packages: tuple[str, ...]
    exits: bool
    run: Callable[[Tool, Path], Any]


def case(
    title: str, *needs: str, limit: float = 30.0, packages: tuple[str, ...] = (), exits: bool = False
) -> Callable[[Callable[[Any, Path], Any]], Callable[[Any, Path], Any]]:
    """Make a function a case; its name is the case's name."""

    def register(run: Callable[[Any, Path], Any]) -> Callable[[Any, Path], Any]:
        name = run.__name__.replace("_", "-")
        if name in CASES:
            raise ValueError(f"two cases are called {name}")
        group = (importlib.import_module(run.__module__).__doc__ or run.__module__).splitlines()[0].rstrip(".")
        CASES[name] = Case(name, title, group, frozenset(needs), limit, packages, exits, run)
        return run

    return register


def load() -> dict[str, Case]:
    """Import every file of cases; return all cases in the order of file and place."""
    from benchmarks.gauntlet import cases

    for found in sorted(module.name for module in pkgutil.iter_modules(cases.__path__)):
        importlib.import_module(f"{cases.__name__}.{found}")
    return CASES


# ── what cases ask ────────────────────────────────────────────────────────────────────────────────────────────────────
def ask(holds: object, otherwise: str) -> None:
    """Fail with a text if something does not hold."""
    if not holds:
        raise Failed(otherwise)


def equal(actual: object, expected: object, what: str) -> None:
    """Fail unless both are equal and of the same type."""
    if type(actual) is not type(expected) or actual != expected:
        raise Failed(f"{what}: {_short(actual)} instead of {_short(expected)}")


def raised(call: Callable[..., Any], *args: Any, **kwargs: Any) -> BaseException:
    """Return what a call raises; fail if it returns."""
    try:
        value = call(*args, **kwargs)
    except BaseException as error:
        return error
    raise Failed(f"returned {_short(value)} where an error was expected")


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def one_line(error: BaseException) -> str:
    """Return an error as one line: what a failed case said."""
    text = re.sub(r" at 0x[0-9a-f]+", "", " ".join(str(error).split()))
    if not isinstance(error, Failed):
        text = f"{type(error).__name__}: {text}" if text else type(error).__name__
    return text if len(text) <= 220 else f"{text[:217]}..."


def names(cases: dict[str, Case], wanted: str | None) -> Iterator[Case]:
    """Yield the cases that are wanted: all, or those with one of the words, separated by commas, in their names."""
    words = [word.strip() for word in wanted.split(",")] if wanted else [""]
    for each in cases.values():
        if any(word == each.name for word in words) or any(word in each.name for word in words):
            yield each
