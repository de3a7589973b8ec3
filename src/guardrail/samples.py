"""Samples for the self-test: read from the user's values or JSON lines, or made up from the annotations."""

from __future__ import annotations

import datetime as dt
import decimal
import enum
import inspect
import json
import types
import typing
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from guardrail.errors import ConfigError

_VARIABLE: Final = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
_MADE_UP: Final = 2  # how many samples are made up: two, so that different questions can be told apart
_EPOCH: Final = dt.datetime(2025, 1, 1, tzinfo=dt.UTC)


class Sample(NamedTuple):
    """The arguments of one call."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]


class _CannotMakeUp(Exception):
    """There is no obvious value of a type."""


def read_lines(path: Path) -> list[Any]:
    """Return the values of a file of JSON lines; empty lines are passed over.

    Raises:
        ConfigError: A line is not JSON. Says which.
        OSError: The file cannot be read.
    """
    values = []
    with path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            try:
                text = line.decode("utf-8-sig" if number == 1 else "utf-8")
                if text.strip():
                    values.append(json.loads(text))
            except (ValueError, RecursionError):
                raise ConfigError(f"line {number} of {path} is not JSON", hint="write one JSON value per line") from None
    return values


def sample_of(value: Any, signature: inspect.Signature) -> Sample:
    """Return the call that a value stands for.

    A mapping of parameter names gives arguments by keyword. Else, where there is one parameter without a default, the value
    is its argument; where there are several, a list or tuple gives arguments by position.

    Raises:
        ConfigError: It fits neither way.
    """
    required = _required(signature)
    if isinstance(value, Mapping) and all(isinstance(name, str) for name in value) and _binds(signature, (), value):
        return Sample((), dict(value))
    if len(required) == 1 and _binds(signature, (value,), {}):
        return Sample((value,), {})
    if isinstance(value, list | tuple) and _binds(signature, value, {}):
        return Sample(tuple(value), {})
    if _binds(signature, (value,), {}):
        return Sample((value,), {})
    raise ConfigError(
        f"a sample of type {type(value).__name__} does not fit the parameters {signature}",
        hint="write a JSON object of arguments by name, or a list of arguments by position",
    )


def _required(signature: inspect.Signature) -> list[inspect.Parameter]:
    return [
        parameter
        for parameter in signature.parameters.values()
        if parameter.default is parameter.empty and parameter.kind not in _VARIABLE
    ]


def _binds(signature: inspect.Signature, args: Iterable[Any], kwargs: Mapping[str, Any]) -> bool:
    try:
        signature.bind(*args, **kwargs)
    except TypeError:
        return False
    return True


# ── made up ───────────────────────────────────────────────────────────────────────────────────────────────────────────
def make_up(signature: inspect.Signature, types_of: Mapping[str, Any]) -> list[Sample] | str:
    """Return samples that fit the annotations of the required parameters, or why there are none.

    Args:
        signature: Of the function as it is called.
        types_of: The annotation of each parameter that has one, as a type and not as text.
    """
    samples = []
    for turn in range(_MADE_UP):
        kwargs: dict[str, Any] = {}
        args: list[Any] = []
        for parameter in _required(signature):
            if parameter.annotation is parameter.empty or parameter.name not in types_of:
                return f"none was given, and {parameter.name} has no annotation to make one up from"
            try:
                value = _value(types_of[parameter.name], turn)
            except Exception:  # noqa: BLE001 - the annotation is the user's, and so are the validators of its models
                return f"none was given, and none can be made up for {parameter.name}: its type says too little"
            if parameter.kind is parameter.POSITIONAL_ONLY:
                args.append(value)
            else:
                kwargs[parameter.name] = value
        samples.append(Sample(tuple(args), kwargs))
    return samples


def _value(kind: Any, turn: int) -> Any:
    """Return a value of a type; another one at another turn, where there is one."""
    origin, of = typing.get_origin(kind), typing.get_args(kind)
    if kind is None:
        return None
    if origin is typing.Annotated:
        return _constrained(of[0], of[1:], turn)
    if origin is typing.Literal:
        return of[turn % len(of)]
    if origin in (typing.Union, types.UnionType):
        return _value(next(each for each in of if each is not type(None)), turn)
    if origin in (list, set, frozenset, Sequence, Iterable, typing.Sequence):
        return (origin if origin in (set, frozenset) else list)([_value(of[0], turn)])
    if origin is tuple:
        return tuple(_value(each, turn) for each in of if each is not Ellipsis)
    if origin in (dict, Mapping):
        return {_value(of[0], turn): _value(of[1], turn)}
    if inspect.isclass(kind):
        return _of_class(kind, turn)
    raise _CannotMakeUp


def _of_class(kind: type[Any], turn: int) -> Any:
    simple: dict[type[Any], Any] = {
        bool: not turn,
        int: 1 + turn,
        float: 0.5 + turn,
        str: "ab"[turn % 2],
        bytes: b"ab"[turn % 2 : turn % 2 + 1],
        type(None): None,
        decimal.Decimal: decimal.Decimal(1 + turn),
        dt.datetime: _EPOCH + dt.timedelta(days=turn),
        dt.date: (_EPOCH + dt.timedelta(days=turn)).date(),
        dt.timedelta: dt.timedelta(seconds=1 + turn),
        uuid.UUID: uuid.UUID(int=1 + turn),
    }
    if kind in simple:
        return simple[kind]
    if issubclass(kind, enum.Enum):
        return list(kind)[turn % len(kind)]
    if hasattr(kind, "model_fields") and hasattr(kind, "model_validate"):
        return _model(kind, turn)
    raise _CannotMakeUp


def _model(kind: Any, turn: int) -> Any:
    given = {}
    for name, field in kind.model_fields.items():
        if field.is_required():
            given[field.alias or name] = _constrained(field.annotation, field.metadata, turn)
    return kind.model_validate(given)


def _constrained(kind: Any, metadata: Sequence[Any], turn: int) -> Any:
    """Return a value that respects the common bounds (annotated-types): lengths, least and greatest values."""
    bounds: dict[str, Any] = {}
    for bound in _flat(metadata):
        names = ("ge", "gt", "le", "lt", "multiple_of", "min_length")
        bounds.update({name: getattr(bound, name) for name in names if getattr(bound, name, None) is not None})
    value = _value(kind, turn)
    if isinstance(value, str | list) and value and len(value) < bounds.get("min_length", 0):
        return value * bounds["min_length"]
    if isinstance(value, int | float | decimal.Decimal) and not isinstance(value, bool):
        return _between(value, bounds)
    return value


def _flat(metadata: Iterable[Any]) -> Iterator[Any]:
    for each in metadata:
        inside = getattr(each, "metadata", None)  # of pydantic's Field(...)
        if isinstance(inside, list):
            yield from _flat(inside)
        elif isinstance(each, Iterable) and not isinstance(each, str):  # of annotated-types' Interval and the like
            yield from _flat(each)
        else:
            yield each


def _between(value: Any, bounds: Mapping[str, Any]) -> Any:
    kind = type(value)
    low, high = bounds.get("ge", bounds.get("gt")), bounds.get("le", bounds.get("lt"))
    step = kind(bounds.get("multiple_of", 1))
    if low is not None and high is not None and kind is not int:
        part = kind(value / (value + 1))  # 1/3, 3/5: inside, and different at each turn
        return kind(low + (high - low) * part)
    if low is not None and value <= low:
        value = kind(low + value * step)
    if high is not None and value >= high:
        value = kind(high - step)
    return kind(value // step * step) if "multiple_of" in bounds else value
