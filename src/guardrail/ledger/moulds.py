"""The lines of ordinary calls, put together from texts that are made once: what repeats is not encoded again for every call.

`record.call_body` says what a line looks like; what is poured here reads the same, and whatever is not ordinary is left to it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import orjson

from guardrail import call as calls
from guardrail.content import size_of
from guardrail.ledger.entry import Entry
from guardrail.ledger.record import ANSWERS, Key, Sameness, iso
from guardrail.ledger.schema import BODY_LIMIT, VERSION

if TYPE_CHECKING:
    from guardrail.plan import Plan

_MOST: Final = 256  # moulds of one plan
_PLAIN: Final = frozenset({str, float, int, bool, type(None)})
_NEVER: Final = 2**80  # microseconds since the epoch
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


_NOTHING: Final = _Mould(False, "", "", "", "", "")  # noqa: FBT003 - a default, not an argument
_spell = orjson.dumps


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

    def pour(self, plan: Plan, entries: Iterable[Entry], lines: list[bytes]) -> Entry | None:
        """Make the lines of ordinary calls; flat, since this is most of what a record costs the ledger's thread.

        Args:
            plan: Of the calls.
            entries: What the calls left, in order. Of an iterator nothing is taken behind the call that is returned.
            lines: Takes the lines, without number and newline.

        Returns:
            The first call that is of another plan or not ordinary; None if all were poured.
        """
        same, begun = self._same, self._begun
        predictions, sized = same.predictions, same.inputs != "none"
        millis = block = first = -1
        second, until_second, head = _NEVER, "", ""
        latest: _Shape | None = None
        shows, after_ts, after_input, after_output, after_confidence, after_total = _NOTHING
        for entry in entries:
            seq, at, took, its, outcome, snapshot, output, confidence, attempts, extra = entry
            if its is not plan or extra is not None or took.__class__ is not float:
                return entry
            shape = (outcome, attempts, snapshot is not None, confidence is not None)
            if shape != latest:
                latest = shape
                mould = self._shapes.get(shape) or self._made(shape, plan.cache_words.get(outcome))
                shows, after_ts, after_input, after_output, after_confidence, after_total = mould
            shown = given = sure = ""
            try:
                if shows:
                    if output.__class__ is tuple and len(output) == 2 and (predictions or output[1] is confidence):  # noqa: PLR2004 - it says how sure the model is
                        output = output[0]
                    if output.__class__ not in _PLAIN or (output.__class__ is float and output - output != 0.0):  # not finite
                        return entry
                    shown = _spell(output).decode()
                if snapshot is not None and sized:
                    if begun is None:
                        given = str(size_of(snapshot))
                    else:
                        hashed = begun.copy()
                        hashed.update(snapshot)
                        given = f'{hashed.hexdigest()}","size":{size_of(snapshot)}'
                if confidence is not None:
                    if confidence.__class__ is not float or not 0.0 <= confidence <= 1.0:
                        return entry
                    sure = _spell(confidence).decode()
                total = _spell(int(took * 1e7) / 1e7).decode()
                if int(at * 1000) != millis or seq >> 18 != block:
                    # The ids of one millisecond differ in the number alone, whose lower bits stand above 30 others at the end.
                    millis, block = int(at * 1000), seq >> 18
                    identity = calls.decision_id(at, seq)
                    head, first = identity[:24], int(identity[24:], 16) - (seq << 30)
                micros = int(at * 1e6) - second
                if not 0 <= micros < 1_000_000:  # noqa: PLR2004 - another second
                    second = int(at * 1e6) // 1_000_000 * 1_000_000
                    micros, until_second = int(at * 1e6) - second, iso(at)[:20]
            except (TypeError, ValueError, OverflowError):  # a lone surrogate, an integer beyond 64 bits, a time that is none
                return entry
            line = (
                f'{_HEAD}{head}{first + (seq << 30):012x}","ts":"{until_second}{micros:06d}Z{after_ts}{given}{after_input}{shown}'
                f"{after_output}{sure}{after_confidence}{total}{after_total}"
            ).encode()
            if len(line) > BODY_LIMIT:
                return entry
            lines.append(line)
        return None

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
