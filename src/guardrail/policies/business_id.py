"""Finds the user's own key for a matter in a call's arguments: where `BusinessId` marks it, or where the option says."""

from __future__ import annotations

import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, get_args, get_origin

from guardrail.call import Call
from guardrail.markers import BusinessId


def finder(
    positional: Sequence[str], annotations: Mapping[str, Any], option: str | Callable[..., str] | None
) -> Callable[[Call], str | None] | None:
    """Return what finds the key in a bound call, None where nothing says where it stands.

    Args:
        positional: Names of the positional parameters, in order.
        annotations: Each parameter's resolved annotation.
        option: Name of an argument, with the names of fields after it ("applicant.loan_id"), or a callable on the arguments.
    """
    if callable(option):
        compute = option
        return lambda call: _text(compute(*call.args, **call.kwargs))
    if option is not None:
        return _along(positional, option.split("."))
    for name, annotation in annotations.items():
        path = _path_to_mark(annotation)
        if path is not None and name != "return":
            return _along(positional, [name, *path])
    return None


def _along(positional: Sequence[str], path: Sequence[str]) -> Callable[[Call], str | None]:
    first, rest = path[0], path[1:]
    place = positional.index(first) if first in positional else None

    def find(call: Call) -> str | None:
        value = call.kwargs.get(first) if place is None else call.args[place] if place < len(call.args) else None
        for name in rest:
            value = value.get(name) if isinstance(value, Mapping) else getattr(value, name, None)
        return _text(value)

    return find


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def _path_to_mark(annotation: Any) -> list[str] | None:
    """Return the names of the fields that lead to the mark, [] where the annotation itself bears it, None without one."""
    if get_origin(annotation) is Annotated:
        if _is_mark(get_args(annotation)[1:]):
            return []
        annotation = get_args(annotation)[0]
    fields = getattr(annotation, "model_fields", None)
    if isinstance(fields, Mapping):  # a pydantic model keeps the marks apart from the type
        return next(([name] for name, field in fields.items() if _is_mark(field.metadata)), None)
    if not isinstance(annotation, type) or not hasattr(annotation, "__annotations__"):
        return None
    try:
        hints = typing.get_type_hints(annotation, include_extras=True)
    except Exception:  # noqa: BLE001 - annotations are the user's text: whatever they raise, there is no mark to be seen
        return None
    return next(([name] for name, hint in hints.items() if get_origin(hint) is Annotated and _is_mark(get_args(hint)[1:])), None)


def _is_mark(metadata: Sequence[Any]) -> bool:
    return any(mark is BusinessId or isinstance(mark, BusinessId) for mark in metadata)
