"""Finds the user's own key for a matter in a call's arguments: where `BusinessId` marks it, or where the option says."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from guardrail import markers
from guardrail.call import Call


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
        return lambda call: str(compute(*call.args, **call.kwargs))
    if option is not None:
        return markers.finder(positional, option.split("."))
    for name, annotation in annotations.items():
        path = None if name == "return" else markers.path_to(annotation, markers.BusinessId)
        if path is not None:
            return markers.finder(positional, [name, *path])
    return None
