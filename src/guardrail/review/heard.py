"""What one person said of one case, as a file of another tool has it."""

from __future__ import annotations

from typing import Literal, NamedTuple

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
