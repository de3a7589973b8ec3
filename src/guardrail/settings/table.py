"""The one table of settings: name, parser, default, meaning. Errors, `doctor` and the reference page read it."""

from __future__ import annotations

from typing import Final, NamedTuple

from guardrail.settings.values import (
    AUDITS,
    LOGS,
    MODES,
    Parser,
    cache_url,
    flag,
    folder,
    mode,
    no_database,
    one_of,
    text,
)

PREFIX: Final = "GUARDRAIL_"


class Setting(NamedTuple):
    """One setting that has one value.

    Attributes:
        name: As in `configure(name=…)` and guardrail.toml; in the environment `GUARDRAIL_` and the name in upper case.
        parse: Checks a value and returns it; it raises ConfigError.
        default: The value where nothing is set.
        shape: What to write.
        doc: What it means.
        secret: Whether its value is masked wherever it is shown.
        shown: How the default reads, where that is more than its value.
    """

    name: str
    parse: Parser
    default: object
    shape: str
    doc: str
    secret: bool = False
    shown: str = ""


class Family(NamedTuple):
    """Settings of one kind, any number of them, each with a name of its own."""

    variable: str
    name: str
    shape: str
    doc: str


TABLE: Final[dict[str, Setting]] = {
    setting.name: setting
    for setting in (
        Setting(
            "home", folder, None, "a folder",
            "Where ledger, review queue and switches are kept. Relative to the working directory, or to the toml file.",
            shown=".guardrail beside guardrail.toml, pyproject.toml or .git, else in the working directory",
        ),
        Setting(
            "service", text, None, "text",
            "Name of the application; in every record, and before every key in a shared store, which requires it.",
            shown="OTEL_SERVICE_NAME",
        ),
        Setting(
            "database_url", no_database, None, "nothing yet",
            "Reserved. The embedded store is the only one in this release; setting this is an error.", secret=True,
        ),
        Setting(
            "cache_url", cache_url, None, "redis:// · rediss:// · unix://",
            "A Redis server that shares cached answers between processes; needs the extra `redis`, and `service`.",
            secret=True, shown="each process's own memory",
        ),
        Setting(
            "mode", mode, None, " · ".join(MODES),
            "Mode of every guard, over what they say of themselves. Where `killed` is said anywhere, it holds.",
            shown="what each guard says, else enforce",
        ),
        Setting(
            "audit", one_of(AUDITS), None, " · ".join(AUDITS),
            "How every guard's records are kept: group-committed, made durable before the answer, or not at all.",
            shown="what each guard says, else buffered",
        ),
        Setting(
            "disabled", flag, False, "true · false",  # noqa: FBT003 - a default, not an argument
            "Run every function bare. Access, approval and the kill switch still hold.",
        ),
        Setting(
            "log", one_of(LOGS), "off", " · ".join(LOGS),
            "A line for people on standard error: for no call, for calls without an ordinary answer, for all.",
        ),
    )
}  # fmt: skip

FAMILIES: Final = (
    Family("SINK_<NAME>", "sinks", "stdout: · file:///absolute/path", "Where records are also sent."),
    Family(
        "ROUTE_<NAME>", "routes", "field:pattern,pattern;field:pattern",
        "Which records the sink of that name takes: event, guard, mode and outcome, with * and ?.",
    ),
    Family("GUARD__<NAME>__<OPTION>", "guards", "see below", "One option of one guard."),
)  # fmt: skip


def variable(name: str) -> str:
    """Return the environment variable of a setting."""
    return PREFIX + name.upper()
