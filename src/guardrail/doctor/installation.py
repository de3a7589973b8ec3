"""This installation: its version, its SQLite, and packages that claim the same name."""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import guardrail
from guardrail.doctor.finding import Finding

DISTRIBUTION: Final = "guardrail-sdk"
_SAFE_WAL: Final = (3, 51, 3)


def version() -> str:
    """Return the version of this installation."""
    from importlib.metadata import PackageNotFoundError  # noqa: PLC0415 - slow, and seldom asked for
    from importlib.metadata import version as version_of  # noqa: PLC0415

    try:
        return version_of(DISTRIBUTION)
    except PackageNotFoundError:
        return "unknown: run from a folder, not installed"


def runtime() -> Iterator[Finding]:
    """Yield what is found of it."""
    yield Finding("ok", "runtime", f"{DISTRIBUTION} {version()}, Python {sys.version.split()[0]}")
    if sqlite3.sqlite_version_info < _SAFE_WAL:
        yield Finding(
            "info", "runtime",
            f"SQLite {sqlite3.sqlite_version} has a bug in its write-ahead log (mended in 3.51.3);"
            " it is kept from striking by writing and checkpointing only under a file lock",
        )  # fmt: skip
    else:
        yield Finding("ok", "runtime", f"SQLite {sqlite3.sqlite_version}")
    yield from _shadows()


def _shadows() -> Iterator[Finding]:
    """Find other packages that claim the import name: whichever stands first on the path is imported."""
    from importlib.metadata import packages_distributions  # noqa: PLC0415 - it reads the metadata of all packages

    for other in sorted(set(packages_distributions().get("guardrail", ())) - {DISTRIBUTION}):
        yield Finding("bad", "runtime", f"the package {other} also installs `guardrail`: pip uninstall {other}")
    ours = Path(guardrail.__file__).resolve().parent
    for entry in dict.fromkeys(sys.path):
        for found in (Path(entry or ".") / "guardrail" / "__init__.py", Path(entry or ".") / "guardrail.py"):
            if found.is_file() and found.resolve().parent != ours:
                yield Finding("warn", "runtime", f"{found} has the same import name; rename it")
