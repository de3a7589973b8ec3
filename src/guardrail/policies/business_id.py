"""Finds the user's own key for a matter in a call's arguments: where `BusinessId` marks it, or where the option says."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from guardrail import markers
from guardrail.call import Call
from guardrail.errors import ConfigError


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
    path = _path(annotations, markers.BusinessId) if option is None else option.split(".")
    if path is None:
        return None
    _refuse_personal(annotations, path)
    return markers.finder(positional, path)


def subject_finder(positional: Sequence[str], annotations: Mapping[str, Any]) -> Callable[[Call], str | None] | None:
    """Return what finds the id of the person whom a bound call is about, None where no path of names leads to one."""
    path = _path(annotations, markers.Subject)
    return None if path is None else markers.finder(positional, path)


def _path(annotations: Mapping[str, Any], marker: Any) -> list[str] | None:
    for name, annotation in annotations.items():
        path = None if name == "return" else markers.path_to(annotation, marker)
        if path is not None:
            return [name, *path]
    return None


def _refuse_personal(annotations: Mapping[str, Any], path: Sequence[str]) -> None:
    """Refuse a key that must not stand in every record of a matter for ever."""
    kind = annotations.get(path[0])
    for field in (*path[1:], None):
        for marker in (markers.PII, markers.Subject, markers.Secret):
            if kind is not None and markers.marked(kind, marker):
                raise ConfigError(
                    f"the business id is marked {marker.__name__}, and stands in records and tickets as it is",
                    policy="audit", hint="mark a number of the case as BusinessId, or compute one: Audit(business_id=lambda ...: ...)",
                )  # fmt: skip
        choices = markers.choices_of(markers.peeled(kind)[0])
        kind = next((found for each in choices if (found := markers.fields_of(markers.peeled(each)[0]).get(field or ""))), None)
