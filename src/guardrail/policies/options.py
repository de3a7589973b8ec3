"""What option objects have in common: frozen, compared by value, validated when built."""

from __future__ import annotations

import inspect
from typing import Any, NoReturn, Self

from guardrail import clock
from guardrail.errors import ConfigError


class Frozen:
    """A value object: its fields are the slots of its class, set once by `_set` in the constructor."""

    __slots__: tuple[str, ...] = ()

    def _set(self, **fields: Any) -> None:
        for name, value in fields.items():
            object.__setattr__(self, name, value)

    def _values(self) -> tuple[Any, ...]:
        return tuple(getattr(self, name) for name in self.__slots__)

    def but(self, **fields: Any) -> Self:
        """Return the same with some fields changed, checked like any other.

        Args:
            fields: As the constructor takes them.

        Raises:
            ConfigError: They do not go together with the others.
        """
        kept = {name: getattr(self, name) for name in inspect.signature(type(self)).parameters if hasattr(self, name)}
        return type(self)(**{**kept, **fields})

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"{type(self).__name__} is frozen; build a new one to change its {name}")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"{type(self).__name__} is frozen; its {name} cannot be deleted")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Frozen) or other.__class__ is not self.__class__:
            return NotImplemented
        return self._values() == other._values()

    def __hash__(self) -> int:
        return hash((type(self), self._values()))

    def __repr__(self) -> str:
        """Return the object as one would write it, without what goes without saying."""
        words = []
        for name, parameter in inspect.signature(type(self)).parameters.items():
            value = getattr(self, name, parameter.default)
            default = parameter.default
            if value == default or (isinstance(default, str) and isinstance(value, float) and _seconds(default) == value):
                continue
            lasts = isinstance(value, float) and "Duration" in str(parameter.annotation)
            shown = repr(written(value)) if lasts else _shown(value)
            words.append(shown if parameter.kind is not parameter.KEYWORD_ONLY else f"{name}={shown}")
        return f"{type(self).__name__}({', '.join(words)})"

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self._values())


def written(seconds: float) -> str:
    """Return a duration as one would write it: "250ms", "90s", "10m", "4h"; two different ones never read alike."""
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds and seconds % length == 0:
            return f"{seconds / length:.0f}{unit}"
    text = f"{seconds * 1000:.12g}ms" if 0 < seconds < 1 else f"{seconds:.12g}s"
    return text if _seconds(text) == seconds else f"{seconds:.25f}".rstrip("0") + "s"


def _shown(value: object) -> str:
    if isinstance(value, tuple):
        return f"({', '.join(map(_shown, value))}{',' * (len(value) == 1)})"
    return getattr(value, "__name__", repr(value)) if callable(value) else repr(value)


def _seconds(text: str) -> float | None:
    try:
        return clock.seconds(text, zero=True)
    except ConfigError:
        return None


def is_whole(value: object) -> bool:
    """Return whether a value is a whole number of at least 1; True is none."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def is_share(value: object) -> bool:
    """Return whether a value is a share in (0, 1]; True is none."""
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= 1


def _rebuild(kind: type[Frozen], values: tuple[Any, ...]) -> Frozen:
    option = kind.__new__(kind)
    option._set(**dict(zip(kind.__slots__, values, strict=True)))  # noqa: SLF001 - the other half of __reduce__
    return option
