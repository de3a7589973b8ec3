"""The lines of ordinary calls, put together from texts that are made once: what repeats is not encoded again for every call.

`record.call_body` says what a line looks like; what is poured here reads the same, and whatever is not ordinary is left to it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import orjson

from guardrail import call as calls
from guardrail.content import size_of
from guardrail.ledger.entry import Entry
from guardrail.ledger.record import ANSWERS, Key, Sameness, iso
from guardrail.ledger.schema import BODY_LIMIT, VERSION

_MOST: Final = 256  # moulds of one plan
_LEAST_INT: Final = -(2**63)
_MOST_INT: Final = 2**64
_HEAD: Final = f'{{"v":{VERSION},"id":"'

_Shape = tuple[str, int, bool, bool]  # outcome, attempts, whether there is a snapshot, and a confidence


class _Mould(NamedTuple):
    """What stands between the parts of a line that differ."""

    shows: bool  # an answer
    after_ts: str
    after_input: str
    after_output: str
    after_confidence: str
    after_total: str


class Moulds:
    """The moulds of one plan.

    Args:
        same: What all records of the plan repeat.
        around: What all records of this process repeat.
        key: For digests; None where there is none.
    """

    def __init__(self, same: Sameness, around: Mapping[str, Any], key: Key | None) -> None:
        self._same = same
        self._around = around
        self._begun = None if key is None else key.begun
        self._shapes: dict[_Shape, _Mould] = {}

    def pour(self, entry: Entry) -> bytes | None:
        """Return the line of a call without its number and newline; None where the call is not ordinary."""
        seq, at, took, plan, outcome, snapshot, output, confidence, attempts, extra = entry
        if extra is not None or took.__class__ is not float:
            return None
        shape = (outcome, attempts, snapshot is not None, confidence is not None)
        mould = self._shapes.get(shape)
        if mould is None:
            mould = self._made(shape, plan.cache_words.get(outcome))
        same = self._same
        shown = ""
        if mould.shows:
            if output.__class__ is tuple and len(output) == 2 and (same.predictions or output[1] is confidence):  # noqa: PLR2004 - it says how sure the model is
                output = output[0]
            found = _spelled(output)
            if found is None:
                return None
            shown = found
        given = ""
        if snapshot is not None and same.inputs != "none":
            given = str(size_of(snapshot))
            if self._begun is not None:
                hashed = self._begun.copy()
                hashed.update(snapshot)
                given = f'{hashed.hexdigest()}","size":{given}'
        sure = ""
        if confidence is not None:
            if confidence.__class__ is not float or not 0.0 <= confidence <= 1.0:
                return None
            sure = repr(confidence)
        line = (
            f"{_HEAD}{calls.decision_id(at, seq)}"
            f'","ts":"{iso(at)}{mould.after_ts}{given}{mould.after_input}{shown}{mould.after_output}{sure}'
            f"{mould.after_confidence}{int(took * 1e7) / 1e7!r}{mould.after_total}"
        ).encode()
        return line if len(line) <= BODY_LIMIT else None

    def _made(self, shape: _Shape, cache: str | None) -> _Mould:
        outcome, attempts, given, sure = shape
        same, shows = self._same, outcome in ANSWERS or outcome == "late"
        named = {"guard": same.guard, "version": same.version, "plan": same.plan, "mode": same.mode}
        after_ts, after_input = f'",{_inside({"event": "call", "outcome": outcome, **named})}', ""
        if given and same.inputs != "none":
            after_ts += ',"input":{"size":' if self._begun is None else ',"input":{"digest":"'
            after_input = "}" if same.schema is None else f",{_inside({'schema': same.schema})}}}"
        after_output = "}" if shows else ""
        repeated: dict[str, Any] = {} if same.threshold is None else {"threshold": same.threshold}
        if attempts:
            repeated["attempts"] = attempts
        rest: dict[str, Any] = {} if same.budget_ms is None else {"budget_ms": same.budget_ms}
        rest |= ({} if cache is None else {"cache": cache}) | dict(self._around) | ({"tags": same.tags} if same.tags else {})
        mould = _Mould(
            shows,
            after_ts,
            after_input + (',"output":{"value":' if shows else ""),
            after_output + (',"confidence":' if sure else ""),
            (f",{_inside(repeated)}" if repeated else "") + ',"timings":{"total":',
            f"}},{_inside(rest)}}}" if rest else "}}",
        )
        if len(self._shapes) >= _MOST:
            self._shapes.clear()
        self._shapes[shape] = mould
        return mould


def _inside(fields: dict[str, Any]) -> str:
    return orjson.dumps(fields)[1:-1].decode()


def _spelled(value: Any) -> str | None:
    """Return a plain value as JSON, None for everything else."""
    kind = value.__class__
    if kind is str:
        try:
            return orjson.dumps(value).decode()
        except TypeError:  # a lone surrogate
            return None
    if kind is float:
        return repr(value) if value - value == 0.0 else None  # finite
    if kind is bool:
        return "true" if value else "false"
    if kind is int:
        return str(value) if _LEAST_INT <= value < _MOST_INT else None
    return "null" if value is None else None
