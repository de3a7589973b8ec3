"""What is done to an exception of the user's: by its base class, past whatever its own class does when it is touched."""

from __future__ import annotations

import contextlib
from types import TracebackType
from typing import Any, Final

_context: Final[Any] = BaseException.__dict__["__context__"]  # the descriptor


def set_traceback(error: BaseException, frames: TracebackType | None) -> None:
    """Set the traceback; a frozen dataclass refuses an ordinary assignment."""
    BaseException.with_traceback(error, frames)


def set_context(error: BaseException, context: BaseException | None) -> None:
    """Set what was being handled when it was raised."""
    _context.__set__(error, context)


def notes(error: BaseException) -> Any:
    """Return its notes as they are, a list unless the user made something else of them; an empty tuple where there are none."""
    try:
        return BaseException.__getattribute__(error, "__notes__")
    except AttributeError:
        return ()


def add_note(error: BaseException, text: str) -> None:
    """Add a note, where the class lets anybody."""
    with contextlib.suppress(Exception):
        BaseException.add_note(error, text)
