"""Marks that a user puts on their own types with `Annotated[...]`, and where in a type they stand.

Each may be written as a class or as an instance: `Annotated[str, PII]` and `Annotated[str, PII()]` are the same.
"""

from __future__ import annotations

import functools
import types
import typing
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from typing import Annotated, Any, Final, cast

from guardrail.errors import ConfigError

_DEEPEST: Final = 8  # models within models that are looked into
_NOT_SCHEMAS: Final = frozenset({"metadata", "default", "expected", "serialization"})
_NO_FLOATS_OF_OURS: Final = frozenset({"model", "dataclass", "typed-dict", "definition-ref"})


class _Marker:
    """A mark without content: one is as good as another."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return other.__class__ is self.__class__

    def __hash__(self) -> int:
        return hash(self.__class__)

    def __repr__(self) -> str:
        return f"{self.__class__.__name__}()"


class PII(_Marker):
    """Personal data: sealed under the subject's key wherever it is stored."""

    __slots__ = ()


class Secret(_Marker):
    """Never stored and never shown: left out of tickets and records, even sealed ones."""

    __slots__ = ()


class Subject(_Marker):
    """The id of the person whom the case is about; their data are erased by it."""

    __slots__ = ()


class BusinessId(_Marker):
    """The user's own key of the case, such as the number of a loan: decisions are found by it."""

    __slots__ = ()


class AllowNaN(_Marker):
    """NaN and the infinities are welcome: `Annotated[float, AllowNaN]`, also around containers of floats."""

    __slots__ = ()

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Callable[[Any], Any]) -> Any:
        """Return the schema of the annotated type with every float in it, but not in models of the user's, set free."""
        return _freed(handler(source))


class Rows(_Marker):
    """The type of one row of a table: `Annotated[pandas.DataFrame, Rows(Applicant)]`.

    Args:
        model: The class that each row is validated as.

    Raises:
        ConfigError: It is no class.
    """

    __slots__ = ("model",)

    def __init__(self, model: type[Any]) -> None:
        if not isinstance(model, type):
            raise ConfigError("Rows needs the class of one row", hint="write Annotated[pandas.DataFrame, Rows(Applicant)]")
        self.model = model

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Rows) and other.model is self.model

    def __hash__(self) -> int:
        return hash((Rows, self.model))

    def __repr__(self) -> str:
        return f"Rows({self.model.__name__})"


def _freed(schema: Any) -> Any:
    """Return a pydantic core schema whose floats and decimals accept NaN and the infinities."""
    if isinstance(schema, list | tuple):
        return type(schema)([_freed(part) for part in schema])
    if not isinstance(schema, dict) or schema.get("type") in _NO_FLOATS_OF_OURS:
        return schema
    freed = {name: part if name in _NOT_SCHEMAS else _freed(part) for name, part in schema.items()}
    if schema.get("type") in ("float", "decimal"):
        freed["allow_inf_nan"] = True
    return freed


# ── where the marks stand ─────────────────────────────────────────────────────────────────────────────────────────────
def peeled(annotation: Any) -> tuple[Any, tuple[Any, ...]]:
    """Return a type without its `Annotated`, aliases and `NewType`s, and all that was annotated on it."""
    marks: tuple[Any, ...] = ()
    while True:
        if typing.get_origin(annotation) is Annotated:
            marks += annotation.__metadata__
            annotation = annotation.__origin__
        elif hasattr(annotation, "__supertype__"):
            annotation = annotation.__supertype__
        elif type(annotation).__name__ == "TypeAliasType":
            annotation = annotation.__value__
        elif typing.get_origin(annotation) in (typing.Required, typing.NotRequired, typing.ClassVar, typing.Final):
            annotation = annotation.__args__[0]
        else:
            return annotation, marks


def carries(marks: Sequence[Any], marker: type[_Marker]) -> bool:
    """Return whether a marker, as class or instance, is among what was annotated."""
    return any(mark is marker or isinstance(mark, marker) for mark in marks)


def choices_of(annotation: Any) -> tuple[Any, ...]:
    """Return the members of a union, or the type itself as the only one."""
    union = typing.get_origin(annotation) in (typing.Union, types.UnionType)
    return typing.get_args(annotation) if union else (annotation,)


def marked(annotation: Any, marker: type[_Marker]) -> bool:
    """Return whether a type carries a marker, itself or as a member of a union (`Annotated[str, Secret] | None`)."""
    try:
        return _known_marked(annotation, cast("Hashable", marker))
    except TypeError:  # what is annotated on it has no hash
        return _marked(annotation, marker)


def kinds_of(annotation: Any) -> tuple[Any, ...]:
    """Return the classes that a type, or a member of a union, is made of, without their parameters."""
    try:
        return _known_kinds(annotation)
    except TypeError:  # as above
        return _kinds(annotation)


def _kinds(annotation: Any) -> tuple[Any, ...]:
    return tuple(typing.get_origin(kind) or kind for kind in choices_of(peeled(annotation)[0]))


_known_kinds = functools.lru_cache(maxsize=1024)(_kinds)


def _marked(annotation: Any, marker: type[_Marker]) -> bool:
    bare, marks = peeled(annotation)
    if carries(marks, marker):
        return True
    choices = choices_of(bare)
    return len(choices) > 1 and any(marked(choice, marker) for choice in choices)


_known_marked = functools.lru_cache(maxsize=4096)(_marked)


def fields_of(cls: Any) -> dict[str, Any]:
    """Return the annotations of a class's fields, markers included; empty for a class without declared fields."""
    return _fields_of(cls) if isinstance(cls, type) else {}


@functools.lru_cache(maxsize=1024)
def _fields_of(cls: Any) -> dict[str, Any]:
    pydantic_fields = getattr(cls, "__pydantic_fields__", None)
    if isinstance(pydantic_fields, dict):
        return {name: _annotation(field) for name, field in pydantic_fields.items()}
    named = any(hasattr(cls, sign) for sign in ("__dataclass_fields__", "__attrs_attrs__", "__required_keys__"))
    if not (named or (issubclass(cls, tuple) and hasattr(cls, "_fields"))):
        return {}
    try:
        return dict(typing.get_type_hints(cls, include_extras=True))
    except Exception:  # noqa: BLE001 - some name in them leads nowhere, as in classes that a function defines
        return {name: guessed(str(text)) for base in cls.__mro__[::-1] for name, text in _annotations(base).items()}


def _annotations(cls: type) -> dict[str, Any]:
    return dict(vars(cls).get("__annotations__", {}))


def guessed(text: str) -> Any:
    """Return what an annotation that cannot be resolved marks, going by its text: a secret must not get out for that."""
    marks = [marker for marker in (PII, Secret, Subject, BusinessId) if marker.__name__ in text]
    return Annotated[(Any, *marks)] if marks else Any


def _annotation(field: Any) -> Any:
    # pydantic takes `Annotated` apart.
    return Annotated[(field.annotation, *field.metadata)] if field.metadata else field.annotation


def path_to(annotation: Any, marker: type[_Marker]) -> list[str] | None:
    """Return the names of the fields that lead to the first one that carries a marker.

    Args:
        annotation: The type of a parameter: a model, dataclass, typed dict or named tuple, or anything else.
        marker: Which one.

    Returns:
        Empty where the type itself carries it; None where it stands nowhere.
    """
    return next(_paths(annotation, marker, _DEEPEST), None)


def holds(annotation: Any, *wanted: type[_Marker]) -> bool:
    """Return whether a type carries one of some markers anywhere: itself, in what a container holds, or in a field of a class."""
    return _holds(annotation, wanted, set())


def _holds(annotation: Any, wanted: tuple[type[_Marker], ...], seen: set[type]) -> bool:
    bare, marks = peeled(annotation)
    if any(carries(marks, marker) for marker in wanted):
        return True
    cls = typing.get_origin(bare) or bare
    if isinstance(cls, type) and not typing.get_args(bare):
        if cls in seen:
            return False
        seen.add(cls)
    inner = [*typing.get_args(bare), *fields_of(cls).values(), *(mark.model for mark in marks if isinstance(mark, Rows))]
    return any(_holds(kind, wanted, seen) for kind in inner)


def field_with(fields: Mapping[str, Any], marker: type[_Marker]) -> str | None:
    """Return the name of the first of some fields that carries a marker; None where none does."""
    return next((name for name, kind in fields.items() if marked(kind, marker)), None)


def _paths(annotation: Any, marker: type[_Marker], depth: int) -> Iterator[list[str]]:
    if marked(annotation, marker):
        yield []
    elif depth:
        for choice in choices_of(peeled(annotation)[0]):
            for name, kind in fields_of(peeled(choice)[0]).items():
                for path in _paths(kind, marker, depth - 1):
                    yield [name, *path]


def finder(positional: Sequence[str], path: Sequence[str]) -> Callable[[Any], str | None]:
    """Return what finds one field in the arguments of a bound call, as text.

    Args:
        positional: The parameters whose values stand in `call.args`, in order; those of all others stand in `call.kwargs`.
        path: The parameter's name and the names of the fields below it; a field may be a mapping's key.

    Returns:
        A function of a call; it returns None where there is no such field, or None in it.
    """
    parameter, *fields = path
    at = positional.index(parameter) if parameter in positional else None

    def find(call: Any) -> str | None:
        value = call.kwargs.get(parameter) if at is None or at >= len(call.args) else call.args[at]
        for field in fields:
            value = value.get(field) if isinstance(value, Mapping) else getattr(value, field, None)
        return None if value is None else value if type(value) is str else str(value)

    return find
