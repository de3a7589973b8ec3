"""Turns an annotation into a check: a pydantic validator with the library's rules, and the shortcuts that are safe."""

from __future__ import annotations

import contextlib
import inspect
import sys
import types
import typing
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Final, NamedTuple, get_args, get_origin

from guardrail import notices
from guardrail.policies.sameness import keeping, with_kinds_kept

ANY: Final = inspect.Parameter.empty

# Errors of pydantic whose text repeats a part of the value, or was written by the user's own validator.
_TELLING: Final = frozenset({
    "assertion_error", "bytes_invalid_encoding", "date_from_datetime_parsing", "date_parsing", "datetime_object_invalid",
    "datetime_parsing", "get_attribute_error", "iteration_error", "json_invalid", "mapping_type", "time_delta_parsing",
    "time_parsing", "timezone_offset", "union_tag_invalid", "url_parsing", "url_syntax_violation", "uuid_parsing",
    "uuid_version", "value_error",
})  # fmt: skip

_IO: Final = (typing.IO, typing.TextIO, typing.BinaryIO)  # classes that open files do not derive from


class Check(NamedTuple):
    """How one value is checked.

    Attributes:
        exact: A class whose direct instances always fit as they are, or None.
        validate: Validates in lax mode and returns the value to use, the very object where it fits already; raises pydantic's
            ValidationError.
        fits: For an answer: raises ValidationError unless the object itself fits the annotation.
        fields: Every field name in the annotation's schema, the only texts of an error's path that may be shown.
    """

    exact: type[Any] | None
    validate: Callable[[Any], Any]
    fits: Callable[[Any], Any]
    fields: frozenset[str]


def resolve(fn: Callable[..., Any], name: str, annotation: Any, local: Mapping[str, Any]) -> Any:
    """Return the type behind an annotation, which may be a text.

    Raises:
        NameError: It names something that does not exist (yet).
    """
    if not isinstance(annotation, str):
        return annotation
    holder = types.SimpleNamespace(__annotations__={name: annotation})
    names = {**getattr(fn, "__globals__", {})}
    return typing.get_type_hints(holder, globalns=names, localns=dict(local), include_extras=True)[name]


def check_for(annotation: Any, what: str, guard: str) -> Check | None:
    """Return the check for an annotation, or None where there is nothing to check.

    A type that pydantic cannot describe is left unchecked, and that is said once.
    """
    if annotation in (ANY, Any, object, typing.NoReturn, typing.Never) or isinstance(annotation, typing.TypeVar):
        return None
    from pydantic import PydanticUserError, TypeAdapter  # noqa: PLC0415 - the import costs more than all of ours
    from pydantic.errors import PydanticSchemaGenerationError, PydanticUndefinedAnnotation  # noqa: PLC0415

    try:
        asked = with_kinds_kept(annotation)
        try:
            adapter: TypeAdapter[Any] = TypeAdapter(asked, config={"arbitrary_types_allowed": True, "allow_inf_nan": False})
        except PydanticUserError as error:
            if error.code != "type-adapter-config-unused":
                raise
            adapter = TypeAdapter(asked)  # a model, dataclass or TypedDict of the user's: its own config rules
    except PydanticUndefinedAnnotation as error:
        raise NameError(str(error.name)) from None
    except (PydanticUserError, PydanticSchemaGenerationError, TypeError, AttributeError) as error:
        notices.say(
            "unchecked", f"{what} is not checked: its annotation cannot be validated ({type(error).__name__})", guard=guard
        )
        return None
    schema = adapter.core_schema
    if _asks_for_typing_io(schema):
        notices.say("unchecked", f"{what} is not checked: no file is an instance of typing.IO", guard=guard)
        return None
    validate = adapter.validator.validate_python
    dtype = _dtype(annotation)
    if dtype is not None:
        validate = _with_dtype(validate, dtype)
    fields: set[str] = set()
    _field_names(schema, fields)
    exact = None if dtype is not None else _exact(schema)
    # What a model or a dataclass is made from is never one itself, so that there is nothing to keep.
    kept = validate if schema["type"] in ("model", "dataclass") else keeping(validate)
    return Check(exact, kept, _as_it_is(validate), frozenset(fields))


def _asks_for_typing_io(schema: Any) -> bool:
    if isinstance(schema, dict):
        return (schema.get("type") == "is-instance" and schema["cls"] in _IO) or any(
            _asks_for_typing_io(part) for key, part in schema.items() if key not in ("metadata", "default")
        )
    return isinstance(schema, list | tuple) and any(map(_asks_for_typing_io, schema))


def _exact(schema: Any) -> type | None:
    """Return the class whose direct instances need no validation: pydantic would return the very object."""
    kind = schema["type"]
    if kind in ("int", "str", "bool", "bytes", "float") and set(schema) <= {"type", "metadata"}:
        return {"int": int, "str": str, "bool": bool, "bytes": bytes, "float": float}[kind]  # float: if finite
    if kind == "model":
        config = schema.get("config", {})
        plain = config.get("revalidate_instances", "never") == "never" and not schema.get("root_model")
        return schema["cls"] if plain and schema.get("revalidate_instances", "never") == "never" else None
    if kind in ("dataclass", "enum") and schema.get("config", {}).get("revalidate_instances", "never") == "never":
        return schema["cls"]  # type: ignore[no-any-return]
    if kind == "is-instance":
        return schema["cls"] if isinstance(schema["cls"], type) else None
    return None


def _as_it_is(validate: Callable[..., Any]) -> Callable[[Any], Any]:
    """Return a check of the object itself: strict, or lax if the validated value is equal (a numpy number, say)."""
    from pydantic import ValidationError  # noqa: PLC0415

    def fits(value: Any) -> Any:
        try:
            return validate(value, strict=True)
        except ValidationError as error:
            strict = error
        same = validate(value)
        with contextlib.suppress(Exception):  # an array's == gives no single truth: then it is not the same object
            if bool(same == (list(value) if isinstance(value, range) else value)) and not isinstance(value, str):
                return value
        raise strict

    return fits


def _dtype(annotation: Any) -> Any:
    """Return the numpy dtype that `NDArray[...]` asks for, or None."""
    if get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    numpy = sys.modules.get("numpy")
    if numpy is None or get_origin(annotation) is not numpy.ndarray:
        return None
    asked = get_args(get_args(annotation)[1]) if len(get_args(annotation)) > 1 else ()
    return asked[0] if asked and isinstance(asked[0], type) and issubclass(asked[0], numpy.generic) else None


def _with_dtype(validate: Callable[..., Any], dtype: Any) -> Callable[..., Any]:
    from pydantic_core import PydanticCustomError, ValidationError  # noqa: PLC0415

    numpy = sys.modules["numpy"]

    def validate_array(value: Any, **how: Any) -> Any:
        value = validate(value, **how)
        if not numpy.issubdtype(value.dtype, dtype):
            problem = PydanticCustomError("ndarray_dtype", "Array should have dtype {dtype}", {"dtype": dtype.__name__})
            raise ValidationError.from_exception_data("ndarray", [{"type": problem, "loc": (), "input": None}])
        return value

    return validate_array


def _field_names(schema: Any, into: set[str]) -> None:
    if isinstance(schema, dict):
        fields = schema.get("fields")
        if isinstance(fields, dict):
            into.update(name for name in fields if isinstance(name, str))
        elif isinstance(fields, list):
            into.update(field["name"] for field in fields if isinstance(field, dict) and "name" in field)
        for key, part in schema.items():
            if key == "validation_alias" and isinstance(part, str):
                into.add(part)
            if key not in ("metadata", "config", "serialization", "default"):
                _field_names(part, into)
    elif isinstance(schema, list | tuple):
        for part in schema:
            _field_names(part, into)


def explain(problem: Any, check: Check, what: str) -> tuple[str, str | None]:
    """Say which rule a value breaks, where, and what to write instead; never the value, nor a text of the value's.

    Args:
        problem: pydantic's ValidationError.
        check: The check that was not passed.
        what: The parameter's name, or "the answer".

    Returns:
        The text, and a hint or None.
    """
    parts: list[str] = []
    hint = None
    errors = problem.errors(include_url=False, include_input=False, include_context=False)
    for error in errors[:5]:
        where = what
        for step in error["loc"]:
            if isinstance(step, int):
                where += f"[{step}]"
            elif step in check.fields:
                where += f".{step}"
        kind = error["type"]
        rule = f"does not fit ({kind})" if kind in _TELLING or kind not in _known_kinds() else error["msg"]
        if kind == "finite_number":
            hint = "if NaN or infinity is a legal value here, write Annotated[float, AllowNaN]"
        elif kind == "date_from_datetime_inexact":
            hint = "give its .date(), or annotate datetime if the time of day counts"
        text = f"{where}: {rule}"
        if text not in parts:
            parts.append(text)
    if len(errors) > len(parts):
        parts.append(f"and {len(errors) - len(parts)} more")
    return "; ".join(parts), hint


_kinds: frozenset[str] = frozenset({"ndarray_dtype"})


def _known_kinds() -> frozenset[str]:
    global _kinds  # noqa: PLW0603 - filled once, when the first error needs it
    if len(_kinds) == 1:
        from pydantic_core.core_schema import ErrorType  # noqa: PLC0415

        _kinds |= frozenset(get_args(ErrorType))
    return _kinds
