"""The lines of ordinary calls, put together from texts that are made once: what repeats is not encoded again for every call.

`record.call_body` says what a line looks like; what is poured here reads the same, and whatever is not ordinary is left to it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, NamedTuple

import orjson

from guardrail import call as calls
from guardrail.content import size_of
from guardrail.ledger.entry import Entry
from guardrail.ledger.record import ANSWERS, Key, Sameness, iso
from guardrail.ledger.schema import BODY_LIMIT, VERSION

_MOST: Final = 256  # moulds of one plan
_PLAIN: Final = frozenset({str, int, bool, type(None)})
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

    Attributes:
        same: As given.
        begun: A hash under the key.
        shapes: The moulds that were made.
    """

    def __init__(self, same: Sameness, around: Mapping[str, Any], key: Key | None) -> None:
        self.same = same
        self.begun = None if key is None else key.begun
        self.shapes: dict[_Shape, _Mould] = {}
        self._around = around

    def made(self, shape: _Shape, cache: str | None) -> _Mould:
        """Make the mould of calls of one shape, for a plan whose cache has a word for their outcome or none."""
        outcome, attempts, given, sure = shape
        same, shows = self.same, outcome in ANSWERS or outcome == "late"
        named = {"guard": same.guard, "version": same.version, "plan": same.plan, "mode": same.mode}
        after_ts, after_input = f'",{_inside({"event": "call", "outcome": outcome, **named})}', ""
        if given and same.inputs != "none":
            after_ts += ',"input":{"size":' if self.begun is None else ',"input":{"digest":"'
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
        if len(self.shapes) >= _MOST:
            self.shapes.clear()
        self.shapes[shape] = mould
        return mould


def pour(  # noqa: PLR0915 - flat, since it is done for every call
    entries: Iterable[Entry], of: Callable[[Entry], Moulds | None], whole: Callable[[Entry, Moulds], bytes | None]
) -> list[bytes]:
    """Make the lines of calls, without number and newline; flat, since this is most of what a record costs the ledger's thread.

    Args:
        entries: What the calls left, in order.
        of: Gives the moulds of a call's plan; None: there is no line of this one.
        whole: Makes the line of a call that is not ordinary; None: there is none.
    """
    lines: list[bytes] = []
    plan: Any = None
    moulds: Moulds | None = None
    shapes: dict[_Shape, _Mould] = {}
    begun: Any = None
    predictions = sized = False
    latest: _Shape | None = None
    shows, after_ts, after_input, after_output, after_confidence, after_total = _NOTHING
    millis = block = first = -1
    second, until_second, head = _NEVER, "", ""
    for entry in entries:
        seq, at, took, its, outcome, snapshot, output, confidence, attempts, extra = entry
        if its is not plan:
            plan, latest, moulds = its, None, of(entry)
            if moulds is not None:
                shapes, begun = moulds.shapes, moulds.begun
                predictions, sized = moulds.same.predictions, moulds.same.inputs != "none"
        if moulds is None:
            plan = None
            continue
        line: bytes | None = None
        if (
            extra is None
            and took.__class__ is float
            and (confidence is None or (confidence.__class__ is float and 0.0 <= confidence <= 1.0))
        ):
            shape = (outcome, attempts, snapshot is not None, confidence is not None)
            if shape != latest:
                latest = shape
                mould = shapes.get(shape) or moulds.made(shape, plan.cache_words.get(outcome))
                shows, after_ts, after_input, after_output, after_confidence, after_total = mould
            if shows and output.__class__ is tuple and len(output) == 2 and (predictions or output[1] is confidence):  # noqa: PLR2004 - it says how sure the model is
                output = output[0]
            if not shows or output.__class__ in _PLAIN or (output.__class__ is float and output - output == 0.0):  # finite
                try:
                    given = ""
                    if snapshot is not None and sized:
                        given = str(size_of(snapshot))
                        if begun is not None:
                            hashed = begun.copy()
                            hashed.update(snapshot)
                            given = f'{hashed.hexdigest()}","size":{given}'
                    if int(at * 1000) != millis or seq >> 18 != block:
                        # The ids of one millisecond differ in the number alone, whose lower bits stand above 30 others at the end.
                        # A 1 before the digits keeps their zeros: `hex` and `str` take half as long as a format in an f-string.
                        millis, block = int(at * 1000), seq >> 18
                        identity = calls.decision_id(at, seq)
                        head, first = identity[:24], int(f"1{identity[24:]}", 16) - (seq << 30)
                    micros = int(at * 1e6) - second
                    if not 1_000_000 <= micros < 2_000_000:  # noqa: PLR2004 - another second
                        second = (int(at * 1e6) // 1_000_000 - 1) * 1_000_000
                        micros, until_second = int(at * 1e6) - second, iso(at)[:20]
                    line = (
                        f'{_HEAD}{head}{hex(first + (seq << 30))[3:]}","ts":"{until_second}{str(micros)[1:]}Z{after_ts}{given}'
                        f"{after_input}{_spell(output).decode() if shows else ''}{after_output}"
                        f"{'' if confidence is None else _spell(confidence).decode()}{after_confidence}"
                        f"{_spell(int(took * 1e7) / 1e7).decode()}{after_total}"
                    ).encode()
                except (TypeError, ValueError, OverflowError):  # a lone surrogate, an integer beyond 64 bits, a time that is none
                    line = None
        if line is None or len(line) > BODY_LIMIT:
            line = whole(entry, moulds)
        if line is not None:
            lines.append(line)
    return lines


def _inside(fields: dict[str, Any]) -> str:
    return orjson.dumps(fields)[1:-1].decode()
