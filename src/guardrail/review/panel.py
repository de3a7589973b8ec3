"""A case with buttons in a notebook: it shows the case, decides it, and goes on to the next. Needs ipywidgets, the extra `notebook`."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Callable
from typing import Any, Final

from guardrail.call import MISSING
from guardrail.errors import ConfigError, GuardrailError
from guardrail.review import deciding, desk, judge, reasons
from guardrail.review.case import Actor, StaleClaim, TicketClosed, Verdict
from guardrail.review.case_card import case_card, harmless, message
from guardrail.review.deciding import Claim
from guardrail.review.dossier import Details

_MOST_BUTTONS: Final = 12  # choices beyond this are a list
_GOOD: Final = "#1a7f37"
_BAD: Final = "#bc4c00"
_NO_REASON: Final = "(no reason)"


class Panel:
    """Buttons for a queue or for one case. As the last line of a cell it shows itself.

    Attributes:
        widget: What is shown, an `ipywidgets.VBox`.
        buttons: The buttons that there are at the moment, by what stands on them.
        answer: Where an answer is typed or chosen; None where choices are buttons.
        reason: Where a reason is chosen.
        note: Where a note is typed.
        case: The case that is shown, None between cases.
    """

    def __init__(self, queue: str | None, actor: Actor | str | None, *, blind: bool) -> None:
        try:
            self._kit: Any = importlib.import_module("ipywidgets")
        except ImportError:
            raise ConfigError("buttons in a notebook need ipywidgets", hint='pip install "guardrail-sdk[notebook]"') from None
        self._queue, self._actor, self._blind = queue, Actor.of(actor), blind
        self._claim: Claim | None = None
        self._skipped: list[Claim] = []  # held until the end, so that the next case is another one
        self._said = self._kit.HTML()
        self.case: Details | None = None
        self.buttons: dict[str, Any] = {}
        self.answer: Any = None
        self.reason: Any = None
        self.note: Any = None
        self.widget: Any = self._kit.VBox()

    @classmethod
    def of_queue(cls, queue: str, *, actor: Actor | str | None = None, blind: bool = False) -> Panel:
        """Return the panel of a queue; nothing is claimed before somebody begins."""
        made = cls(queue, actor, blind=blind)
        made._idle(f"{desk.open_count(queue)} wait in {queue}")
        return made

    @classmethod
    def of_case(cls, case: Details, *, actor: Actor | str | None = None) -> Panel:
        """Return the panel of one case that nobody has claimed; who answers it first has decided."""
        made = cls(None, actor, blind=False)
        made._draw(case)
        return made

    @classmethod
    def of_claim(cls, claim: Claim) -> Panel:
        """Return the panel of a case that its reviewer has claimed."""
        made = cls(None, claim.actor, blind=claim.blind)
        made._claim = claim
        made._draw(claim.details)
        return made

    def begin(self) -> None:
        """Claim the most urgent case and show it."""
        self._claim = deciding.claim(self._queue, actor=self._actor, blind=self._blind)
        if self._claim is None:
            self._give_back()
            self._idle("Nothing else waits for you.")
        else:
            self._draw(self._claim.details)

    def stop(self) -> None:
        """Give back what is not decided."""
        self._give_back()
        self._idle("What you have not decided waits in the queue again.")

    def view(self) -> dict[str, Any]:
        """Return what a notebook needs to show it."""
        made: dict[str, Any] = self.widget._repr_mimebundle_()
        return {name: each for name, each in made.items() if name != "text/plain"}

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        return {"text/plain": repr(self), "text/html": self._html(), **self.view()}

    def _html(self) -> str:
        return "" if self.case is None else case_card(self.case)

    def __repr__(self) -> str:
        return f"<Panel of {self._queue or 'one case'}>"

    # ── what is shown ─────────────────────────────────────────────────────────────────────────────────────────────────
    def _idle(self, words: str) -> None:
        self.case = self.answer = self.reason = self.note = None
        self.buttons = {}
        begin = self._button("begin", self.begin, "primary")
        self.widget.children = [self._kit.HTML(message(words)), begin, self._said]

    def _draw(self, case: Details) -> None:
        self.case, self.buttons, self.answer = case, {}, None
        shown = [self._kit.HTML(case_card(case))]
        if case.ending is not None:
            self.widget.children = [*shown, self._said]
            return
        choices = case.choices
        if choices is None:
            self.answer = self._kit.Textarea(placeholder=self._asked(case), layout={"width": "480px"})
        elif len(choices) > _MOST_BUTTONS:
            options = [(harmless(judge.spelled(choice)), number) for number, choice in enumerate(choices)]
            self.answer = self._kit.Dropdown(options=[("(choose)", None), *options], value=None)
        self.reason = self._kit.Dropdown(options=[_NO_REASON, *reasons.allowed()], description="reason")
        self.note = self._kit.Textarea(description="note", layout={"width": "480px"})
        answers = []
        if self.answer is None:
            answers = [self._choice(choice) for choice in choices or ()]
        else:
            answers = [self.answer, self._button("answer", self._typed, "primary")]
        words: tuple[Verdict, ...] = ("reject", "unsure") if case.ticket.provisional is None else ("accept", "reject", "unsure")
        verdicts = [self._verdict(word) for word in words]
        if self._queue is not None:
            verdicts += [self._button("skip", self._skip), self._button("stop", self.stop)]
        box, row = self._kit.VBox, self._kit.HBox
        wrapped = {"flex_flow": "row wrap"}
        self.widget.children = [*shown, box([row(answers, layout=wrapped), self.reason, self.note, row(verdicts)]), self._said]

    @staticmethod
    def _asked(case: Details) -> str:
        text = case.ticket.provisional is None or isinstance(case.ticket.provisional, str)
        return "your answer" if text else "your answer, as JSON"

    def _choice(self, choice: Any) -> Any:
        return self._button(
            harmless(judge.spelled(choice)), lambda: self._decide(choice), "primary", key=f"={judge.spelled(choice)}"
        )

    def _verdict(self, verdict: Verdict) -> Any:
        return self._button(verdict, lambda: self._decide(verdict=verdict))

    def _button(self, words: str, does: Callable[[], None], style: str = "", *, key: str | None = None) -> Any:
        made = self._kit.Button(description=words, button_style=style, tooltip=words)
        made.on_click(lambda _: self._safely(does))
        self.buttons[key or words] = made
        return made

    # ── what the buttons do ───────────────────────────────────────────────────────────────────────────────────────────
    def _safely(self, does: Callable[[], None]) -> None:
        """Do what a button is for; a problem is told, and what was typed stays."""
        self._said.value = ""
        try:
            does()
        except (StaleClaim, TicketClosed) as problem:
            self._said.value = message(str(problem), _BAD)
            self._claim = None
            self._next()
        except GuardrailError as problem:
            self._said.value = message(str(problem), _BAD)

    def _typed(self) -> None:
        case, written = self.case, self.answer.value
        if case is None or written in (None, ""):
            raise ConfigError("there is no answer yet", hint="type or choose one")
        if case.choices is not None:
            self._decide(case.choices[written])
        else:
            self._decide(judge.from_words(case, written, as_json=False))

    def _decide(self, value: Any = MISSING, verdict: Verdict | None = None) -> None:
        if self.case is None:
            return
        ticket = deciding.decide(
            self.case.ticket.id,
            value,
            verdict=verdict,
            reason=None if self.reason.value == _NO_REASON else self.reason.value,
            note=self.note.value or None,
            actor=self._actor,
            token=None if self._claim is None else self._claim.token,
        )
        done = "decided" if ticket.state == "decided" else "noted; it goes to another person"
        own = ticket.provisional
        blind = self._claim is not None and self._claim.blind and own is not None
        self._said.value = message(f"{done}; the model's own answer was {judge.spelled(own)}" if blind else done, _GOOD)
        self._claim = None
        self._next()

    def _next(self) -> None:
        if self._queue is not None:
            self.begin()
        elif self.case is not None:
            self._draw(desk.details(self.case.ticket.id))

    def _skip(self) -> None:
        if self._claim is not None:
            self._skipped.append(self._claim)
        self.begin()

    def _give_back(self) -> None:
        for claim in (*self._skipped, *(() if self._claim is None else (self._claim,))):
            with contextlib.suppress(StaleClaim):
                deciding.release(claim.token)
        self._skipped, self._claim = [], None


def panel_of(ticket_id: str, *, actor: Actor | str | None = None) -> Panel:
    """Return the buttons for one case; who answers it first has decided.

    Args:
        ticket_id: The whole id.
        actor: Who answers: as for `decide`.

    Raises:
        TicketNotFound: There is no such ticket.
        ConfigError: ipywidgets, the extra `notebook`, is not installed.
    """
    return Panel.of_case(desk.details(ticket_id), actor=actor)
