"""Values as JSON with what is personal taken out: each marked part by itself, with where it stood and whose it is.

Whatever is marked `PII` or `Subject` is a part. It belongs to the subject of the nearest object around it that has one, else to
the subject of the call. In the place of a part stands `{"$sealed": "<where it stood>"}`, which nothing of the user's can look like.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple, cast

import orjson

from guardrail import markers
from guardrail.content.errors import Unencodable
from guardrail.content.readable import OMITTED, Shown, is_secret, row_fields

SEALED: Final = "$sealed"
_EASY: Final = frozenset({bool, bytes, float, int, str, type(None)})


class Part(NamedTuple):
    """Something personal, not sealed yet.

    Attributes:
        field: Where it stood: "input.value.applicant.name".
        content: Its JSON.
        subject: Whose it is, by their own id; None where nobody is marked.
    """

    field: str
    content: bytes
    subject: str | None


class Personal(NamedTuple):
    """Values with what is personal taken out.

    Attributes:
        shown: The rest, by name, able to be JSON.
        parts: What was taken out.
        subjects: The subjects that were met, the call's own first.
    """

    shown: dict[str, Any]
    parts: tuple[Part, ...]
    subjects: tuple[str, ...]


def apart(
    values: Mapping[str, Any], annotations: Mapping[str, Any], *, root: str, subject: str | None, whole: bool = False
) -> Personal:
    """Return values as JSON with what is personal taken out, secrets left out.

    Args:
        values: By name.
        annotations: Their declared types, for the markers inside.
        root: What the names of the parts begin with.
        subject: Whose the values are where nothing says otherwise.
        whole: All of it is to be sealed for that subject anyway: then only what is another subject's is taken out.

    Raises:
        Unencodable: Something cannot be shown; names the part.
    """
    run = _Apart(root, subject, whole=whole)
    shown = {}
    for name, value in values.items():
        found = run.named(name, value, annotations.get(name))
        if found is not OMITTED:
            shown[name] = found
    return Personal(shown, tuple(run.parts), tuple(run.subjects))


def apart_value(
    value: Any, annotation: Any, *, root: str, subject: str | None = None, whole: bool = False
) -> tuple[Any, tuple[Part, ...]]:
    """Do the same for one value: return its JSON, None for a secret, and the parts.

    Raises:
        Unencodable: A part of it cannot be shown.
    """
    run = _Apart(root, subject, whole=whole)
    found = run.named("", value, annotation)
    return None if found is OMITTED else found, tuple(run.parts)


class _Apart(Shown):
    """One run over values."""

    def __init__(self, root: str, subject: str | None, *, whole: bool) -> None:
        super().__init__(None)
        self.path = [root]
        self.subject = subject
        self.hidden = whole  # inside something that is sealed as a whole
        self.parts: list[Part] = []
        self.subjects = [] if subject is None else [subject]

    def named(self, name: str, value: Any, annotation: Any) -> Any:
        """Return the JSON of one value; OMITTED for a secret."""
        try:
            return self.show(value, annotation, 0, f".{name}" if name else "")
        except Unencodable as error:
            error.path = error.path.removeprefix(".") or "the value"
            raise
        except Exception as error:  # noqa: BLE001 - a class of the user's may raise anything
            # Not chained: the text of a foreign exception may show the value.
            raise Unencodable(
                name or "the value", type(value).__name__, f"and reading it raised {type(error).__name__}"
            ) from None

    def show(self, value: Any, annotation: Any, depth: int, step: str = "") -> Any:
        """Return the JSON of a value that stands at a step of the path, or what stands in its place."""
        if annotation is not None and is_secret(annotation):
            return OMITTED
        before = self.subject, self.hidden
        self.path.append(step)
        try:
            own = _subject_of(value, annotation)
            personal = self._enter(own, annotation)
            shown = super().show(value, annotation, depth, step)
            return self._part(shown) if personal and shown is not OMITTED else shown
        finally:
            self.path.pop()
            self.subject, self.hidden = before

    def _enter(self, own: str | None, annotation: Any) -> bool:
        """Note whose it is; return whether the value becomes a part."""
        others = own is not None and own != self.subject
        if own is not None:
            self.subject = own
            if own not in self.subjects:
                self.subjects.append(own)
        personal = others if self.hidden else _is_personal(annotation)
        self.hidden = self.hidden or personal
        return personal

    def _part(self, shown: Any) -> dict[str, str]:
        field = "".join(self.path)
        self.parts.append(Part(field, orjson.dumps(shown), self.subject))
        return {SEALED: field}

    # ── tables ────────────────────────────────────────────────────────────────────────────────────────────────────────
    def _library(self, value: Any, annotation: Any, depth: int) -> Any:
        before = getattr(self, "owners", None)
        name = markers.field_with(row_fields(annotation), markers.Subject)
        self.owners = None if name is None else [None if each is None else str(each) for each in _cells(value, name)]
        try:
            return super()._library(value, annotation, depth)
        finally:
            self.owners = before

    def _column(self, name: str, kind: Any) -> Callable[[Any], Any]:
        """Return what takes a personal column out cell by cell, each for the subject of its row."""
        owners = self.owners
        if not _is_personal(kind) or (self.hidden and owners is None):
            return super()._column(name, kind)
        at = -1

        def cell(item: Any) -> Any:
            nonlocal at
            at += 1
            before = self.subject
            self.path.append(f".{name}[{at}]")
            try:
                if owners is not None and owners[at] is not None:
                    self.subject = owners[at]
                    if self.subject not in self.subjects:
                        self.subjects.append(str(self.subject))
                return self._part(item)
            finally:
                self.path.pop()
                self.subject = before

        return cell


def _is_personal(annotation: Any) -> bool:
    return annotation is not None and (markers.marked(annotation, markers.PII) or markers.marked(annotation, markers.Subject))


def _subject_of(value: Any, annotation: Any) -> str | None:
    """Return whose an object is, by the first of its fields that is marked `Subject`; None where none is."""
    if annotation is not None and markers.marked(annotation, markers.Subject):
        return None if value is None else str(value)
    cls = type(value)
    if cls in _EASY:
        return None
    found = None
    name = _subject_field(cast("Any", cls))
    if name is not None:
        found = getattr(value, name, None)
    elif annotation is not None and isinstance(value, Mapping):
        for choice in markers.choices_of(markers.peeled(annotation)[0]):
            name = _subject_field(markers.peeled(choice)[0])
            if name is not None:
                found = value.get(name)
                break
    return None if found is None else str(found)


@functools.lru_cache(maxsize=1024)
def _subject_field(cls: Any) -> str | None:
    return markers.field_with(markers.fields_of(cls), markers.Subject)


def _cells(table: Any, column: str) -> Sequence[Any]:
    """Return a column of a pandas, polars or Arrow table; nothing where it has none."""
    try:
        cells = table[column]
    except (KeyError, TypeError, IndexError, LookupError):
        return ()
    for way in ("to_pylist", "to_list", "tolist"):
        if hasattr(cells, way):
            return getattr(cells, way)()  # type: ignore[no-any-return]
    return list(cells)


def text_of(shown: Any) -> bytes:
    """Return what `apart` gives as UTF-8 JSON."""
    return orjson.dumps(shown)


def filled(shown: Any, found: Callable[[Any], Any]) -> Any:
    """Return JSON with something in every place that a part was taken out of.

    Args:
        shown: As `apart` gives it.
        found: Returns what stands in a place, by the part's field, or by whatever else stands for it there.
    """
    if isinstance(shown, dict):
        if len(shown) == 1 and SEALED in shown:
            return found(shown[SEALED])
        return {name: filled(each, found) for name, each in shown.items()}
    return [filled(each, found) for each in shown] if isinstance(shown, list) else shown
