"""OCSF 1.8 (https://schema.ocsf.io/1.8.0): API Activity, class 6003, with the profiles `ai_operation` and `trace`.

Every record becomes such an event, one JSON document per line. What has no place in the class stands in `unmapped`, and the
record itself, which the event can be checked against, in `raw_data` with its SHA-256.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO, Final

import orjson

from guardrail.ledger.moments import micros
from guardrail.ledger.reader import Stored
from guardrail.ledger.wanted import Record

VERSION: Final = "1.8.0"
CLASS: Final = 6003
CATEGORY: Final = 6
_ACTIVITIES: Final = {  # what the class has; all else is 99, "Other", with a name of our own
    "ticket": (1, "Create"), "feedback": (1, "Create"), "appeal": (1, "Create"), "read": (2, "Read"), "decision": (3, "Update"),
    "override": (3, "Update"), "mode": (3, "Update"), "config": (3, "Update"), "key": (3, "Update"), "prune": (4, "Delete"),
    "erase": (4, "Delete"),
}  # fmt: skip
_NAMES: Final = {"call": "Decide", "row": "Decide"}
_SEVERITIES: Final = {1: "Informational", 2: "Low", 3: "Medium", 4: "High"}
_OUTCOME_SEVERITY: Final = {"stale": 2, "fallback": 2, "deferred": 2, "refused": 3, "late": 3, "failed": 3, "cancelled": 2}
_EVENT_SEVERITY: Final = {"gap": 4, "incident": 3, "mode": 2, "override": 2, "key": 2, "prune": 2, "erase": 2}
_FAILURES: Final = frozenset({"refused", "late", "failed", "cancelled"})
_ANSWERS: Final = frozenset({"answered", "cached", "stale", "fallback", "human"})
_USERS: Final = {"user": 1, "service": 4}
_MAPPED: Final = frozenset(
    {
        "v",
        "id",
        "seq",
        "prev",
        "ts",
        "event",
        "outcome",
        "guard",
        "version",
        "actor",
        "trace_id",
        "service",
        "host",
        "sdk",
        "tags",
    }
)


def ocsf(records: Iterator[Stored], out: BinaryIO, ledger: str) -> None:
    """Write one event per line."""
    out.writelines(orjson.dumps(event(each, ledger)) + b"\n" for each in records)


def event(found: Stored, ledger: str) -> dict[str, Any]:
    """Return a record as an event of the class."""
    record = found.record
    kind = _text(record, "event") or "unknown"
    activity, activity_name = _ACTIVITIES.get(kind, (99, _NAMES.get(kind, kind.capitalize())))
    outcome = _text(record, "outcome")
    severity = _OUTCOME_SEVERITY.get(outcome or "", 1) if outcome else _EVENT_SEVERITY.get(kind, 1)
    raw = found.line.rstrip(b"\n")
    made: dict[str, Any] = {
        "category_uid": CATEGORY,
        "category_name": "Application Activity",
        "class_uid": CLASS,
        "class_name": "API Activity",
        "activity_id": activity,
        "activity_name": activity_name,
        "type_uid": CLASS * 100 + activity,
        "type_name": f"API Activity: {activity_name if activity != 99 else 'Other'}",  # noqa: PLR2004 - the schema's number of "Other"
        "severity_id": severity,
        "severity": _SEVERITIES[severity],
        "time": micros(record["ts"]) // 1_000,
        "metadata": _metadata(found, ledger, kind),
        "api": _api(record, kind, outcome),
        "actor": _actor(record),
        "src_endpoint": _without_none({"hostname": _text(record, "host") or "unknown", "svc_name": _text(record, "service")}),
        "unmapped": {name: value for name, value in record.items() if name not in _MAPPED},
        "raw_data": raw.decode("utf-8", "replace"),
        "raw_data_hash": {"algorithm_id": 3, "algorithm": "SHA-256", "value": hashlib.sha256(raw).hexdigest()},
        "raw_data_size": len(raw),
    }
    if outcome:
        made |= _status(outcome)
    guard = _text(record, "guard")
    if guard:
        made["ai_model"] = _without_none(
            {"name": guard, "version": _text(record, "version"), "ai_provider": _text(record, "service") or "Internal"}
        )
    trace = _text(record, "trace_id")
    if trace:
        made["trace"] = {"uid": trace}
    return made


def _metadata(found: Stored, ledger: str, kind: str) -> dict[str, Any]:
    record = found.record
    tags = record.get("tags")
    return _without_none(
        {
            "version": VERSION,
            "profiles": ["ai_operation", "trace"],
            "product": _without_none({"name": "guardrail", "vendor_name": "guardrail", "version": _text(record, "sdk")}),
            "uid": _text(record, "id"),
            "log_name": f"guardrail/{ledger}/{found.lane}",
            "sequence": found.seq,
            "original_time": record["ts"],
            "event_code": kind,
            "correlation_uid": _text(record, "parent") or _text(record, "ticket") or _text(record, "decision_id"),
            "labels": [f"{name}:{value}" for name, value in tags.items()] if isinstance(tags, Mapping) else None,
        }
    )


def _api(record: Record, kind: str, outcome: str | None) -> dict[str, Any]:
    error = record.get("error")
    kind_of_error = _text(error, "type") if isinstance(error, Mapping) else None
    return _without_none(
        {
            "operation": _text(record, "guard") or kind,
            "version": _text(record, "version"),
            "request": {"uid": _text(record, "id") or ""},
            "response": _without_none({"message": outcome, "error": kind_of_error}) or None,
            "service": {"name": service} if (service := _text(record, "service")) else None,
        }
    )


def _actor(record: Record) -> dict[str, Any]:
    actor = record.get("actor")
    made: dict[str, Any] = {"app_name": _text(record, "service") or "guardrail"}  # the class demands that somebody is named
    if isinstance(actor, Mapping) and _text(actor, "id"):
        roles = actor.get("roles")
        made["user"] = _without_none(
            {
                "uid": _text(actor, "id"),
                "type_id": _USERS.get(_text(actor, "kind") or "", 0),
                "groups": [{"name": str(role)} for role in roles] if isinstance(roles, list) and roles else None,
                "org": {"name": tenant} if (tenant := _text(actor, "tenant")) else None,
            }
        )
    return made


def _status(outcome: str) -> dict[str, Any]:
    if outcome in _ANSWERS:
        return {"status_id": 1, "status": "Success", "status_code": outcome}
    if outcome in _FAILURES:
        return {"status_id": 2, "status": "Failure", "status_code": outcome}
    return {"status_id": 99, "status": outcome, "status_code": outcome}


def _text(record: Mapping[str, Any], name: str) -> str | None:
    found = record.get(name)
    return found if isinstance(found, str) and found else None


def _without_none(found: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in found.items() if value is not None}
