"""The examination behind `guardrail doctor`: everything that is configured is tried out, nothing is changed."""

from __future__ import annotations

from guardrail import notices, settings
from guardrail.doctor import folder, inside, installation, outside
from guardrail.doctor.finding import Finding, reason
from guardrail.errors import ConfigError


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
            ("home", folder.home), ("ledger", inside.ledger), ("selfcheck", inside.selfcheck), ("anchors", inside.anchors), ("review", inside.review), ("guards", inside.guards), ("switches", inside.switches),
            ("cache", outside.cache), ("sinks", lambda: outside.sinks(stdout=stdout)),
        ):  # fmt: skip
            try:
                findings += check()
            except Exception as error:  # noqa: BLE001 - a check that breaks must not hide the others
                findings.append(Finding("bad", what, f"could not be examined: {reason(error)}"))
    findings += installation.runtime()
    findings += [
        Finding("warn", guard or "notice", f"{text} (met {count} times)")
        for (guard, topic), (count, text) in notices.counts().items()
        if (guard, topic) != inside.BROKEN_SWITCHES  # told above
    ]
    return findings
