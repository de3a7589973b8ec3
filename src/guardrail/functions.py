"""What can be read from a callable itself: its name, and its code as a short hash."""

from __future__ import annotations

import functools
import hashlib
import types
from collections.abc import Callable
from typing import Any


def inner(fn: Any) -> Any:
    """Return the function behind partials, for what can only be read from it."""
    while isinstance(fn, functools.partial):
        fn = fn.func
    return fn


def default_name(fn: Callable[..., Any]) -> str:
    """Return `module:qualname` of a callable."""
    within = inner(fn)
    if not hasattr(within, "__qualname__"):
        within = type(within)
    return f"{getattr(within, '__module__', None) or 'builtins'}:{within.__qualname__}"


def code_hash(fn: Callable[..., Any]) -> str:
    """Return a short hash of a function's code, so that an edited function is another version."""
    within = inner(fn)
    code = getattr(within, "__code__", None) or getattr(getattr(within, "__func__", None), "__code__", None)
    if code is None:
        code = getattr(getattr(type(within), "__call__", None), "__code__", None)  # noqa: B004 - as above
    seen = default_name(fn) if code is None else _code_text(code)
    return hashlib.blake2b(seen.encode("utf-8", "backslashreplace"), digest_size=5).hexdigest()


def _code_text(code: types.CodeType) -> str:
    return "|".join((code.co_code.hex(), *code.co_names, *map(_constant_text, code.co_consts)))


def _constant_text(constant: Any) -> str:
    if isinstance(constant, types.CodeType):
        return _code_text(constant)
    if isinstance(constant, frozenset):  # `x in {"a", "b"}`: its order differs from process to process
        return f"{{{','.join(sorted(map(repr, constant)))}}}"
    return repr(constant)
