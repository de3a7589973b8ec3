"""How a value of each class is written as bytes: canonical, exact, and compiled once per class.

The bytes are those of `marshal`, version 2 (binary floats, no references, each exact type under a letter of its own), whose
pieces can be joined. A type that marshal does not know is written as a tagged tuple that begins with `...`; since the user's own
`...` is such a tuple too, no tuple of the user's can look like one.
"""

from __future__ import annotations

import hashlib
import importlib
import sys
from collections.abc import Callable, Iterable, Sequence
from marshal import dumps
from types import NoneType
from typing import Any, Final

from guardrail.content import names
from guardrail.content.errors import Unkeyable

Write = Callable[[Any, int], bytes]  # (value, how deep it stands) -> its bytes

# marshal writes any object with a buffer as if it were bytes: it may be shown nothing but these, in exact containers.
SCALARS: Final = frozenset({NoneType, bool, int, float, complex, str, bytes})
LIMIT: Final = 64 * 1024  # bytes; longer buffers and encodings are replaced by their hash
DEEPEST: Final = 100
HASHED: Final = dumps((..., "sha256", bytes(8), None), 2)[:-9]  # then the length in 8 bytes, and the hash
_MOST_CLASSES: Final = 4096

# Who knows the types of a library, by the first part of a module's name; asked only once that library is loaded.
_LIBRARIES: Final = {
    "numpy": "guardrail.content.arrays",
    "pandas": "guardrail.content.frames",
    "polars": "guardrail.content.columns",
    "pyarrow": "guardrail.content.columns",
    "pydantic": "guardrail.content.models",
    "pydantic_core": "guardrail.content.models",
    "guardrail": "guardrail.content.models",
}


def scalar(value: Any, _depth: int = 0) -> bytes:
    """Write a value that marshal itself writes exactly."""
    return dumps(value, 2)


def tagged(tag: str, parts: Sequence[bytes]) -> bytes:
    """Write a tagged tuple of things already written."""
    return b"".join((b"(", (len(parts) + 2).to_bytes(4, "little"), b".", dumps(tag, 2), *parts))


def joined(parts: Sequence[bytes]) -> bytes:
    """Write a tuple of things already written."""
    return b"".join((b"(", len(parts).to_bytes(4, "little"), *parts))


def listed(parts: Sequence[bytes]) -> bytes:
    """Write a list of things already written."""
    return b"".join((b"[", len(parts).to_bytes(4, "little"), *parts))


def buffer(data: Any) -> bytes:
    """Write a C-contiguous run of bytes: as it is, or as its length and hash when it is long."""
    view = memoryview(data)
    if view.nbytes > LIMIT:
        return HASHED + view.nbytes.to_bytes(8, "little") + dumps(hashlib.sha256(view).digest(), 2)
    return dumps(view.tobytes(), 2)


class Writers(dict[type, Write]):
    """How each class met so far is written; the others are compiled when they are asked for."""

    def __init__(self, codec: Codec) -> None:
        super().__init__()
        self.codec = codec

    def __missing__(self, cls: type) -> Write:
        return self.codec.compiled(cls)


class Codec:
    """The compiled ways of writing each class.

    Args:
        shared: Whether other processes read the bytes too, so that a class may stand in them only under a name that leads
            to it.
    """

    def __init__(self, *, shared: bool) -> None:
        self.shared = shared
        self.exact = _exact_types(self)
        self.writers = Writers(self)
        self.writers.update(self.exact)

    def part(self, value: Any, depth: int, step: str) -> bytes:
        """Write one thing inside another that stands at this depth; the step leads to it, for errors."""
        return self.parts((value,), depth, lambda _: step)[0]

    def parts(self, values: Iterable[Any], depth: int, where: Callable[[int], str] = "[{}]".format) -> list[bytes]:
        """Write each thing that a container holds.

        Args:
            values: What it holds.
            depth: How deep the container stands.
            where: The path's step to the thing at an index, for errors.

        Raises:
            Unkeyable: One cannot be written, or the container is too deep inside others or in itself.
        """
        if depth >= DEEPEST:
            raise Unkeyable("", "container", f"nested more than {DEEPEST} levels deep, or in itself")
        writers = self.writers
        parts: list[bytes] = []
        cls: type = NoneType
        try:
            for value in values:
                cls = type(value)
                parts.append(writers[cls](value, depth + 1))
        except Exception as error:  # noqa: BLE001 - a class of the user's may raise anything when it is read
            raise placed(error, where(len(parts)), cls) from None
        return parts

    def pairs(self, pairs: Sequence[tuple[Any, Any]], depth: int) -> bytes:
        """Write a dict's pairs, in their order. A path counts them, since a key may be anything, a secret too."""
        keys = self.parts([key for key, _ in pairs], depth, ".keys()[{}]".format)
        values = self.parts([value for _, value in pairs], depth, ".values()[{}]".format)
        return b"".join((b"{", *(part for pair in zip(keys, values, strict=True) for part in pair), b"0"))

    def name(self, cls: type) -> str:
        """Return the name under which a class stands in the bytes."""
        return names.plain_name(cls) if self.shared else names.token(cls)

    def compiled(self, cls: type) -> Write:
        """Work out once how values of a class are written."""
        write = self._found(cls)
        root = cls.__module__.partition(".")[0]
        if self.shared and root not in sys.stdlib_module_names and root not in _LIBRARIES and not issubclass(cls, type):
            write = _portable(write)
        if len(self.writers) >= _MOST_CLASSES:  # they are held alive here; a program that makes classes for ever gets them back
            for known in self.writers.keys() - self.exact.keys():
                self.writers.pop(known, None)
        self.writers[cls] = write
        return write

    def _found(self, cls: type) -> Write:
        from guardrail.content import objects  # noqa: PLC0415 - it builds on this module

        roots = {base.__module__.partition(".")[0] for base in cls.__mro__}
        if type(cls).__eq__ is not type.__eq__ or type(cls).__hash__ is not type.__hash__:
            return refuse  # two such classes could pass for each other in a table
        if callable(getattr(cls, "__guard_key__", None)) and not issubclass(cls, type):
            return objects.by_own_key(self, cls)
        for root in sorted(_LIBRARIES.keys() & roots & sys.modules.keys()):
            write: Write | None = importlib.import_module(_LIBRARIES[root]).writer(self, cls)
            if write is not None:
                return write
        return objects.writer(self, cls) or refuse


def placed(error: Exception, step: str, cls: type) -> Unkeyable:
    """Return what to raise for an error met one step further in.

    Never chained to a foreign exception, whose text may show the value.
    """
    if isinstance(error, Unkeyable):
        error.under(step)
        return error
    return Unkeyable(step, cls.__name__, f"and reading it raised {type(error).__name__}")


def refuse(value: Any, _depth: int) -> bytes:
    """Write nothing: there is no exact way."""
    raise Unkeyable("", type(value).__name__)


def _portable(write: Write) -> Write:
    def portable(value: Any, depth: int) -> bytes:
        # Asked every time: a notebook cell run again makes the same name mean another class.
        if not names.resolves(type(value)):
            why = "a class that other processes cannot find by its name; define it at the top of a module"
            raise Unkeyable("", type(value).__name__, why)
        return write(value, depth)

    return portable


def _exact_types(codec: Codec) -> dict[type, Write]:
    """Return how the language's own types are written."""
    flat = SCALARS.issuperset

    def a_tuple(value: Any, depth: int) -> bytes:
        for item in value:
            if type(item) not in SCALARS:
                return joined(codec.parts(value, depth))
        return dumps(value, 2)

    def a_list(value: Any, depth: int) -> bytes:
        if flat(map(type, value)):
            return dumps(value, 2)
        return listed(codec.parts(value, depth))

    def a_dict(value: Any, depth: int) -> bytes:
        for key, item in value.items():
            if type(item) not in SCALARS or type(key) not in SCALARS:
                return codec.pairs([*value.items()], depth)
        return dumps(value, 2)

    def a_set(value: Any, depth: int) -> bytes:
        return tagged("set", sorted(codec.parts(value, depth)))

    def a_frozenset(value: Any, depth: int) -> bytes:
        return tagged("frozenset", sorted(codec.parts(value, depth)))

    def a_bytearray(value: Any, _depth: int) -> bytes:
        return tagged("bytearray", [buffer(value)])

    def a_memoryview(value: Any, _depth: int) -> bytes:
        return tagged("memoryview", [dumps((value.format, value.shape, value.readonly), 2), buffer(value.tobytes())])

    def a_range(value: Any, _depth: int) -> bytes:
        return dumps((..., "range", value.start, value.stop, value.step), 2)

    def a_slice(value: Any, depth: int) -> bytes:
        return tagged("slice", codec.parts((value.start, value.stop, value.step), depth))

    return {
        **dict.fromkeys(SCALARS, scalar),
        tuple: a_tuple,
        list: a_list,
        dict: a_dict,
        set: a_set,
        frozenset: a_frozenset,
        bytearray: a_bytearray,
        memoryview: a_memoryview,
        range: a_range,
        slice: a_slice,
        type(...): lambda _value, _depth: dumps((..., "..."), 2),
    }
