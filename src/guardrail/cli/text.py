"""How the commands speak: hostile text made harmless, one console, one form of JSON, one form of error."""

from __future__ import annotations

import contextlib
import json
import sys
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Final

import typer

from guardrail.errors import GuardrailError

if TYPE_CHECKING:
    from rich.console import Console

_WIDE: Final = 160  # columns where the output is no terminal and nobody says how wide it is
_ROOMY: Final = 100  # columns below which a table of figures does without blanks between its own
_HIDDEN: Final = frozenset({"Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp"})  # control, format, unassigned, private, surrogate


@contextlib.contextmanager
def reasons_told() -> Iterator[None]:
    """Have what the operating system refuses end a command with the reason alone, as errors of the library do."""
    try:
        yield
    except OSError as problem:
        raise GuardrailError(problem.strerror or str(problem)) from problem


def plain(text: object) -> str:
    """Return text that comes from a record or a person without anything that steers a terminal or hides in a text.

    Line breaks and all kinds of space become blanks; what begins an escape sequence, right-to-left marks, zero-width
    characters, lone surrogates and the like become "\ufffd".
    """
    return "".join(_harmless(character) for character in str(text))


def clean(text: object) -> str:
    r"""Return such text fit to stand in rich's markup: as `plain`, and what rich would take for a tag is escaped.

    >>> clean("[red]no\x1b[2J")
    '\\[red]no\ufffd[2J'
    """
    from rich.markup import escape

    shown = plain(text)
    # A blank keeps a last backslash from escaping a tag that may follow; rich's own way doubles it where none does.
    return escape(f"{shown} " if shown.endswith("\\") else shown)


def _harmless(character: str) -> str:
    if " " <= character <= "~":
        return character
    category = unicodedata.category(character)
    if category == "Zs" or character in "\t\n\r\v\f\x85":
        return " "
    return "\ufffd" if category in _HIDDEN else character


def console(*, stderr: bool = False) -> Console:
    """Return a console for this moment's stdout or stderr: no emoji codes, no guessing what is worth a colour."""
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() else _WIDE
    return Console(file=stream, emoji=False, highlight=False, width=width)


def say(text: str) -> None:
    """Print a line in rich's markup; whatever is not ours in it has gone through `clean`."""
    console().print(text, soft_wrap=True)


def emit(data: object) -> None:
    """Print data as JSON for a script: one document, ASCII only, so that no text in it can steer a terminal."""
    typer.echo(json.dumps(data, indent=2, default=str))


def fail(text: str, code: int) -> typer.Exit:
    """Print one red line on stderr, and return what to raise."""
    console(stderr=True).print(f"[red]error:[/red] {clean(text)}", soft_wrap=True)
    return typer.Exit(code)


def table(
    heads: Sequence[str],
    rows: Sequence[Sequence[object]],
    *,
    colours: Mapping[str, str] | None = None,
    figures: Sequence[str] = (),
) -> None:
    """Print a table; every cell is made harmless here.

    Args:
        heads: Titles of the columns.
        rows: One sequence of cells each.
        colours: The colour of a row by the text of its first cell.
        figures: Titles of columns that hold figures: set to the right, and not broken while another column can be.
    """
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    screen = console()
    tight = bool(figures) and screen.width < _ROOMY
    drawn = Table(box=SIMPLE_HEAD, pad_edge=False, header_style="bold", padding=(0, 0 if tight else 1))
    for at, head in enumerate(heads):
        longest = max(map(len, head.split())) if figures else None
        if head in figures:
            widest = max((len(plain(row[at])) for row in rows), default=1)
            drawn.add_column(head, justify="right", overflow="fold", min_width=max(widest, longest or 1))
        else:
            drawn.add_column(head, overflow="fold", min_width=longest)
    for row in rows:
        drawn.add_row(*(Text(plain(cell)) for cell in row), style=(colours or {}).get(str(row[0])))
    screen.print(drawn)


def moment(at: float) -> str:
    """Return seconds since the epoch as local time with its offset, "" for 0."""
    return datetime.fromtimestamp(at).astimezone().isoformat(sep=" ", timespec="seconds") if at else ""
