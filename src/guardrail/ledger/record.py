"""Makes the one JSON line of a call or an event. Its number, and the hash of the line before, come in when it is written (`seal`)."""

from __future__ import annotations

import hashlib
import time
from binascii import hexlify
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import orjson

from guardrail import call as calls
from guardrail.content import size_of
from guardrail.content.summaries import Digested, Sealed
from guardrail.ledger.schema import BODY_LIMIT, ORDER, VERSION
from guardrail.ledger.shorten import shortened
from guardrail.ledger.text import NAME_LIMIT, clean, number, text

if TYPE_CHECKING:
    from guardrail.ledger.entry import Entry
    from guardrail.plan import Plan

_HEAD: Final = len('{"v":1,"id":"00000000-0000-7000-8000-000000000000",')  # up to where the number in the lane belongs
ANSWERS: Final = frozenset({"answered", "cached", "stale", "fallback", "human"})
_leaf_begun: Final = sha256(b"\0")  # a copy is a tenth cheaper than a new hash
_EASY: Final = frozenset({str, bool, int, type(None)})


class Sameness(NamedTuple):
    """What is the same in every record of one plan."""

    guard: str
    version: str
    plan: str
    mode: str
    threshold: float | str | None
    budget_ms: float | None
    schema: str | None
    inputs: str
    predictions: bool
    tags: dict[str, str]


def sameness(plan: Plan) -> Sameness:
    """Gather what every record of a plan repeats."""
    return Sameness(
        text(plan.name, NAME_LIMIT),
        text(plan.version, NAME_LIMIT),
        plan.digest,
        plan.mode,
        None if plan.threshold is None else number(plan.threshold),
        plan.budget_ms,
        None if plan.schema is None else text(plan.schema, NAME_LIMIT),
        plan.audit.inputs,
        plan.returns_prediction,
        clean(dict(plan.tags)),
    )


_latest = (0, "1970-01-01T00:00:00")  # most records of a batch share their second


def iso(at: float) -> str:
    """Return a moment (seconds since the epoch) as ISO 8601 in UTC, to the microsecond."""
    global _latest  # noqa: PLW0603 - one tuple, swapped as a whole
    micros = int(at * 1e6)
    whole = micros // 1_000_000
    second, spelled = _latest
    if whole != second:
        spelled = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(whole))
        _latest = (whole, spelled)
    return f"{spelled}.{micros - whole * 1_000_000:06d}Z"


class Key:
    """The key of digests, ready to be used many times.

    Attributes:
        secret: The key itself.
        begun: A hash under it: a digest made from a copy is what `content.digest` gives, at two thirds of its cost.
    """

    __slots__ = ("begun", "secret")

    def __init__(self, secret: bytes) -> None:
        self.secret = secret
        self.begun = hashlib.blake2b(digest_size=20, key=secret)


def call_body(  # noqa: C901, PLR0912, PLR0915 - flat, since it is done for every call
    entry: Entry, same: Sameness, around: Mapping[str, Any], key: Key | None
) -> bytes:
    """Make the line of a call, without its number and newline.

    Args:
        entry: What the call left.
        same: What all records of its plan repeat.
        around: What all records of this process repeat.
        key: For digests; None where there is none, and then there are no digests.
    """
    seq, at, took, plan, outcome, snapshot, output, confidence, attempts, extra = entry
    record: dict[str, Any] = {
        "v": VERSION,
        "id": calls.decision_id(at, seq),
        "ts": iso(at),
        "event": "call",
        "outcome": outcome,
        "guard": same.guard,
        "version": same.version,
        "plan": same.plan,
        "mode": same.mode,
    }
    if extra is not None:
        _who(record, extra)
    if snapshot is not None and same.inputs != "none":
        shown: dict[str, Any] = {}
        record["input"] = shown
        if key is not None:
            hashed = key.begun.copy()
            hashed.update(snapshot)
            shown["digest"] = hashed.hexdigest()
        shown["size"] = size_of(snapshot)
        if same.schema is not None:
            shown["schema"] = same.schema
        if same.inputs == "plain" and extra is not None and "plain" in extra:
            shown["value"] = _plain(extra["plain"])
    if outcome in ANSWERS or (outcome == "late" and (extra is None or "error" not in extra)):  # late, and returned
        if output.__class__ in _EASY or (output.__class__ is float and output - output == 0.0):  # finite
            record["output"] = {"value": output}
        else:
            shown = _output(output, confidence, same, key)
            if shown:
                record["output"] = shown
    if extra is not None and "rows" in extra:  # a call over a table: the answers stand in the records of its rows
        record["output"] = {"rows": extra["rows"]}
    if confidence is not None:
        record["confidence"] = confidence if confidence.__class__ is float and 0.0 <= confidence <= 1.0 else number(confidence)
    if extra is not None and "asked" in extra:  # each group has a threshold of its own
        record["threshold"] = number(extra["asked"].at_least)
        if extra["asked"].group is not None:
            record["group"] = text(extra["asked"].group, NAME_LIMIT)
    elif same.threshold is not None:
        record["threshold"] = same.threshold
    if extra is not None:
        _rare(record, extra, same, took, attempts)
    else:
        if attempts:
            record["attempts"] = attempts
        record["timings"] = {"total": int(took * 1e7) / 1e7}
        if same.budget_ms is not None:
            record["budget_ms"] = same.budget_ms
    cache = plan.cache_words.get(outcome)
    if cache is not None:
        record["cache"] = cache
    record |= around
    if output.__class__ is Sealed or (extra is not None and "subject" in extra):
        from guardrail.ledger import sealing  # noqa: PLC0415 - for those who have something personal

        sealing.put(record, extra, output, at)
    if same.tags:
        record["tags"] = same.tags
    try:
        line = orjson.dumps(record)
    except TypeError:  # a lone surrogate, an integer beyond 64 bits, or a type that has no place here
        kept = {"sealed": record["sealed"]} if "sealed" in record else {}
        line = orjson.dumps(clean(record) | kept)
    return line if len(line) <= BODY_LIMIT else _too_long(line, at, extra)


def _too_long(line: bytes, at: float, extra: Mapping[str, Any] | None) -> bytes:
    """Return the line of a record that does not fit: its content in a sealed file of its own, whatever else is too long cut."""
    from guardrail.ledger import blobs  # noqa: PLC0415 - few records are so long

    subjects = () if extra is None else extra.get("subject", ())
    line = blobs.moved(line, at, subjects[0] if subjects else None)
    return line if len(line) <= BODY_LIMIT else shortened(line)


def _plain(found: bytes) -> Any:
    try:
        return orjson.loads(found)
    except orjson.JSONDecodeError:
        return None


def _who(record: dict[str, Any], extra: Mapping[str, Any]) -> None:
    if "actor" in extra:
        principal, purpose = extra["actor"]
        actor = {"id": text(principal.id, NAME_LIMIT), "kind": principal.kind, "known_by": "asserted"}
        if principal.roles:
            actor["roles"] = clean(sorted(principal.roles))
        if principal.tenant:
            actor["tenant"] = text(principal.tenant, NAME_LIMIT)
        record["actor"] = actor
        if purpose:
            record["purpose"] = text(purpose, NAME_LIMIT)
    business_id = extra.get("business_id")
    if business_id:
        record["business_id"] = text(str(business_id), NAME_LIMIT)


def _output(output: Any, confidence: float | None, same: Sameness, key: Key | None) -> dict[str, Any]:
    """Return what is shown of an answer that is more than a plain value."""
    if isinstance(output, Digested):
        found = output.fields(b"" if key is None else key.secret)
        if key is None:
            found.pop("digest", None)
        if isinstance(output, Sealed) and output.shown is not None:
            found["value"] = output.shown
        return found
    if output.__class__ is tuple:
        if not output:  # its guard keeps nothing
            return {}
        if len(output) == 2 and (same.predictions or output[1] is confidence):  # noqa: PLR2004 - it says how sure the model is
            output = output[0]
    return {"value": number(output) if isinstance(output, float) else output}


def _rare(record: dict[str, Any], extra: Mapping[str, Any], same: Sameness, took: float, attempts: int) -> None:
    """Add what most calls do not have, in its place among what they do."""
    get = extra.get
    if get("reasons"):
        record["reasons"] = clean(get("reasons"))
    ticket = get("ticket")
    if ticket is not None:
        record["ticket"] = text(str(getattr(ticket, "id", ticket)), NAME_LIMIT)
    parent = get("parent")
    batch = get("batch")
    if batch:
        record["event"] = "row"
        parent = batch
    if parent:
        record["parent"] = parent
    if attempts:
        record["attempts"] = attempts
    if get("stop_reason"):
        record["stop_reason"] = text(str(get("stop_reason")))
    timings = {"total": _seconds(took)}
    for name, seconds in (get("stages") or {}).items():
        timings[text(name, NAME_LIMIT) if name != "total" else "total (stage)"] = _seconds(seconds)
    record["timings"] = timings
    if same.budget_ms is not None:
        record["budget_ms"] = same.budget_ms
    error = get("error")
    if error is not None:
        record["error"] = {"type": type_name(error), **({"policy": get("policy")} if get("policy") else {})}
    if get("late"):
        record["late"] = True
    if get("would"):
        record["would"] = clean(get("would"))
    span = get("span")
    if span is not None:
        record["trace_id"] = f"{span.trace_id:032x}"
        record["span_id"] = f"{span.span_id:016x}"


def _seconds(duration: float) -> float:
    """Cut a duration to tenths of a microsecond; half the price of `round`."""
    return int(duration * 1e7) / 1e7


def type_name(error: BaseException) -> str:
    """Return the full name of an error's type; never its text, which may hold what was rejected."""
    kind = type(error)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    return text(name, NAME_LIMIT)


def event_body(
    identity: str, at: float, kind: str, *, guard: str | None, fields: Mapping[str, Any], around: Mapping[str, Any]
) -> bytes:
    """Make the line of an event that is no call, without its number and newline."""
    found = {name: clean(value) for name, value in fields.items() if value is not None}
    record: dict[str, Any] = {"v": VERSION, "id": identity, "ts": iso(at), "event": kind}
    if guard is not None:
        found["guard"] = text(guard, NAME_LIMIT)
    for name in ORDER:
        if name in found:
            record[name] = found.pop(name)
    record |= found
    record |= around
    line = orjson.dumps(record)
    return line if len(line) <= BODY_LIMIT else shortened(line)


def seal(body: bytes, seq: int, prev: bytes) -> bytes:
    """Put a record's number in its lane and the hash of the record before (hex) into its line, and end the line."""
    return b'%b"seq":%d,"prev":"%b",%b\n' % (body[:_HEAD], seq, prev, body[_HEAD:])


def seal_all(bodies: Sequence[bytes], seq: int, leaf: bytes) -> tuple[list[bytes], list[bytes]]:
    """Seal records that follow each other; flat, since this is most of what a record costs here.

    Args:
        bodies: Lines without number, link and newline.
        seq: Number of the first.
        leaf: Hash of the record before it.

    Returns:
        The lines, and the leaf hash of each (`merkle.leaf` of a line without its newline).
    """
    lines: list[bytes] = []
    leaves: list[bytes] = []
    head, prev, begun = _HEAD, hexlify(leaf), _leaf_begun.copy
    for body in bodies:
        line = b'%b"seq":%d,"prev":"%b",%b' % (body[:head], seq, prev, body[head:])
        hashed = begun()
        hashed.update(line)
        leaf = hashed.digest()
        prev = hexlify(leaf)
        leaves.append(leaf)
        lines.append(line + b"\n")
        seq += 1
    return lines, leaves
