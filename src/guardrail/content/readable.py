"""JSON that people can read, of validated arguments: for tickets and records. Secrets are left out, models shown by field.

What JSON has no form for is tagged, so that nothing is ambiguous: `{"$float": "nan"}`, `{"$bytes": "aGk="}`. A dict of the
user's whose keys are no texts, or look like a tag, is shown as `{"$dict": [[key, value], …]}`.
"""

from __future__ import annotations

import base64
import datetime as dt
import enum
import functools
import math
import sys
import typing
from collections import deque
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, Final, cast

from guardrail import markers
from guardrail.content import tables
from guardrail.content.errors import Unencodable
from guardrail.decision import Prediction

Seal = Callable[[Any], Any]  # JSON value of a personal field -> what stands in its place

OMITTED: Final = object()  # a secret
_DEEPEST: Final = 100
_WIDEST: Final = 2**63
_FEW: Final = 16  # items of a container whose types are worth remembering
_CONTAINERS: Final = frozenset((dict, list, tuple))
_PLAIN: Final = frozenset((str, int, float, bool, bytes, type(None)))
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
    if type(annotation) is type and annotation in _PLAIN:
        return False
    if markers.marked(annotation, markers.Secret):
        return True
    secrets = _loaded("pydantic", ("SecretStr", "SecretBytes", "Secret"))
    return bool(secrets) and any(isinstance(kind, type) and issubclass(kind, secrets) for kind in markers.kinds_of(annotation))


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
    exact = _EXACT.get(type(value))
    if exact is not None and seal is None and (annotation is None or (type(annotation) is type and annotation in _PLAIN)):
        return exact(value)
    try:
        shown = Shown(seal).show(value, annotation, 0)
    except Unencodable as error:
        error.path = error.path.removeprefix(".") or "the value"
        raise
    except Exception as error:  # noqa: BLE001 - a class of the user's may raise anything
        # Not chained: the text of a foreign exception may show the value.
        raise Unencodable("the value", type(value).__name__, f"and reading it raised {type(error).__name__}") from None
    return None if shown is OMITTED else shown


def dumps(value: Any, annotation: Any = None, *, seal: Seal | None = None) -> bytes:
    """Return `jsonable(value, annotation, seal=seal)` as UTF-8 JSON."""
    import orjson  # noqa: PLC0415 - nothing else here needs it

    return orjson.dumps(jsonable(value, annotation, seal=seal))


class Shown:
    """One run over a value, with what is to be done about personal data."""

    def __init__(self, seal: Seal | None) -> None:
        self.seal = seal

    def show(self, value: Any, annotation: Any, depth: int, step: str = "") -> Any:
        """Return the JSON of a value that stands at a step of a path; OMITTED for a secret."""
        if depth > _DEEPEST:
            raise Unencodable(step, "container", f"nested more than {_DEEPEST} levels deep, or in itself")
        if annotation is not None and is_secret(annotation):
            return OMITTED
        try:
            shown = self._value(value, annotation, depth)
        except Unencodable as error:
            error.under(step)
            raise
        if self.seal is None or shown is OMITTED or annotation is None or not markers.marked(annotation, markers.PII):
            return shown
        return self.seal(shown)

    def _value(self, value: Any, annotation: Any, depth: int) -> Any:
        exact = _EXACT.get(type(value))
        if exact is not None:
            return exact(value)
        if value is None or value is True or value is False:
            return value
        if type(value) in _CONTAINERS:
            return self._container(value, annotation, depth)
        if isinstance(value, enum.Enum):
            return self._enum(value, depth)
        for kinds, scalar in _SCALARS:
            if isinstance(value, kinds):
                return scalar(value)
        shown = self._library(value, annotation, depth)
        if shown is not tables.ABSENT:
            return shown
        if isinstance(value, dt.datetime | dt.date | dt.time):
            return value.isoformat()
        if isinstance(value, dt.timedelta):
            return _duration(value)
        if isinstance(value, _loaded("pydantic", ("SecretStr", "SecretBytes", "Secret"))):
            return OMITTED
        if any(isinstance(value, _loaded(module, names)) for module, names in _BY_TEXT.items()):
            return _text(str(value))
        if type(value) is Prediction:
            parts = {"value": value.value, "confidence": value.confidence, "reasons": value.reasons}
            of = next(
                (typing.get_args(kind) for kind in markers.choices_of(markers.peeled(annotation)[0]) if typing.get_args(kind)), ()
            )
            return self._fields(parts, {"value": of[0]} if of else {}, depth)
        fields = markers.fields_of(type(value))
        if fields or hasattr(type(value), "__pydantic_fields__"):
            return self._object(value, fields, depth)
        return self._container(value, annotation, depth)

    def _container(self, value: Any, annotation: Any, depth: int) -> Any:
        if isinstance(value, Mapping):
            return self._mapping(value, annotation, depth)
        if isinstance(value, list | tuple | AbstractSet | deque):
            return self._items(value, annotation, depth)
        raise Unencodable("", type(value).__name__)

    def _enum(self, value: enum.Enum, depth: int) -> Any:
        try:
            return self._value(value.value, None, depth)
        except Unencodable:
            return value.name

    def _library(self, value: Any, annotation: Any, depth: int) -> Any:
        def inner(part: Any, step: str) -> Any:
            return self.show(part, None, depth + 1, step)

        def column(name: str) -> Callable[[Any], Any] | None:
            return None if is_secret(kinds.get(name)) else self._column(name, kinds.get(name))

        kinds = row_fields(annotation)
        return tables.of_library(value, inner, column)

    def _column(self, _name: str, kind: Any) -> Callable[[Any], Any]:
        """Return what is done with each cell of a table's column."""
        return self.seal if self.seal is not None and markers.marked(kind, markers.PII) else lambda item: item

    def _object(self, value: Any, fields: dict[str, Any], depth: int) -> Any:
        declared: dict[str, Any] = getattr(type(value), "__pydantic_fields__", {})
        if list(fields) == ["root"] and isinstance(value, _loaded("pydantic", ("RootModel",))):
            return self.show(value.__dict__["root"], fields["root"], depth + 1)
        parts = {}
        for name in fields:
            if hasattr(value, name) and not getattr(declared.get(name), "exclude", None):
                parts[name] = getattr(value, name)
        return self._fields(parts | (getattr(value, "__pydantic_extra__", None) or {}), fields, depth)

    def _fields(self, parts: Mapping[str, Any], kinds: Mapping[str, Any], depth: int) -> dict[str, Any]:
        shown = {name: self.show(part, kinds.get(name), depth + 1, f".{name}") for name, part in parts.items()}
        return {name: part for name, part in shown.items() if part is not OMITTED}

    def _mapping(self, value: Mapping[Any, Any], annotation: Any, depth: int) -> Any:
        bare = markers.peeled(annotation)[0]
        kinds = next((found for kind in markers.choices_of(bare) if (found := markers.fields_of(markers.peeled(kind)[0]))), {})
        key_kind, item_kind = _inner(annotation, value, 2)
        if is_secret(key_kind):
            return OMITTED
        pairs = []
        for at, (key, item) in enumerate(value.items()):
            kind = kinds.get(key, item_kind) if isinstance(key, str) else item_kind
            shown = self.show(item, kind, depth + 1, f".values()[{at}]")
            if shown is not OMITTED:
                pairs.append((self.show(key, key_kind, depth + 1, f".keys()[{at}]"), shown))
        if all(type(key) is str and not key.startswith("$") for key, _ in pairs):
            return dict(pairs)
        return {"$dict": [list(pair) for pair in pairs]}

    def _items(self, value: Collection[Any], annotation: Any, depth: int) -> Any:
        kinds = _inner(annotation, value, len(value))
        shown = [self.show(item, kind, depth + 1, f"[{at}]") for at, (item, kind) in enumerate(zip(value, kinds, strict=True))]
        shown = [{"$omitted": "secret"} if item is OMITTED else item for item in shown]
        return sorted(shown, key=repr) if isinstance(value, AbstractSet) else shown


def row_fields(annotation: Any) -> dict[str, Any]:
    """Return the annotations of a table's columns, where `Rows` says of what its rows are."""
    rows = next((mark for mark in markers.peeled(annotation)[1] if isinstance(mark, markers.Rows)), None)
    return {} if rows is None else markers.fields_of(rows.model)


# ── scalars ───────────────────────────────────────────────────────────────────────────────────────────────────────────
def _text(value: str) -> Any:
    value = str.__str__(value)
    if value.isascii():
        return value
    try:
        value.encode()
    except UnicodeEncodeError:  # lone surrogates, which UTF-8 has no form for
        return {"$str": value.encode("unicode_escape").decode("ascii")}
    return value


def _whole(value: int) -> Any:
    value = int.__pos__(value)
    return value if -_WIDEST <= value < _WIDEST else {"$int": hex(value)}


def _float(value: float) -> Any:
    value = float.__pos__(value)
    return value if math.isfinite(value) else {"$float": str(value)}


def _complex(value: complex) -> Any:
    return {"$complex": [_float(value.real), _float(value.imag)]}


def _bytes(value: Any) -> Any:
    return {"$bytes": base64.b64encode(value).decode("ascii")}


def _range(value: range) -> Any:
    return {"$range": [value.start, value.stop, value.step]}


_SCALARS: Final[tuple[tuple[Any, Callable[[Any], Any]], ...]] = (
    (str, _text),
    (int, _whole),
    (float, _float),
    (complex, _complex),
    (bytes | bytearray | memoryview, _bytes),
    (range, _range),
)

_EXACT: Final[dict[type, Callable[[Any], Any]]] = {str: _text, int: _whole, float: _float}  # what most values are


def _inner(annotation: Any, value: Any, count: int) -> Sequence[Any]:
    """Return the declared types of what a container holds: of its items in order, or of a mapping's keys and values.

    Where a union leaves open which of its members is meant, whatever is marked in any of them counts as marked.
    """
    if annotation is None:
        return (None,) * count
    if count > _FEW:
        return _declared(annotation, type(value), count)
    try:
        return _known_inner(annotation, cast("Hashable", type(value)), count)
    except TypeError:  # what is annotated on it has no hash
        return _declared(annotation, type(value), count)


def _declared(annotation: Any, container: type, count: int) -> Sequence[Any]:
    found: list[list[Any]] = [[] for _ in range(count)]
    for choice in markers.choices_of(markers.peeled(annotation)[0]):
        bare = markers.peeled(choice)[0]
        origin, kinds = typing.get_origin(bare), typing.get_args(bare)
        if not (isinstance(origin, type) and issubclass(container, origin) and kinds):
            continue
        if not issubclass(container, Mapping) and (len(kinds) == 1 or kinds[-1] is ...):
            kinds = kinds[:1] * count
        for at, kind in enumerate(kinds[:count]):
            found[at].append(kind)
    return [typing.Union[tuple(kinds)] if kinds else None for kinds in found]  # noqa: UP007 - made of a list


_known_inner = functools.lru_cache(maxsize=1024)(_declared)


def _loaded(module: str, names: tuple[str, ...]) -> tuple[type, ...]:
    """Return types of a module; none while nobody has imported it, since then there are no values of them."""
    loaded = sys.modules.get(module)
    return () if loaded is None else tuple(getattr(loaded, name) for name in names)


def _duration(value: dt.timedelta) -> str:
    """Return a duration as ISO 8601 has it, in days and seconds."""
    sign, value = ("-", -value) if value.days < 0 else ("", value)
    part = f"{value.seconds}.{value.microseconds:06d}".rstrip("0").rstrip(".") if value.microseconds else str(value.seconds)
    return f"{sign}P{value.days}DT{part}S"
