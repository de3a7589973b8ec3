"""Where copies of signed checkpoints are kept out of reach of whoever can change the ledger: one module per kind of place."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Protocol

from guardrail.errors import ConfigError
from guardrail.settings.anchors import Anchor

KINDS: Final = {"file": "file", "s3": "s3", "postgresql": "postgres"}  # scheme to module


class AnchorFailed(OSError):
    """An anchor did not take, or did not give, checkpoints. The text says why, without anything secret."""


class Place(Protocol):
    """What every kind of anchor can do. Each call may block; the thread that pushes is the only one that waits."""

    def push(self, notes: list[bytes]) -> None:
        """Keep checkpoints, each a whole signed note with the empty line behind it; durable when this returns.

        Raises:
            OSError: They are not kept.
        """

    def read(self, ledger: str) -> Iterator[bytes]:
        """Yield the checkpoints of a ledger, in blocks of bytes.

        Raises:
            OSError: They cannot be read, perhaps because whoever writes may not read.
        """
        raise NotImplementedError

    def check(self, home: Path) -> str:
        """Try the place out, as far as that leaves nothing behind, and say what it is good for.

        Raises:
            OSError: It cannot be used; the text says why.
        """
        raise NotImplementedError

    def close(self) -> None:
        """Let go of connections."""


def lacking(anchor: Anchor, extra: str) -> ConfigError:
    """Return what is raised where the extra that an anchor needs is not installed."""
    command = f'pip install "guardrail-sdk[{extra}]"'
    return ConfigError(f"the anchor {anchor.name} needs the extra {extra}: {command}", hint="or unset it")


def place(anchor: Anchor) -> Place:
    """Return the place that a setting means. Nothing is connected yet.

    Raises:
        ConfigError: It needs an extra that is not installed.
    """
    module = importlib.import_module(f"{__name__}.{KINDS[anchor.scheme]}")
    made: Place = module.make(anchor)
    return made
