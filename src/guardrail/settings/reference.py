"""The table of settings as people read it: what is in force (`rows`), and the reference page (`reference_markdown`)."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

from guardrail.settings.guards import IN_CODE, LATER, OPTIONS, address
from guardrail.settings.sources import Origin
from guardrail.settings.state import current
from guardrail.settings.table import FAMILIES, PREFIX, TABLE, Setting, variable
from guardrail.settings.values import SecretText


class Row(NamedTuple):
    """One setting in force."""

    name: str
    value: str
    origin: Origin
    doc: str


def rows() -> list[Row]:
    """Return every setting with its value (secrets masked), where it came from, and what it means.

    Raises:
        ConfigError: A setting cannot be used.
    """
    now = current()
    found = [
        Row(variable(name), _shown(getattr(now, name, None), setting), now.origin(name), setting.doc)
        for name, setting in TABLE.items()
    ]
    sink, route, anchor, guard = FAMILIES
    found += [
        Row(f"{PREFIX}SINK_{name.upper()}", each.address.shown(), now.origin(f"sinks.{name}"), sink.doc)
        for name, each in now.sinks.items()
    ]
    found += [
        Row(f"{PREFIX}ROUTE_{name.upper()}", each.text, now.origin(f"routes.{name}"), route.doc)
        for name, each in now.routes.items()
    ]
    found += [
        Row(f"{PREFIX}ANCHOR_{name.upper()}", str(each.url), now.origin(f"anchors.{name}"), anchor.doc)
        for name, each in now.anchors.items()
    ]
    found += [
        Row(f"{PREFIX}GUARD__{address(key.guard) or key.guard}__{key.option.upper()}", _plain(value), origin, guard.doc)
        for key, value, origin, _ in now.guard_options
    ]
    return found


def _shown(value: object, setting: Setting) -> str:
    if value is None:
        return f"({setting.shown})" if setting.shown else ""
    if value == ():
        return f"({setting.shown})" if setting.shown else "(none)"
    return "***" if setting.secret and not isinstance(value, SecretText) else _plain(value)


def _plain(value: object) -> str:
    """Return a value in words; of an option object only its type, since it may hold functions and more."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | int | float | timedelta | Path | SecretText):
        return str(value)
    if isinstance(value, tuple):
        return ",".join(map(_plain, value))
    return f"{type(value).__name__}(…)"


_HEAD = """\
# Settings

<!-- Made by `guardrail settings --markdown`; edit the table in src/guardrail/settings/table.py instead. -->

Settings are read once, when the first function is decorated. Where a setting is given more than once, the order is:
run-time switch (`guardrail mode`, `guardrail kill`), environment, `configure()`, `guardrail.toml`, `with_options`,
decorator. An empty value counts as not set. A `GUARDRAIL_*` variable that does not exist is an error that names the
nearest one that does. `guardrail doctor` shows what is in force and where each value came from.

Every variable may be given as a file: `GUARDRAIL_CACHE_URL_FILE=/run/secrets/cache` reads the value from that file,
less its last line break. Giving both is an error.

In `DATABASE_URL`, `CACHE_URL`, `ANCHOR_…` and `SINK_…` a part may stand for a secret: `${file:/run/secrets/password}`, `${env:PASSWORD}`
or `${keyring:service/user}` (extra `keyring`). A sink follows it where it is used, so that what was rotated is read again; the others
follow it once, at the start.

"""

_TAIL = """\

`<NAME>` of a guard is its name in upper case with every run of other characters than letters and digits turned into one
`_`: the guard `app.loans:predict` is set by `GUARDRAIL_GUARD__APP_LOANS_PREDICT__BUDGET=1s`.

Where code has an object, what is set here changes its main field and leaves the others as they are: `total` of a `Budget`, `ttl` of a
`Cache`, `attempts` of a `Retry` (also of a tenacity object), `concurrency` of a `Limit`, `at_least` of a `Confidence`, `queue` of a
`Review`, `durability` of an `Audit`. Over `Budget("250ms", enforce="report")`, `…__BUDGET=1s` gives `Budget("1s", enforce="report")`;
`breaker` as `true` leaves a `Breaker(…)` as it is; `none` takes an option away; an `owner` is another owner. What comes of it is
checked like any other, and an error names the variable. In code an option is the whole of it: `with_options(predict, budget="1s")`
is `Budget("1s")`, and an object that `configure(guards=…)` is given stands in the place of the decorator's.

Durations are written `250ms`, `10s`, `10m`, `4h`, `30d`, or as a number of seconds.

The same in code, and in a `guardrail.toml` in the working directory or the nearest parent that holds one:

```python
from guardrail import configure

configure(
    service="loans",
    sinks={"out": "file:///var/log/loans.jsonl"},
    routes={"out": "outcome:deferred,refused;guard:app.loans:*"},
    guards={"app.loans:predict": {"budget": "1s"}},
)
```

```toml
service = "loans"

[sinks]
out = "file:///var/log/loans.jsonl"

[routes]
out = "outcome:deferred,refused;guard:app.loans:*"

[guard."app.loans:predict"]
budget = "1s"
```

The standard variable `OTEL_SERVICE_NAME` names the service where `GUARDRAIL_SERVICE` does not.
"""


def reference_markdown() -> str:
    """Return the reference page, docs/settings.md, made from the table."""
    lines = ["| variable | in `configure()` | write | default | meaning |", "|---|---|---|---|---|"]
    lines += [
        _line(f"`{variable(name)}`", f"`{name}`", each.shape, each.shown or _default(each.default), _meaning(each))
        for name, each in TABLE.items()
    ]
    lines += [_line(f"`{PREFIX}{each.variable}`", f"`{each.name}={{…}}`", each.shape, "", each.doc) for each in FAMILIES]
    lines += ["", "## Options of one guard", "", "| option | write |", "|---|---|"]
    lines += [_line(f"`{name}`", option.shape) for name, option in OPTIONS.items()]
    in_code, later = (", ".join(f"`{name}`" for name in names) for names in (IN_CODE, LATER))
    lines += ["", f"Only in code: {in_code}. Reserved for the next release, and an error today: {later}."]
    return _HEAD + "\n".join(lines) + "\n" + _TAIL


def _meaning(setting: Setting) -> str:
    return f"{setting.doc} Shown masked everywhere." if setting.secret else setting.doc


def _default(value: object) -> str:
    return "" if value is None else _plain(value)


def _line(*cells: str) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
