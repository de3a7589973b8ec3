"""The examination behind `guardrail doctor`: everything that is configured is tried out, nothing is changed."""

from __future__ import annotations

import os
import secrets
import shutil
import sqlite3
import stat
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Final, Literal, NamedTuple

from guardrail import control, notices, settings
from guardrail.errors import ConfigError
from guardrail.settings.guards import address
from guardrail.settings.values import nearest

Level = Literal["ok", "info", "warn", "bad"]

_LITTLE: Final = 2**30  # bytes of free disk below which a ledger soon stands still
_NO_ROOM: Final = 100 * 2**20
_SAFE_WAL: Final = (3, 51, 3)
_CACHE_SECONDS: Final = 2.0
_DISTRIBUTION: Final = "guardrail-sdk"
_LATEST: Final = 20_000  # records that are looked through for the names of guards
_BROKEN_SWITCHES: Final = (None, "control")


class Finding(NamedTuple):
    """One thing that was looked at.

    Attributes:
        level: "ok", "info" (nothing to do), "warn" (look at it) or "bad" (something does not work).
        what: What was looked at.
        text: What was found, and what to do about it; no secrets.
    """

    level: Level
    what: str
    text: str


def version() -> str:
    """Return the version of this installation."""
    from importlib.metadata import PackageNotFoundError  # noqa: PLC0415 - slow, and seldom asked for
    from importlib.metadata import version as version_of  # noqa: PLC0415

    try:
        return version_of(_DISTRIBUTION)
    except PackageNotFoundError:
        return "unknown: run from a folder, not installed"


def examine(*, stdout: bool) -> list[Finding]:
    """Try out everything that is configured.

    Args:
        stdout: Whether a `stdout:` sink may print its test line; not where stdout has another use.

    Returns:
        What was found, in the order in which it was looked at. A check that fails is itself a finding.
    """
    findings: list[Finding] = []
    try:
        settings.current()
    except ConfigError as error:
        findings.append(Finding("bad", "settings", str(error)))
    else:
        findings.append(Finding("ok", "settings", "can be used"))
        for what, check in (
            ("home", _home), ("ledger", _ledger), ("selfcheck", _selfcheck), ("anchors", _anchors), ("review", _review), ("guards", _guards), ("switches", _switches),
            ("cache", _cache), ("sinks", lambda: _sinks(stdout=stdout)),
        ):  # fmt: skip
            try:
                findings += check()
            except Exception as error:  # noqa: BLE001 - a check that breaks must not hide the others
                findings.append(Finding("bad", what, f"could not be examined: {_reason(error)}"))
    findings += _runtime()
    findings += [
        Finding("warn", guard or "notice", f"{text} (met {count} times)")
        for (guard, topic), (count, text) in notices.counts().items()
        if (guard, topic) != _BROKEN_SWITCHES  # told above
    ]
    return findings


def _reason(error: Exception) -> str:
    """Return what went wrong, in words that cannot hold a secret."""
    if isinstance(error, ConfigError):
        return str(error)
    return (error.strerror or type(error).__name__) if isinstance(error, OSError) else type(error).__name__


# -- the folder --------------------------------------------------------------------------------------------------------


def _home() -> Iterator[Finding]:
    path = settings.home(create=False)
    there = next(folder for folder in (path, *path.parents) if folder.exists())
    if there == path:
        yield from _writable(path)
    elif there.is_dir() and os.access(there, os.W_OK | os.X_OK):
        yield Finding("info", "home", f"{path} is made at the first guarded call")
    else:
        yield Finding("bad", "home", f"{path} cannot be made in {there}; set GUARDRAIL_HOME to a folder that can be written")
    yield from _ground(path, there)


def _writable(path: Path) -> Iterator[Finding]:
    probe = path / f".doctor-{secrets.token_hex(8)}"
    try:
        handle = os.open(probe, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            os.write(handle, b"a test of guardrail doctor\n")
            os.fsync(handle)
        finally:
            os.close(handle)
            probe.unlink()
    except OSError as error:
        yield Finding("bad", "home", f"{path} cannot be written: {_reason(error)}")
        return
    yield Finding("ok", "home", f"{path} can be written")
    if path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        yield Finding("warn", "home", f"{path} is open to other users: chmod 700 {path}")


def _ground(path: Path, there: Path) -> Iterator[Finding]:
    stands_on = settings.file_system(path)
    if stands_on is None:
        yield Finding("info", "home", "what file system it stands on cannot be told on this system")
    elif stands_on.passing:
        yield Finding(
            "bad", "home",
            f"stands on {stands_on.kind}: records and tickets end with the container or the machine's uptime;"
            " set GUARDRAIL_HOME to a folder on a lasting volume",
        )  # fmt: skip
    elif stands_on.remote:
        yield Finding("bad", "home", f"stands on {stands_on.kind}, where file locks and syncs may fail; keep it on a local disk")
    else:
        yield Finding("ok", "home", f"stands on {stands_on.kind}")
    free = shutil.disk_usage(there).free
    level: Level = "bad" if free < _NO_ROOM else "warn" if free < _LITTLE else "ok"
    yield Finding(level, "home", f"{free / 2**30:.1f} GiB of disk are free")


# -- what lives in it --------------------------------------------------------------------------------------------------


def _ledger() -> Iterator[Finding]:
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


def _selfcheck() -> Iterator[Finding]:
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
        whole = f", all of it at {_moment(known['whole_at'])}" if known.get("whole_at") else ", the newest segments"
        yield Finding("ok", "selfcheck", f"found nothing wrong at {_moment(known['at'])}{whole}")


def _anchors() -> Iterator[Finding]:
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
        since = f"since {_moment(known.pushed_at)}" if known.pushed_at else "so far"
        if known.failures:
            yield Finding("bad", "anchors", f"{name}: {known.failures} pushes have failed {since}, the latest: {known.problem}")
        elif known.pushed_at:
            yield Finding("ok", "anchors", f"{name}: the latest checkpoints were pushed at {_moment(known.pushed_at)}")


def _review() -> Iterator[Finding]:
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


def _guards() -> Iterator[Finding]:
    if not settings.unmatched_guards(()):
        return  # no setting speaks of a single guard
    seen = guards_seen()
    if not seen:
        yield Finding("info", "guards", "settings name guards, and no record says yet which ones there are")
        return
    for name in settings.unmatched_guards(seen):
        known = nearest(name, {address(each) for each in seen} if name.isupper() else seen)
        yield Finding("warn", "guards", f"settings name the guard {name}, which is in none of the latest records ({known})")


def _switches() -> Iterator[Finding]:
    control.poll()
    broken = notices.counts().get(_BROKEN_SWITCHES)
    if broken is not None:
        yield Finding("bad", "switches", f"{broken[1]}; a new `guardrail kill` writes them anew")
    for name, switch in control.switches().items():
        who = f"by {switch.by} ({switch.known_by}) at {_moment(switch.at)}"
        if switch.killed:
            yield Finding("warn", "switches", f"{name} is killed {who}: {switch.reason}")
        else:
            yield Finding("info", "switches", f"{name} is switched to {switch.mode} {who}")


# -- what is elsewhere -------------------------------------------------------------------------------------------------


def _cache() -> Iterator[Finding]:
    now = settings.current()
    if now.cache_url is None:
        return
    try:
        import redis  # noqa: PLC0415 - an extra
    except ImportError:
        yield Finding("bad", "cache", f'needs the extra redis: pip install "{_DISTRIBUTION}[redis]"')
        return
    key, value = f"{now.service}:guardrail:doctor:{secrets.token_hex(8)}", secrets.token_bytes(8)
    try:
        url = now.cache_url.reveal()
        with redis.Redis.from_url(url, socket_timeout=_CACHE_SECONDS, socket_connect_timeout=_CACHE_SECONDS) as client:
            client.ping()
            client.set(key, value, px=10_000)
            same = client.get(key) == value
            client.delete(key)
    except Exception as error:  # noqa: BLE001 - whatever the client raises; its text may hold the URL
        yield Finding("bad", "cache", f"{now.cache_url} does not answer: {type(error).__name__}")
        return
    if same:
        yield Finding("ok", "cache", f"{now.cache_url} keeps and gives back a test key")
    else:
        yield Finding("bad", "cache", f"{now.cache_url} did not give back the test key; is it out of memory?")


def _sinks(*, stdout: bool) -> Iterator[Finding]:
    from guardrail.delivery.replay import probe  # noqa: PLC0415 - as above
    from guardrail.delivery.status import lags  # noqa: PLC0415

    sinks = settings.current().sinks
    for name, sink in sinks.items():
        where = sink.address.shown()
        if sink.address.scheme == "stdout" and not stdout:
            yield Finding("ok", "sinks", f"{name}: {where} takes lines")
            continue
        try:
            said = probe(sink)
        except (OSError, ConfigError) as error:
            yield Finding("bad", "sinks", f"{name}: {where} does not take a test record: {_reason(error)}")
        except Exception as error:  # noqa: BLE001 - whatever a client raises; its text may hold what is secret
            yield Finding("bad", "sinks", f"{name}: {where} does not take a test record: {type(error).__name__}")
        else:
            yield Finding("ok", "sinks", f"{name}: {where}: {said}")
    for name, lag in lags(settings.home(create=False)).items() if sinks else ():
        if lag.state.problem:
            yield Finding(
                "bad", "sinks", f"{name}: delivery fails ({lag.state.problem}); {lag.behind:,} records wait in the ledger"
            )
        if lag.dead:
            yield Finding("warn", "sinks", f"{name}: {lag.dead:,} dead letters; `guardrail sink dead {name}` lists them")


# -- this installation -------------------------------------------------------------------------------------------------


def _runtime() -> Iterator[Finding]:
    yield Finding("ok", "runtime", f"{_DISTRIBUTION} {version()}, Python {sys.version.split()[0]}")
    if sqlite3.sqlite_version_info < _SAFE_WAL:
        yield Finding(
            "info", "runtime",
            f"SQLite {sqlite3.sqlite_version} has a bug in its write-ahead log (mended in 3.51.3);"
            " it is kept from striking by writing and checkpointing only under a file lock",
        )  # fmt: skip
    else:
        yield Finding("ok", "runtime", f"SQLite {sqlite3.sqlite_version}")
    yield from _shadows()


def _shadows() -> Iterator[Finding]:
    """Find other packages that claim the import name: whichever stands first on the path is imported."""
    from importlib.metadata import packages_distributions  # noqa: PLC0415 - it reads the metadata of all packages

    for other in sorted(set(packages_distributions().get("guardrail", ())) - {_DISTRIBUTION}):
        yield Finding("bad", "runtime", f"the package {other} also installs `guardrail`: pip uninstall {other}")
    ours = Path(__file__).resolve().parent
    for entry in dict.fromkeys(sys.path):
        for found in (Path(entry or ".") / "guardrail" / "__init__.py", Path(entry or ".") / "guardrail.py"):
            if found.is_file() and found.resolve().parent != ours:
                yield Finding("warn", "runtime", f"{found} has the same import name; rename it")


def _moment(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")
