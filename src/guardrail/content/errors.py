"""What content cannot do, as exceptions private to the library: they say where and of what type, never what the value is."""

from __future__ import annotations


class _Unable(Exception):
    """Names a place inside a value, and the type found there.

    Args:
        path: Where: `args[0].items[3]`, or a parameter's name and what follows it.
        kind: The type found there, by name.
        why: What is wrong with it, to be read after "<path> is of type <type>, ".
    """

    def __init__(self, path: str, kind: str, why: str) -> None:
        super().__init__(path, kind, why)
        self.path = path
        self.kind = kind
        self.why = why

    def __str__(self) -> str:
        return f"{self.path or 'the value'} is of type {self.kind}, {self.why}"

    def under(self, step: str) -> None:
        """Put one more step in front of the path, on the way out of a container."""
        self.path = step + self.path if len(self.path) < _LONGEST else f"{step}…"


_LONGEST = 200  # characters of a path; an endless one comes from a value that contains itself


class Unkeyable(_Unable):
    """There is no exact encoding, or no safe copy, of a value: it is neither cached nor compared."""

    def __init__(
        self, path: str, kind: str, why: str = "which has no exact key; give the class a method __guard_key__()"
    ) -> None:
        super().__init__(path, kind, why)


class Unencodable(_Unable):
    """A value cannot be shown as JSON to people."""

    def __init__(self, path: str, kind: str, why: str = "which cannot be written as JSON") -> None:
        super().__init__(path, kind, why)
