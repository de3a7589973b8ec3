"""What one person said of one case, as a file of another tool has it, and how such a file is read."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Literal, NamedTuple

import orjson

from guardrail.errors import ConfigError
from guardrail.review.forms import Written


class Heard(NamedTuple):
    """One person's answer to one case.

    Attributes:
        ticket: The id that the file gives; None where it gives none.
        person: Who, as the tool knows them; None where the file does not say.
        state: "submitted"; "skipped" and "draft" for what is no answer; "unclear" where the file does not tell a draft.
        written: What they wrote.
        blind: Whether the model's answer was hidden from them.
    """

    ticket: str | None
    person: str | None
    state: Literal["submitted", "skipped", "draft", "unclear"]
    written: Written
    blind: bool


def read(
    text: bytes, tool: str, what: str, *, please: str, rows: Callable[[Any], Any], said: Callable[[Any], Iterable[Heard]]
) -> list[Heard]:
    """Return what people said in a file of another tool.

    Args:
        text: The file's content.
        tool: The tool's name, and
        what: what the file should be, for errors.
        please: What to do instead.
        rows: Gives the list of objects in the file's JSON, or None where it holds none.
        said: Reads them.

    Raises:
        ConfigError: It is not what it should be.
    """
    try:
        content = orjson.loads(text)
    except orjson.JSONDecodeError:
        raise ConfigError(f"this is no JSON of {tool}", hint=please) from None
    found = rows(content)
    if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
        raise ConfigError(f"this is no {what} of {tool}", hint=please)
    try:
        return list(said(found))
    except (AttributeError, TypeError, ValueError):  # somewhere in it stands something of another type
        raise ConfigError(f"this is no {what} of {tool}: something in it is of another form", hint=please) from None
