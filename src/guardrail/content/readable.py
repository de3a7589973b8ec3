"""JSON that people can read, of validated arguments: for tickets and records. Secrets are left out, models shown by field.

What JSON has no form for is tagged, so that nothing is ambiguous: `{"$float": "nan"}`, `{"$bytes": "aGk="}`. A dict of the
user's whose keys are no texts, or look like a tag, is shown as `{"$dict": [[key, value], …]}`.
"""

from __future__ import annotations

import base64
import dataclasses
import datetime
import enum
import functools
import math
import sys
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from typing import Any, Final

from guardrail import markers
from guardrail.content import tables
from guardrail.content.errors import Unencodable
from guardrail.decision import Prediction

Seal = Callable[[Any], Any]  # JSON value of a personal field -> what stands in its place

_OMITTED: Final = object()
_DEEPEST: Final = 100
_WIDEST: Final = 2**63
_BY_TEXT: Final = {
    "decimal": ("Decimal",),
    "fractions": ("Fraction",),
    "ipaddress": ("IPv4Address", "IPv6Address", "IPv4Network", "IPv6Network", "IPv4Interface", "IPv6Interface"),
    "pathlib": ("PurePath",),
    "pydantic": ("AnyUrl",),
    "pydantic_core": ("Url", "MultiHostUrl"),
    "uuid": ("UUID",),
    "zoneinfo": ("ZoneInfo",),
}


def is_secret(annotation: Any) -> bool:
    """Return whether a parameter or field is never shown: marked `Secret`, or one of pydantic's secret types."""
    if markers.marked(annotation, markers.Secret):
        return True
    secrets = _loaded("pydantic", ("SecretStr", "SecretBytes", "Secret"))
    kinds = markers.choices_of(markers.peeled(annotation)[0])
    kinds = tuple(typing.get_origin(kind) or kind for kind in kinds)
    return any(isinstance(kind, type) and issubclass(kind, secrets) for kind in kinds)


def jsonable(value: Any, annotation: Any = None, *, seal: Seal | None = None) -> Any:
    """Return a value as JSON can hold it.

    Args:
        value: What to show.
        annotation: Its declared type, for the markers inside; what is marked `Secret` is left out.
        seal: Given the JSON value of whatever is marked `PII`; returns what to put in its place.

    Returns:
        None, bool, int, finite float, str, lists, and dicts with texts as keys.

    Raises:
        Unencodable: A part cannot be shown; names the part.
    """
    try:
        shown = _Show(seal).show(value, annotation, 0)
    except Unencodable as error:
        error.path = error.path.removeprefix(".") or "the value"
        raise
    except Exception as error:
        # Not chained: the text of a foreign exception may show the value.
        raise Unencodable("the value", type(value).__qualname__, f"and reading it raised {type(error).__name__}") from None
    return None if shown is _OMITTED else shown


def dumps(value: Any, annotation: Any = None, *, seal: Seal | None = None) -> bytes:
    """Return `jsonable(value, annotation, seal=seal)` as UTF-8 JSON."""
    import orjson  # noqa: PLC0415 - nothing else here needs it

    return orjson.dumps(jsonable(value, annotation, seal=seal))
