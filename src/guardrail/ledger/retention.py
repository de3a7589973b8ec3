"""Prunes what is older than the retention: whole segments that verify and that nothing holds. Every later proof goes on.

In this order, so that a crash leaves a ledger that verifies, which the next prune completes: a durable `prune` record in the own
lane; the manifest's signed line, which names it; then the files of long records; then the segments. Stored hashes stay.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from guardrail import clock, notices, settings
from guardrail.errors import ConfigError
from guardrail.ledger import blobs, disk, expiry, holds, keeping, postgres, writer
from guardrail.ledger.compress import PART
from guardrail.ledger.disk import FOLDER
from guardrail.ledger.expiry import Expiry, Kept, Needed, Part
from guardrail.ledger.keeping import Pace
from guardrail.ledger.manifest import Manifest
from guardrail.ledger.record import iso
from guardrail.ledger.segments import PACKED, backwards, segments
from guardrail.settings import periods

_OWN_SECONDS: Final = 5.0
_LATEST: Final = 3  # segments of the own lane in which a record that was written a moment ago is looked for


@dataclass(slots=True)
class Pruned:
    """What was pruned, or with `dry_run` would be.

    Attributes:
        before: Only segments whose every record was made before this moment, ISO 8601.
        ranges: What went: lane, from and upto (numbers of records), records, bytes, and the id of the record that says so.
        segments: How many files, records, bytes: how much in all.
        blobs: Files with the content of long records that went with them.
        elsewhere: How many such files are on other hosts, where a database's ledger has them; they stay there.
        kept: What is old enough and stays: lane, first record, why.
        problems: What could not be looked at or does not verify; nothing of it was touched.
        dry_run: Whether nothing was changed.
    """

    before: str
    dry_run: bool
    ranges: list[dict[str, Any]] = field(default_factory=list)
    segments: int = 0
    records: int = 0
    bytes: int = 0
    blobs: int = 0
    elsewhere: int = 0
    kept: list[dict[str, Any]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Return it as a mapping that can be JSON."""
        return asdict(self)


class _Overtaken(Exception):
    """Another process has placed a hold, or pruned, since this was looked at."""


def in_force() -> tuple[str, float] | None:
    """Return the period that the settings name and its seconds, None where everything is kept."""
    spelled = settings.current().retention
    seconds = None if spelled is None else periods.seconds(spelled)
    return None if spelled is None or seconds is None else (spelled, seconds)


def prune(older_than: str | None = None, *, dry_run: bool = False, by: str | None = None, reason: str | None = None) -> Pruned:
    """Prune what is older than a period.

    Args:
        older_than: "180d", "26w", "7y" or the name of a profile, never less than the settings say; None: as the settings say.
        dry_run: Only say what would go.
        by: Who does it, where it is not the user of the operating system; recorded as asserted.
        reason: Why, where it is not just time; it stands in the ledger.

    Returns:
        What was done, and what stayed and why.

    Raises:
        ConfigError: No period is known, or it is shorter than the settings'.
        Untrusted: The manifest does not verify.
        AuditUnavailable: The record could not be made durable: nothing of that range was touched.
        OSError: The ledger cannot be written.
    """
    from guardrail.review.case import Actor  # noqa: PLC0415 - loaded by who decides

    who = Actor.of(by)
    actor = {"id": who.id, "known_by": who.known_by}
    return _prune(*_period(older_than), {"actor": actor, "reason": reason}, keeping.unhurried, dry_run=dry_run)


def by_itself(pace: Pace) -> Pruned | None:
    """Prune what the settings ask for, if they do; in the background."""
    found = in_force()
    return None if found is None else _prune(*found, {"reason": "retention"}, pace, dry_run=False)


def _needed(home: Path) -> Mapping[str, Needed]:
    """Return what says of each lane from which record on a configured sink has not had it."""
    if not settings.current().sinks:
        return {}
    from guardrail.delivery import status  # noqa: PLC0415 - for those who have sinks

    return status.needed(home)


def _period(older_than: str | None) -> tuple[str, float]:
    """Return the period, as it is written, and in seconds."""
    lowest = in_force()
    if older_than is None:
        if lowest is None:
            raise ConfigError("no retention is set", hint="set GUARDRAIL_RETENTION=180d, or write --older-than 180d")
        return lowest
    spelled = periods.period(older_than, "older_than")
    wanted = periods.seconds(spelled)
    if wanted is None:
        raise ConfigError('"keep" prunes nothing', hint='write "180d"')
    if lowest is not None and wanted < lowest[1]:
        raise ConfigError(
            f"records are kept for {lowest[0]}, as GUARDRAIL_RETENTION says; {spelled} is shorter",
            hint="change the setting first",
        )
    return spelled, wanted


def _prune(spelled: str, seconds: float, said: dict[str, Any], pace: Pace, *, dry_run: bool) -> Pruned:
    home = settings.home(create=False)
    folder = home / FOLDER
    before = clock.wall() - seconds
    done = Pruned(iso(before), dry_run)
    url = postgres.url()
    if url is not None:
        writer.flush(_OWN_SECONDS)
        return _prune_database(url, before, done, {"policy": spelled, "before": done.before, **said}, pace)
    if not folder.is_dir():
        return done
    writer.flush(_OWN_SECONDS)
    manifest = Manifest(folder)
    found = holds.in_force(manifest)
    look = Expiry(home, before, holds.Holds(found, home), _needed(home), pace)
    held = _held(manifest)
    for lane in sorted(look.facts):
        with contextlib.nullcontext() if dry_run else keeping.alone(folder, keeping.WORK):
            try:
                for each in list(look.lane(lane)):
                    if isinstance(each, Kept):
                        _stays(done, each)
                    elif dry_run:
                        _counts(done, each, None)
                    else:
                        fields = {"policy": spelled, "before": done.before, **said}
                        _counts(done, each, _go(home, manifest, held, each, fields))
            except FileNotFoundError:
                continue  # another process has been here
            except _Overtaken:
                done.problems.append(f"{lane}: a hold was placed or released meanwhile; the next prune looks again")
            except (OSError, ValueError) as problem:
                done.problems.append(f"{lane}: {getattr(problem, 'strerror', None) or problem}")
    if done.ranges and not dry_run:
        _forget(home)
    return done


def _prune_database(url: str, before: float, done: Pruned, fields: dict[str, Any], pace: Pace) -> Pruned:
    """Prune a ledger in PostgreSQL."""
    from guardrail.ledger.postgres.pruning import Overtaken, Plan, Pruning  # noqa: PLC0415 - an extra

    home = settings.home(create=False)
    with Pruning(Plan(home, url, before, _needed(home), pace)) as pruning:
        if not done.dry_run and not pruning.alone():
            if "actor" in fields:
                done.problems.append("another process prunes this database now; try again when it is done")
            return done
        for each in pruning.found():
            if isinstance(each, Kept):
                _stays(done, each)
                continue
            try:
                identity, here = (None, 0) if done.dry_run else pruning.go(each, fields)
            except Overtaken:
                done.problems.append(f"{each.lane}: a hold was placed or released meanwhile; the next prune looks again")
                break
            _counts(done, each, identity)
            if not done.dry_run:
                done.blobs -= len(each.blobs) - here
                done.elsewhere += len(each.blobs) - here
    return done


def _held(manifest: Manifest) -> list[Any]:
    return [(name, line.get("n")) for name, line in manifest.holds().items()]


def _stays(done: Pruned, kept: Kept) -> None:
    if kept.bad:
        done.problems.append(f"{kept.lane}: {kept.why}")
    else:
        done.kept.append({"lane": kept.lane, "first": kept.first, "why": kept.why})


def _counts(done: Pruned, part: Part, identity: str | None) -> None:
    many = part.last - part.first + 1
    done.ranges.append(
        {"lane": part.lane, "from": part.first, "upto": part.last, "records": many, "bytes": part.size, "id": identity}
    )
    done.segments += len(part.files)
    done.records += many
    done.bytes += part.size
    done.blobs += len(part.blobs)


# ── what a crash may interrupt anywhere ───────────────────────────────────────────────────────────────────────────────
def _go(home: Path, manifest: Manifest, held: list[Any], part: Part, fields: dict[str, Any]) -> str | None:
    """Record that a part goes, and let it go. Returns the id of the record, None where an earlier prune has made it."""
    folder = home / FOLDER
    with keeping.alone(folder, keeping.HOLDS):
        if _held(manifest) != held:
            raise _Overtaken
        identity = None
        if not part.pruned:
            expiry.sync_leaves(folder / part.lane)
            said = {"lane": part.lane, "from": part.first, "upto": part.last, "root": part.root.hex()}
            identity = _record(said | {"segments": len(part.files), "bytes": part.size, "blobs": len(part.blobs)} | fields)
            _enter(manifest, said, {"lane": writer.lane(), "seq": _place(home, identity)})
        for name in part.blobs:
            _remove(blobs.path_of(home, name))
        for segment in part.files:
            _remove_segment(segment.path)
        disk.sync_folder(folder / part.lane)
    return identity


def _record(fields: dict[str, Any]) -> str:
    return writer.event("prune", fields=fields, sync=True)


def _enter(manifest: Manifest, said: dict[str, Any], by: dict[str, Any]) -> None:
    manifest.append("prune", **said, by=by)


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)


def _remove_segment(path: Path) -> None:
    """Remove a segment in each of its forms; the one that readers prefer goes last, so that none comes to light again."""
    plain = path.with_name(path.name.removesuffix(PACKED))
    for name in (f".{plain.name}{PACKED}{PART}", f"{plain.name}{PACKED}", plain.name):
        _remove(path.with_name(name))


def _place(home: Path, identity: str) -> int:
    """Return the number of a record that this process has just made durable.

    Raises:
        OSError: It is not there.
    """
    lane = writer.lane()
    wanted = f'"id":"{identity}"'.encode()
    if lane is not None:
        for segment in segments(home / FOLDER / lane)[: -_LATEST - 1 : -1]:
            for line in backwards(segment.path):
                if wanted in line[:80]:
                    return int(line.split(b'"seq":', 1)[1].split(b",", 1)[0])
    raise OSError("the record of the prune cannot be found in the lane of this process")


def _forget(home: Path) -> None:
    """Have the index drop what is gone; where it cannot now, whoever searches next does it."""
    import sqlite3  # noqa: PLC0415 - only where something was pruned

    from guardrail.ledger.index import Index  # noqa: PLC0415 - as above

    try:
        Index(home).forget()
    except (sqlite3.Error, OSError) as problem:
        notices.say(
            "ledger-index", f"the index still knows of pruned records ({type(problem).__name__}); the next search renews it"
        )
