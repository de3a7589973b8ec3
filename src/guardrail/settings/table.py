"""The one table of settings: name, parser, default, meaning. Errors, `doctor` and the reference page read it."""

from __future__ import annotations

from typing import Final, NamedTuple

from guardrail.settings.hours import ALWAYS, working_hours
from guardrail.settings.periods import PROFILES, period
from guardrail.settings.values import (
    AUDITS,
    LOGS,
    MODES,
    TELEMETRIES,
    Parser,
    cache_url,
    codes,
    database_url,
    flag,
    folder,
    mode,
    often,
    one_of,
    secret,
    telemetry,
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
            "database_url", database_url, None, "postgresql://user:password@host/database",
            "A PostgreSQL database that holds the ledger of all processes and hosts; needs the extra `postgres`, `service`,"
            " and `guardrail store migrate` once. What it cannot take just now is kept in `home`, as is everything else.",
            secret=True, shown="files in home",
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
            "signing_key_file", folder, None, "a file",
            "The private key that the ledger's checkpoints are signed with: 32 bytes in base64, readable by its owner only."
            " `guardrail audit key --new` makes one.",
            shown="signing.key in ~/.config/guardrail, made on first use",
        ),
        Setting(
            "sealing_key_file", folder, None, "a file",
            "The key that wraps the keys of data subjects: 32 bytes in base64, readable by its owner only.",
            shown="sealing.key in ~/.config/guardrail, made on first use",
        ),
        Setting(
            "selfcheck", often, 3600.0, "1h · off",
            "How often the ledger verifies a part of itself in the background, within 16 MiB each time.", shown="1h",
        ),
        Setting(
            "retention", period, None, f"180d · 26w · 7y · {' · '.join(PROFILES)} · keep",
            "How long records are kept. What is older is pruned, in whole segments, unless a legal hold keeps it.",
            shown="everything is kept",
        ),
        Setting(
            "working_hours", working_hours, ALWAYS, "24x7 · mon-fri 09:00-17:00 Europe/Berlin",
            "When reviewers work: only this time counts towards `sla` and the levels of a review.", shown=ALWAYS,
        ),
        Setting(
            "review_reasons", codes, (), "late_documents,duplicate",
            "Codes for why a person decided otherwise, beside those that are always there.", shown="only those that are always there",
        ),
        Setting(
            "second_approval", codes, ("high",), "high,unacceptable",
            "Values of a guard's tag `risk` for which an override holds only when a second person has approved it.", shown="high",
        ),
        Setting(
            "callback_secret", secret, None, "whsec_… · any text",
            "The key that callbacks of the review queue are signed with, as Standard Webhooks has it.",
            secret=True, shown="none: a guard with a callback asks for it",
        ),
        Setting(
            "callback_private", flag, False, "true · false",  # noqa: FBT003 - a default, not an argument
            "Let callbacks go to private and loopback addresses, and to any port. Never to a metadata service.",
        ),
        Setting(
            "receive_secret", secret, None, "whsec_… · any text",
            "The key that answers of reviewers must be signed with which arrive by webhook. Another one than that of callbacks.",
            secret=True, shown="none: answers by webhook are refused",
        ),
        Setting(
            "compress", flag, True, "true · false",  # noqa: FBT003 - a default, not an argument
            "Compress closed segments that are older than a day, in the background.",
        ),
        Setting(
            "disabled", flag, False, "true · false",  # noqa: FBT003 - a default, not an argument
            "Run every function bare. Access, approval and the kill switch still hold.",
        ),
        Setting(
            "telemetry", telemetry, "auto", " · ".join(TELEMETRIES),
            "Whether OpenTelemetry is set up where the application has not done it: as the OTEL_* variables ask, in any case over"
            " OTLP (the extra `otlp`), or never.",
        ),
        Setting(
            "log", one_of(LOGS), "off", " · ".join(LOGS),
            "A line for people on standard error: for no call, for calls without an ordinary answer, for all.",
        ),
    )
}  # fmt: skip

FAMILIES: Final = (
    Family(
        "SINK_<NAME>", "sinks", "scheme://host/path?option=value",
        "Where records are also sent; docs/sinks.md lists the schemes. `${file:/path}`, `${env:NAME}` and `${keyring:service/user}`"
        " stand for secrets. Shown as scheme and host only.",
    ),
    Family(
        "ROUTE_<NAME>", "routes", "field:pattern,pattern;field:pattern",
        "Which records the sink of that name takes: event, guard, mode and outcome, with * and ?.",
    ),
    Family(
        "ANCHOR_<NAME>", "anchors", "file:///path · s3://bucket/prefix · postgresql://…",
        "Where copies of signed checkpoints are kept, so that even who has the key cannot change what was. Shown masked everywhere.",
    ),
    Family("GUARD__<NAME>__<OPTION>", "guards", "see below", "One option of one guard."),
)  # fmt: skip


def variable(name: str) -> str:
    """Return the environment variable of a setting."""
    return PREFIX + name.upper()
