"""Working through a queue by keys: one case at a time, the next by itself."""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from guardrail import review as desk
from guardrail.call import MISSING
from guardrail.cli.review_text import By, draw
from guardrail.cli.text import clean, console, say
from guardrail.errors import GuardrailError
from guardrail.review import judge
from guardrail.review import reasons as codes
from guardrail.review.case import StaleClaim, TicketClosed, Verdict

if TYPE_CHECKING:
    from guardrail.review.deciding import Claim

_DIGITS: Final = "123456789"
_HELP: Final = (
    ("1-9", "choose the answer of that number"),
    ("a", "accept the model's own answer"),
    ("c", "change: type another answer"),
    ("r", "reject it, and give no other"),
    ("u", "unsure: leave it to another person"),
    ("w", "write why: a reason and a note, before deciding"),
    ("d", "decline: you cannot or may not decide it"),
    ("s", "skip it for now"),
    ("t", "ten minutes more"),
    ("q", "quit; what you have not decided goes back"),
    ("?", "this list"),
)


class _End(Exception):
    pass


def work(
    context: typer.Context,
    *,
    queue: Annotated[str | None, typer.Option(help="Only this queue.")] = None,
    by: By = None,
    blind: Annotated[bool, typer.Option("--blind", help="Hide the model's answer until you have given yours.")] = False,
) -> None:
    """Work on cases one at a time, by keys; `?` lists them."""
    if context.invoked_subcommand is not None:
        return
    skipped: list[Claim] = []  # held until the end, so that the next case is another one
    decided = 0
    try:
        while (found := desk.claim(queue, actor=by, blind=blind)) is not None:
            if _one(found):
                decided += 1
            else:
                skipped.append(found)
        say("\nNothing else waits for you." if decided or skipped else "Nothing waits for you.")
    except (_End, KeyboardInterrupt, EOFError):
        say("")
    finally:
        for claim in skipped:
            _give_back(claim)
    say(f"{decided} decided, {len(skipped)} skipped")


def _one(claim: Claim) -> bool:
    """Show a case and do what the keys say; return whether it is done with, False if it is skipped."""
    console().rule()
    draw(claim.details, session=True)
    said: dict[str, str | None] = {"reason": None, "note": None, "typed": None}  # what does not fit is kept, to be mended
    _keys(claim)
    try:
        while True:
            try:
                done = _do(claim, _key(), said)
            except (StaleClaim, TicketClosed) as problem:
                say(f"[yellow]{clean(problem)}[/yellow]")
                return True
            except GuardrailError as problem:
                say(f"[red]{clean(problem)}[/red]")
                continue
            if done is not None:
                return done
    except (_End, KeyboardInterrupt, EOFError):
        _give_back(claim)
        raise


def _do(claim: Claim, key: str, said: dict[str, str | None]) -> bool | None:
    """Do what one key says; return None where the case is still there."""
    choices = claim.details.choices or ()
    if key in _DIGITS and key and int(key) <= len(choices):
        return _decide(claim, said, choices[int(key) - 1])
    if key == "a":
        return _decide(claim, said, verdict="accept")
    if key == "r":
        return _decide(claim, said, verdict="reject")
    if key == "u":
        return _decide(claim, said, verdict="unsure")
    if key == "c":
        typed = said["typed"] = _line("another answer", said["typed"])
        return _decide(claim, said, judge.from_words(claim.details, typed, as_json=False))
    if key == "d":
        why = _line(f"why ({', '.join(codes.DECLINING)}, or a reason)")
        if why == "other":
            said["note"] = _line("note", said["note"]) or None
        desk.decline(claim.token, why, said["note"])
        say("declined; another person gets it")
        return True
    if key == "s":
        return False
    if key == "q":
        raise _End
    if key == "w":
        reason = _line(f"reason ({', '.join(codes.allowed())}; empty for none)") or None
        said["note"] = _line("note (empty for none)", said["note"]) or None
        codes.checked(reason, said["note"])
        said["reason"] = reason
    elif key == "t":
        until = desk.extend(claim.token)
        say(f"yours until {until.astimezone():%H:%M}")
    else:
        for name, does in _HELP:
            say(f"[bold]{name:>4}[/bold]  {does}")
    return None


def _decide(claim: Claim, said: dict[str, str | None], value: Any = MISSING, verdict: Verdict | None = None) -> bool:
    own = claim.ticket.provisional
    ticket = desk.decide(
        claim.ticket.id, value, verdict=verdict, reason=said["reason"], note=said["note"], actor=claim.actor, token=claim.token
    )
    state = ticket.state
    say(f"[green]{'decided' if state == 'decided' else 'noted; it goes to another person'}[/green]")
    if claim.blind and own is None and ticket.provisional is not None:
        say(f"[dim]the model's own answer was {clean(judge.spelled(ticket.provisional))}[/dim]")
    return True


def _keys(claim: Claim) -> None:
    """Print which keys decide this case."""
    words = [
        f"[bold]{number}[/bold] {clean(judge.spelled(choice))}"
        for number, choice in zip(_DIGITS, claim.details.choices or (), strict=False)
    ]
    if claim.ticket.provisional is not None:
        words.append("[bold]a[/bold]ccept")
    if claim.details.choices is None or len(claim.details.choices) > len(_DIGITS):
        words.append("[bold]c[/bold]hange")
    words += [f"[bold]{word[0]}[/bold]{word[1:]}" for word in ("reject", "unsure", "write why", "skip", "quit")]
    say("\n" + "   ".join([*words, "[bold]?[/bold]"]))


def _key() -> str:
    """Return the key that was pressed; where the input is no terminal, the first character of a line."""
    if sys.stdin.isatty():
        import click

        key = click.getchar()
        if key in ("\x03", "\x04"):
            raise _End
        return key.lower()
    line = sys.stdin.readline()
    if not line:
        raise EOFError
    return line.strip()[:1].lower()


def _line(prompt: str, before: str | None = None) -> str:
    """Return a line that the person types.

    Args:
        prompt: What is asked.
        before: What they typed before: there to be mended; where the input is no terminal, an empty line keeps it.
    """
    if sys.stdin.isatty():
        with contextlib.suppress(ImportError):  # a Python without it: the line cannot be moved in
            import readline

            readline.set_startup_hook(lambda: readline.insert_text(before or ""))
            try:
                return input(f"{prompt}: ")
            finally:
                readline.set_startup_hook()
    sys.stdout.write(f"{prompt}: ")
    sys.stdout.flush()
    line = sys.stdin.readline()
    if not line:
        raise EOFError
    return line.rstrip("\r\n") or before or ""


def _give_back(claim: Claim) -> None:
    """Give a case back, unless its lease has ended meanwhile."""
    with contextlib.suppress(StaleClaim):
        desk.release(claim.token)
