"""Legal holds: what may be neither pruned nor erased until somebody releases it. Lines of the manifest, and records."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from guardrail import settings
from guardrail.errors import ConfigError, GuardrailError
from guardrail.ledger import disk, keeping, reader, writer
from guardrail.ledger.disk import FOLDER
from guardrail.ledger.record import iso
from guardrail.ledger.sources import manifest_of
from guardrail.ledger.wanted import Moment, Record, Wanted, texts, wanted

if TYPE_CHECKING:
    from guardrail.ledger.manifest import Manifest

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/-]{0,99}")
_REASON: Final = 1_000  # characters
_OWN_SECONDS: Final = 5.0
_DECISIONS: Final = frozenset({"call", "row"})


@dataclass(frozen=True, slots=True)
class Hold:
    """A legal hold that is in force.

    Attributes:
        name: Its own.
        since: When it was placed, ISO 8601.
        reason: Why, by: who placed it.
        what: Which records it keeps, as the manifest says it; empty: all.
        wanted: The same, to compare records with.
    """

    name: str
    since: str
    reason: str
    by: str
    what: dict[str, Any]
    wanted: Wanted

    @property
    def keeps_all(self) -> bool:
        """Whether it keeps every record."""
        return not self.what

    def to_dict(self) -> dict[str, Any]:
        """Return it as a mapping that can be JSON."""
        return {"hold": self.name, "placed": self.since, "reason": self.reason, "by": self.by, "what": self.what}


class Held(GuardrailError):
    """A legal hold stands in the way: nothing was done."""


def hold(
    name: str,
    *,
    reason: str,
    by: str | None = None,
    guard: str | None = None,
    subject: str | None = None,
    business_id: str | None = None,
    since: Moment | None = None,
    until: Moment | None = None,
    everything: bool = False,
) -> Hold:
    """Place a legal hold: from now on no record that it names is pruned, and no person in one is erased.

    Of a person or a business id it keeps what people and processes said of these decisions as well: tickets, answers, feedback.
    In force once the manifest has it; a record tells of it.

    Args:
        name: A name of your own, by which it is released.
        reason: Why; it stands in the ledger.
        by: Who places it, where it is not the user of the operating system; recorded as asserted.
        guard: Only records of this guard.
        subject: Only records about this person, by their own id; the ledger names them by digest.
        business_id: Only records about this.
        since: Only records from this moment on.
        until: Only records before this moment.
        everything: Every record; with none of the others.

    Raises:
        ConfigError: The name is taken or none, there is no reason, nothing or too much is named, or there is no ledger yet.
        AuditUnavailable: It is in force, but could not be recorded.
        OSError: It could not be placed.
    """
    if not _NAME.fullmatch(name):
        raise ConfigError("a hold needs a name of letters, digits and . _ : / -", hint='write "case-2026-17"')
    reason = _said(reason, subject)
    which = wanted(guard=guard, subject=subject, business_id=business_id, since=since, until=until)
    if subject is not None and not which.subject:
        raise ConfigError("nothing is known of this person", hint="no record names anybody by a digest yet")
    what = {
        "guard": guard,
        "subject": sorted(which.subject or ()) or None,
        "business_id": business_id,
        "since": None if which.since is None else iso(which.since),
        "until": None if which.until is None else iso(which.until),
    }
    what = {key: value for key, value in what.items() if value is not None}
    if everything == bool(what):
        raise ConfigError("say what is held: some of guard, subject, business id, since and until, or everything")
    who = _actor(by)
    folder = _ledger()
    manifest = manifest_of(folder.parent, writing=True)
    with keeping.alone(folder, keeping.HOLDS):
        if name in manifest.holds():
            raise ConfigError(f"there is a hold {name} already", hint="release it first, or choose another name")
        line = manifest.append("hold", hold=name, reason=reason, by=who, what=what)
    writer.event("config", fields={"what": "hold", "hold": name, "reason": reason, "actor": who, "held": what}, sync=True)
    return _read(line)


def release(name: str, *, reason: str, by: str | None = None) -> Hold:
    """End a legal hold; the record that says so comes first.

    Args:
        name: Of the hold.
        reason: Why; it stands in the ledger.
        by: As for `hold`.

    Raises:
        ConfigError: There is no such hold, or no reason.
        AuditUnavailable: It could not be recorded; the hold is in force.
        OSError: It could not be ended.
    """
    reason = _said(reason, None)
    who = _actor(by)
    folder = _ledger()
    manifest = manifest_of(folder.parent, writing=True)
    with keeping.alone(folder, keeping.HOLDS):
        line = manifest.holds().get(name)
        if line is None:
            there = ", ".join(manifest.holds()) or "none"
            raise ConfigError("there is no such hold", hint=f"in force: {there}")
        writer.event("config", fields={"what": "release", "hold": name, "reason": reason, "actor": who}, sync=True)
        manifest.append("release", hold=name, reason=reason, by=who)
    return _read(line)


def holds(home: Path | None = None) -> list[Hold]:
    """Return the holds that are in force, in the order in which they were placed.

    Raises:
        OSError: The manifest cannot be read.
    """
    home = settings.home(create=False) if home is None else home
    return in_force(manifest_of(home))


def in_force(manifest: Manifest) -> list[Hold]:
    """Return the holds that a manifest has."""
    return [_read(line) for line in manifest.holds().values()]


@contextlib.contextmanager
def none_over(digest: str) -> Iterator[None]:
    """Make sure that no hold keeps a person from being erased, nor comes to do so inside the block.

    Args:
        digest: The person's, as records have it.

    Raises:
        Held: One does; the text names it.
        OSError: The ledger cannot be read.
    """
    home = settings.home(create=False)
    folder = home / FOLDER
    with keeping.alone(folder, keeping.HOLDS) if folder.is_dir() else contextlib.nullcontext():
        names = sorted({each.name for each in _over(digest, holds(home), home)})
        if names:
            raise Held(
                f"the person is under legal hold ({', '.join(names)}): nothing was erased",
                hint="guardrail audit holds says why; release them first",
            )
        yield


def _over(digest: str, found: list[Hold], home: Path) -> Iterator[Hold]:
    """Yield the holds of all, of this person, and of any record about this person."""
    others = []
    for each in found:
        if each.keeps_all or (each.wanted.subject is not None and digest in each.wanted.subject):
            yield each
        elif each.wanted.subject is None:
            others.append(each)
    if others and digest:
        for record in reader.read(home, subject=digest):
            yield from (each for each in others if each.wanted.matches(record))


class Holds:
    """The holds in force, ready to look at many records.

    Args:
        found: The holds.
        home: The folder of the embedded store: decisions about a held person or business id are looked up there.

    Raises:
        OSError: The ledger cannot be read.
    """

    def __init__(self, found: list[Hold], home: Path) -> None:
        self.names = [each.name for each in found]
        self._tests = [(each.name, self._test(each, home)) for each in found]

    def __bool__(self) -> bool:
        return bool(self._tests)

    def keeps(self, record: Record) -> str | None:
        """Return the name of a hold that keeps a record, None where there is none."""
        return next((name for name, test in self._tests if test(record)), None)

    @staticmethod
    def _test(one: Hold, home: Path) -> Callable[[Record], bool]:
        if one.wanted.subject is None and one.wanted.business_id is None:
            return one.wanted.matches
        about = frozenset(_story(one.wanted, home))

        def test(record: Record) -> bool:
            return one.wanted.matches(record) or (
                record.get("event") not in _DECISIONS and any(each in about for each in texts(record))
            )

        return test


def _story(which: Wanted, home: Path) -> Iterator[str]:
    """Yield the ids by which other records speak of the decisions that are held: their own, and their tickets'."""
    for found in reader.stored(which, home):
        yield found.record["id"]
        if isinstance(found.record.get("ticket"), str):
            yield found.record["ticket"]


def _read(line: Mapping[str, Any]) -> Hold:
    """Read a line of the manifest. One that names what this release does not know keeps everything: better too much."""
    what = line.get("what")
    what = dict(what) if isinstance(what, Mapping) else {}
    by = line.get("by")
    who = str(by.get("id")) if isinstance(by, Mapping) else ""
    which = Wanted()
    try:
        which = wanted(**what)  # a TypeError where a later release has more to say
    except (ConfigError, TypeError):
        what = {}
    return Hold(str(line.get("hold")), str(line.get("ts")), str(line.get("reason") or ""), who, what, which)


def _said(reason: str, subject: str | None) -> str:
    reason = " ".join(reason.split())
    if not reason or len(reason) > _REASON:
        raise ConfigError(f"a reason is needed, of {_REASON} characters at most", hint="it stands in the ledger")
    if subject and subject in reason:
        raise ConfigError("the reason names the person, and would stand in the ledger for ever", hint="say it without the id")
    return reason


def _actor(by: str | None) -> dict[str, str]:
    from guardrail.review.case import Actor  # noqa: PLC0415 - loaded by who decides

    who = Actor.of(by)
    return {"id": who.id, "known_by": who.known_by}


def _ledger() -> Path:
    folder = settings.home() / FOLDER
    writer.flush(_OWN_SECONDS)
    if not folder.is_dir():
        disk.make_folder(folder)
    return folder
