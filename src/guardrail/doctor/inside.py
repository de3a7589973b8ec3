"""What lives in the folder: ledger, anchors, review queue, switches, and the guards that have left records."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Final

from guardrail import control, notices, settings
from guardrail.doctor.finding import Finding, moment
from guardrail.errors import ConfigError
from guardrail.settings.guards import address
from guardrail.settings.values import nearest

_LATEST: Final = 20_000  # records that are looked through for the names of guards
BROKEN_SWITCHES: Final = (None, "control")


def ledger() -> Iterator[Finding]:
    """Yield what is found of the ledger."""
    from guardrail.ledger import reader, standing  # noqa: PLC0415 - a broken room must not keep the others from being examined

    home = settings.home(create=False)
    if not home.is_dir() and settings.current().database_url is None:
        yield Finding("info", "ledger", "no record was written yet")
        return
    if settings.current().database_url is None:
        for level, text in reader.check(home):
            yield Finding(level, "ledger", text)
    for said, text in standing.standing(home):
        yield Finding(said, "ledger", text)


def selfcheck() -> Iterator[Finding]:
    """Yield what is found of what the ledger finds of itself."""
    from guardrail.ledger import selfcheck  # noqa: PLC0415 - as above

    every = settings.current().selfcheck
    if every is None:
        yield Finding("info", "selfcheck", "is off: nothing verifies the ledger but `guardrail audit verify`")
    known = selfcheck.state(settings.home(create=False))
    for each in known.get("findings", ()):
        where = " ".join(str(each.get(name)) for name in ("lane", "segment", "seq") if each.get(name) is not None)
        yield Finding(
            "bad", "selfcheck", f"{where or 'the manifest'}: {each.get('what')}: {each.get('text')}; guardrail audit verify"
        )
    if known and not known.get("findings"):
        whole = f", all of it at {moment(known['whole_at'])}" if known.get("whole_at") else ", the newest segments"
        yield Finding("ok", "selfcheck", f"found nothing wrong at {moment(known['at'])}{whole}")


def anchors() -> Iterator[Finding]:
    """Yield what is found of the anchors."""
    anchors = settings.current().anchors
    home = settings.home(create=False)
    if not anchors:
        return
    from guardrail.ledger.anchors import place, pushing  # noqa: PLC0415 - as above

    for name, anchor in anchors.items():
        try:
            there = place(anchor)
            yield Finding("ok", "anchors", f"{name}: {there.check(home)}")
            there.close()
        except (OSError, ConfigError) as problem:
            yield Finding("bad", "anchors", f"{name}: {getattr(problem, 'strerror', None) or problem}")
        known = pushing.state(home, name)
        since = f"since {moment(known.pushed_at)}" if known.pushed_at else "so far"
        if known.failures:
            yield Finding("bad", "anchors", f"{name}: {known.failures} pushes have failed {since}, the latest: {known.problem}")
        elif known.pushed_at:
            yield Finding("ok", "anchors", f"{name}: the latest checkpoints were pushed at {moment(known.pushed_at)}")


def review() -> Iterator[Finding]:
    """Yield what is found of the review queue."""
    from guardrail import review as queue  # noqa: PLC0415 - as above

    if settings.home(create=False).is_dir():
        for level, text in queue.check():
            yield Finding(level, "review", text)


def guards_seen() -> set[str]:
    """Return the names of the guards in the latest records: what runs on this home, seen from outside.

    Raises:
        OSError: The ledger cannot be read.
    """
    from guardrail.ledger import reader  # noqa: PLC0415 - as above

    latest = islice(reader.read(settings.home(create=False), newest_first=True), _LATEST)
    return {record["guard"] for record in latest if record.get("guard") and record.get("event") != "mode"}


def guards() -> Iterator[Finding]:
    """Yield what is found of the guards that settings name."""
    if not settings.unmatched_guards(()):
        return  # no setting speaks of a single guard
    seen = guards_seen()
    if not seen:
        yield Finding("info", "guards", "settings name guards, and no record says yet which ones there are")
        return
    for name in settings.unmatched_guards(seen):
        known = nearest(name, {address(each) for each in seen} if name.isupper() else seen)
        yield Finding("warn", "guards", f"settings name the guard {name}, which is in none of the latest records ({known})")


def switches() -> Iterator[Finding]:
    """Yield what is found of the run-time switches."""
    control.poll()
    broken = notices.counts().get(BROKEN_SWITCHES)
    if broken is not None:
        yield Finding("bad", "switches", f"{broken[1]}; a new `guardrail kill` writes them anew")
    for name, switch in control.switches().items():
        who = f"by {switch.by} ({switch.known_by}) at {moment(switch.at)}"
        if switch.killed:
            yield Finding("warn", "switches", f"{name} is killed {who}: {switch.reason}")
        else:
            yield Finding("info", "switches", f"{name} is switched to {switch.mode} {who}")
