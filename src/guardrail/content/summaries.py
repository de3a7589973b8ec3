"""What a record keeps of an answer: numbers, truth values, enums and short texts as they are, of all else a digest."""

from __future__ import annotations

import enum
import sys
from collections.abc import Iterator, Mapping
from typing import Any, Final

from guardrail.content.encoding import digest, encode, size_of
from guardrail.content.errors import Unencodable, Unkeyable
from guardrail.decision import Prediction

LONGEST_TEXT: Final = 200  # characters
_MOST_BITS: Final = 256
_ABSENT: Final = object()
_PLAIN: Final = frozenset({float, bool, type(None)})


class Digested(Mapping[str, Any]):
    """An answer too large for a record: digest, size in bytes and type. Immutable; hashed only when it is read.

    Args:
        encoding: Its exact encoding, None where it has none.
        schema: Its type, in short.
    """

    __slots__ = ("encoding", "schema")

    def __init__(self, encoding: bytes | None, schema: str) -> None:
        self.encoding = encoding
        self.schema = schema

    def fields(self, key: bytes = b"") -> dict[str, Any]:
        """Return what a record says, the digest under a key where there is one."""
        if self.encoding is None:
            return {"schema": self.schema}
        found = digest(self.encoding, key=key).hex()
        return {"digest": found, "size": size_of(self.encoding), "schema": self.schema}

    def __getitem__(self, name: str) -> Any:
        return self.fields()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.fields())

    def __len__(self) -> int:
        return len(self.fields())

    def __repr__(self) -> str:
        return f"<Digested {self.schema}>"


class Sealed(Digested):
    """An answer of which something is personal: the record shows digest, size and type, and holds the personal parts sealed.

    Args:
        encoding: Its exact encoding, None where it has none.
        schema: Its type, in short.
        shown: Its JSON with what is personal taken out; None where all of it was.
        parts: What was taken out, as `content.personal` has it; nobody's parts are the call's own subject's.
    """

    __slots__ = ("parts", "shown")

    def __init__(self, encoding: bytes | None, schema: str, shown: Any, parts: tuple[Any, ...]) -> None:
        super().__init__(encoding, schema)
        self.shown = shown
        self.parts = parts


def summary(value: Any) -> Any:
    """Return what a record keeps of an answer; immutable, and nothing of the user's.

    Numbers (numpy's as Python's), truth values, None, enums by their value and texts up to 200 characters are kept. A
    Prediction of such, or a pair of such with a float, is kept as a pair; decimals, fractions and complex numbers as text.
    All else is `Digested`.
    """
    cls = type(value)
    if cls in _PLAIN:
        return value
    if cls is str:
        return value if len(value) <= LONGEST_TEXT else digested(value)
    if cls is int and value.bit_length() <= _MOST_BITS:
        return value
    if cls is Prediction:
        pair = value.value, value.confidence
    elif cls is tuple and len(value) == 2:  # noqa: PLR2004 - (value, confidence)
        pair = value
    else:
        found = _kept(value)
        return digested(value) if found is _ABSENT else found
    answer, confidence = pair
    if type(answer) is not str or len(answer) > LONGEST_TEXT:
        answer = _kept(answer)
    if type(confidence) is not float:
        confidence = _kept(confidence)
    return digested(value) if answer is _ABSENT or type(confidence) is not float else (answer, confidence)


def _kept(value: Any) -> Any:
    cls = type(value)
    if cls in _PLAIN:
        return value
    if isinstance(value, enum.Enum):
        found = _kept(value.value)
        return value.name if found is _ABSENT else found
    if "numpy" in sys.modules and isinstance(value, sys.modules["numpy"].generic):
        value = value.item() if value.dtype.kind in "?biufcU" else None  # a long double, as long as it is, has no equal
        return _ABSENT if value is None or type(value).__module__ != "builtins" else _kept(value)
    if isinstance(value, str):
        return str.__str__(value) if len(value) <= LONGEST_TEXT else _ABSENT
    if isinstance(value, int):
        return int.__pos__(value) if value.bit_length() <= _MOST_BITS else _ABSENT
    if isinstance(value, float):
        return float.__pos__(value)
    if cls is complex or (cls.__module__, cls.__qualname__) in {("decimal", "Decimal"), ("fractions", "Fraction")}:
        return _kept(str(value))
    return _ABSENT


def digested(value: Any) -> Digested:
    """Return the digest, size and type of an answer; only its type where it has no exact encoding."""
    try:
        return Digested(encode(value), schema_of(value))
    except Unkeyable:
        return Digested(None, schema_of(value))


def shown(value: Any) -> Any:
    """Return an answer as JSON can hold it, secrets left out; `Digested` where it cannot be shown."""
    from guardrail.content.readable import jsonable  # noqa: PLC0415 - most guards record no answer in plain

    try:
        return jsonable(value)
    except Unencodable:
        return digested(value)


def schema_of(value: Any) -> str:
    """Return the type of a value and its extent, nothing of its content: "Applicant", "ndarray[float64](3, 4)", "list(3)"."""
    cls = type(value)
    name = cls.__name__
    root = cls.__module__.partition(".")[0]
    try:
        if root in ("numpy", "pandas", "polars", "pyarrow") and hasattr(value, "shape"):
            shape = tuple(map(int, value.shape))
            if root == "numpy":
                return f"{name}[{value.dtype}]{shape}" if shape else name
            return f"{name}({'×'.join(map(str, shape))})"  # noqa: RUF001 - as one writes the extent of a table
        if cls is Prediction:
            return f"Prediction[{schema_of(value.value)}]"
        if isinstance(value, bytes | bytearray | list | tuple | dict | set | frozenset) or root == "pyarrow":
            return f"{name}({len(value)})"
    except Exception:  # noqa: BLE001 - a class of the user's may claim a shape or a length and have none
        return name
    return name
