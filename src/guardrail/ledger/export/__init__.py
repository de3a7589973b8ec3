"""Takes records out of the ledger into a file of another form. Each export is recorded with the file's digest."""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import os
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

import orjson

from guardrail import settings
from guardrail.errors import ConfigError
from guardrail.ledger import postgres, reader, told
from guardrail.ledger.disk import FOLDER, sync_folder
from guardrail.ledger.reader import Stored
from guardrail.ledger.sources import manifest_of
from guardrail.ledger.wanted import Wanted

FORMATS: Final = {
    "jsonl": "lines",
    "csv": "lines",
    "cloudevents": "cloudevents",
    "ocsf": "ocsf",
    "parquet": "parquet",
}  # each the function of its own name in that module
_BLOCK: Final = 2**20

Write = Callable[[Iterator[Stored], BinaryIO, str], None]


class Exported(NamedTuple):
    """What an export has made.

    Attributes:
        path: The file.
        records: How many there are in it.
        size: Its bytes.
        sha256: Its digest, in hexadecimal, as the `read` event has it.
        recorded: Whether the ledger took that event.
    """

    path: Path
    records: int
    size: int
    sha256: str
    recorded: bool


def export(
    which: Wanted, form: str, path: Path, *, limit: int | None = None, home: Path | None = None, replace: bool = False
) -> Exported:
    """Write records into a file, oldest first, a bounded part of them in memory. The file appears whole or not at all.

    Args:
        which: What the records must be like.
        form: "jsonl" (the lines as stored), "csv", "cloudevents", "ocsf" or "parquet".
        path: Where to put it; the folder exists.
        limit: At most so many records.
        home: The folder of the embedded store; None: this process's.
        replace: Whether a file that is there may be replaced.

    Raises:
        ConfigError: There is no such form, a file is there, or a package is missing.
        OSError: It cannot be written.
    """
    if form not in FORMATS:
        raise ConfigError(f"there is no export in the form {form}", hint=f"it is one of {', '.join(FORMATS)}")
    if path.exists() and not replace:
        raise ConfigError(f"{path} is there already", hint="give another name, or --force to replace it")
    home = settings.home(create=False) if home is None else home
    write: Write = getattr(importlib.import_module(f"guardrail.ledger.export.{FORMATS[form]}"), form)
    counted = _Counted(islice(reader.stored(which, home), limit))
    making = path.with_name(f".{path.name}.{os.urandom(8).hex()}.part")
    try:
        with making.open("xb") as file:
            making.chmod(0o600)
            write(counted, file, ledger_id(home))
            file.flush()
            os.fsync(file.fileno())
        size, digest = _digest(making)
        making.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            making.unlink()
        raise
    sync_folder(path.parent)
    recorded = told.tell("export", which, counted.count, sync=True, limit=limit, form=form, sha256=digest, bytes=size)
    return Exported(path, counted.count, size, digest, recorded)


def ledger_id(home: Path) -> str:
    """Return the ledger's own id, as its manifest begins with it; "local" where there is none."""
    if postgres.url(home) is not None:
        manifest = manifest_of(home)
        manifest.refresh()
        return manifest.ledger_id or "local"
    with contextlib.suppress(OSError, orjson.JSONDecodeError), (home / FOLDER / "manifest.jsonl").open("rb") as file:
        first = orjson.loads(file.readline())
        if isinstance(first, dict) and isinstance(first.get("ledger"), str):
            return str(first["ledger"])
    return "local"


class _Counted:
    def __init__(self, found: Iterator[Stored]) -> None:
        self.count = 0
        self._found = found

    def __iter__(self) -> Iterator[Stored]:
        return self

    def __next__(self) -> Stored:
        each = next(self._found)
        self.count += 1
        return each


def _digest(path: Path) -> tuple[int, str]:
    digest = hashlib.sha256()
    size = 0
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
            size += len(block)
    return size, digest.hexdigest()
