"""`guardrail would`: what enforcing would have done to the calls of a guard in mode `observe`, in plain words."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Annotated, Any, Final

import typer

from guardrail import clock
from guardrail.cli.text import clean, emit, say, table
from guardrail.ledger import reader

_VERDICT: Final = re.compile(r"(?P<policy>[^:]+): (?P<verdict>[^(]+?)(?: \((?P<detail>.*)\))?", re.DOTALL)
_NUMBER: Final = re.compile(r"\d+(?:\.\d+)?")
_EXAMPLES: Final = 3
_DETAILS: Final = 3
_KINDS_OF_DETAIL: Final = 1_000
_WORDS: Final = {
    "refused": "refused them",
    "deferred": "sent them to a person",
    "late": "ended them for being late",
    "waited": "made them wait for their turn",
    "tried again": "tried again after a failure",
    "answered instead": "given another answer in place of the model's",
    "unreadable": "failed, since the confidence cannot be read",
}


@dataclass
class _Kind:
    """One verdict of one policy: on how many calls, why, and which for example."""

    calls: int = 0
    details: Counter[str] = field(default_factory=Counter)
    spelled: dict[str, str] = field(default_factory=dict)
    examples: list[str] = field(default_factory=list)

    def add(self, identity: str, detail: str) -> None:
        """Count one call. Details that differ only in their numbers are one; the latest stands for them."""
        self.calls += 1
        alike = _NUMBER.sub("#", detail)
        if alike in self.details or len(self.details) < _KINDS_OF_DETAIL:
            self.details[alike] += 1
            self.spelled.setdefault(alike, detail)
        if len(self.examples) < _EXAMPLES:
            self.examples.append(identity)


def register(app: typer.Typer) -> None:
    """Add the command of this group."""
    app.command("would")(would)


def would(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The guard's name.", show_default=False)],
    *,
    since: Annotated[str, typer.Option("--since", help="How far back to look, such as 12h or 7d.")] = "7d",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Tell what enforcing would have done to the calls that were observed."""
    back = clock.seconds(since, "--since")
    calls, changed, kinds = _count(name, clock.wall() - back)
    if as_json:
        emit(_document(name, calls, changed, kinds))
        return
    if not calls:
        say(f"No call of {clean(name)} was observed in the last {clean(since)}: guardrail mode '{clean(name)}' observe")
        return
    say(f"[bold]{clean(name)}[/bold]: {calls:,} calls were observed in the last {clean(since)}.")
    if not changed:
        say("[green]Enforcing would have changed none of them.[/green]")
        return
    say(f"Enforcing would have changed [bold]{changed:,}[/bold] of them ({_share(changed, calls)}):")
    rows = []
    for (policy, verdict), kind in sorted(kinds.items(), key=lambda each: -each[1].calls):
        details = [f"{kind.spelled[alike]} ({many:,})" for alike, many in kind.details.most_common(_DETAILS) if alike]
        rows.append(
            (
                policy,
                f"would have {_WORDS.get(verdict, verdict)}",
                f"{kind.calls:,}",
                _share(kind.calls, calls),
                "\n".join(details),
                "\n".join(kind.examples),
            )
        )
    _draw(rows)
    say("See one with: guardrail show ID. Switch over with: guardrail mode NAME enforce")


def _draw(rows: Sequence[tuple[str, ...]]) -> None:
    """Print one line per detail or example, so that a cell never has to break."""
    spread: list[tuple[str, ...]] = []
    for *facts, details, examples in rows:
        why, which = details.split("\n"), examples.split("\n")
        both = zip_longest(why, which, fillvalue="")
        spread += [(*(facts if at == 0 else [""] * len(facts)), *each) for at, each in enumerate(both)]
    table(("policy", "verdict", "calls", "share", "why", "for example"), spread)


def _count(name: str, since: float) -> tuple[int, int, dict[tuple[str, str], _Kind]]:
    calls = changed = 0
    kinds: dict[tuple[str, str], _Kind] = {}
    for record in reader.read(guard=name, event=("call", "row"), since=since, newest_first=True):
        if record.get("mode") != "observe":
            continue
        calls += 1
        verdicts = record.get("would")
        if not isinstance(verdicts, list) or not verdicts:
            continue
        changed += 1
        for text in verdicts:
            match = _VERDICT.fullmatch(str(text))
            key = (match["policy"], match["verdict"]) if match else ("?", str(text))
            detail = (match["detail"] or "") if match else ""
            kinds.setdefault(key, _Kind()).add(str(record["id"]), detail)
    return calls, changed, kinds


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.1%}"


def _document(name: str, calls: int, changed: int, kinds: dict[tuple[str, str], _Kind]) -> dict[str, Any]:
    return {
        "guard": name,
        "observed": calls,
        "changed": changed,
        "verdicts": [
            {
                "policy": policy,
                "verdict": verdict,
                "calls": kind.calls,
                "share": kind.calls / calls,
                "details": [
                    {"detail": kind.spelled[alike], "calls": many} for alike, many in kind.details.most_common() if alike
                ],
                "examples": kind.examples,
            }
            for (policy, verdict), kind in sorted(kinds.items(), key=lambda each: -each[1].calls)
        ],
    }
