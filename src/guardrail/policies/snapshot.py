"""The exact content of a call's arguments: for the record, for the cache's key and for the ticket."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from guardrail import content, notices
from guardrail.call import Call, acting
from guardrail.shape import Shape


class Snapshot:
    """Encodes the validated arguments before the function can change them.

    Args:
        guard: The guard's name, for what must be said.
        shape: The function's parameters, None where Python does not know them.
        skip: 1 where the first argument is `self` or `cls`: it is part of the key, not of the record.
        bound: The bound object and a partial's arguments, part of every key; None where there are none.
        annotations: Each parameter's annotation, for its markers.
        encode: Whether the record or anything else needs the encoding at every call.
        key: The user's own key function.
        per: Whose answers a key belongs to.
        business_id: Finds the user's own key in the arguments.
        plain: Whether the record holds the arguments themselves.
    """

    def __init__(
        self,
        guard: str,
        shape: Shape | None,
        *,
        skip: int,
        bound: tuple[Any, ...] | None,
        annotations: dict[str, Any],
        encode: bool,
        key: Callable[..., object] | None,
        per: Literal["all", "principal", "tenant"] | None,
        business_id: Callable[[Call], str | None] | None,
        plain: bool,
    ) -> None:
        self.guard = guard
        self.shape = shape
        self.skip = skip
        self.bound = bound
        self.annotations = annotations
        self.encode = encode
        self.key = key
        self.per = per if per != "all" else None
        self.business_id = business_id
        self.plain = plain
        self.bare = not (skip or bound or key or self.per)
        if encode and not (skip or plain or business_id):
            self.enter = self._enter_plain  # type: ignore[method-assign]  # flat, for its cost

    def _enter_plain(self, call: Call) -> None:
        try:
            call.snapshot = content.encode_call(call.args, call.kwargs)
        except content.Unkeyable as problem:
            self._say(problem)

    def enter(self, call: Call) -> None:
        """Take the snapshot; what cannot be encoded exactly has none, and that is said once."""
        if self.encode:
            try:
                call.snapshot = content.encode_call(call.args[self.skip :] if self.skip else call.args, call.kwargs)
            except content.Unkeyable as problem:
                self._say(problem)
        if self.business_id is not None:
            call.business_id = self.business_id(call)
        if self.plain:
            if call.extra is None:
                call.extra = {}
            call.extra["plain"] = content.dumps(self.arguments(call))

    def key_of(self, call: Call) -> Any:
        """Return the key, None where the question cannot be keyed exactly (said once)."""
        if call.key is None:
            if self.bare:
                call.key = call.snapshot or False
            else:
                try:
                    call.key = self._key(call)
                except content.Unkeyable as problem:
                    self._say(problem)
                    call.key = False
        return call.key or None

    def _key(self, call: Call) -> Any:
        if self.key is not None:
            return self._who(), content.encode(self.key(*call.args, **call.kwargs))
        if call.snapshot is None:
            return False
        owner = content.encode(call.args[0]) if self.skip else None
        return self._who(), owner, None if self.bound is None else content.encode(self.bound), call.snapshot

    def shared_key_of(self, call: Call) -> bytes | None:
        """Return the key as every process makes it, None where there is no such key (said once). `call.key` is made too."""
        if self.key is None and self.key_of(call) is None:
            return None
        try:
            if self.key is not None:
                found = self.key(*call.args, **call.kwargs)  # once: it is the user's, and may be dear
                call.key = (self._who(), content.encode(found))
                question: tuple[Any, ...] = (content.encode(found, shared=True),)
            else:
                question = (
                    content.encode(call.args[0], shared=True) if self.skip else None,
                    None if self.bound is None else content.encode(self.bound, shared=True),
                    content.encode_call(call.args[self.skip :], call.kwargs, shared=True),
                )
        except content.Unkeyable as problem:
            if self.key_of(call) is not None:
                notices.say(
                    "unshared",
                    f"{problem}: such calls are cached in this process only",
                    guard=self.guard,
                )
            return None
        return content.encode((self._who(), *question))

    def _who(self) -> str | None:
        if self.per is None:
            return None
        acts = acting.get()
        return None if acts is None else (acts[0].id if self.per == "principal" else acts[0].tenant)

    def arguments(self, call: Call) -> dict[str, Any]:
        """Return the arguments by name as JSON can hold them, secrets left out.

        Raises:
            content.Unencodable: One of them cannot be shown.
        """
        if self.shape is None:
            values: dict[str, Any] = {**{f"argument {at + 1}": value for at, value in enumerate(call.args)}, **call.kwargs}
        else:
            values = self.shape.named(call.args, call.kwargs)
        if self.skip:
            del values[next(iter(values))]
        shown = {}
        for name, value in values.items():
            annotation = self.annotations.get(name)
            if not content.is_secret(annotation):
                shown[name] = content.jsonable(value, annotation)
        return shown

    def _say(self, problem: content.Unkeyable) -> None:
        notices.say(
            "unkeyable",
            f"{problem.path} is of type {problem.kind}, which has no exact content: such calls are not cached and their "
            "records hold no digest (give the object a method __guard_key__, or pass Cache(key=...))",
            guard=self.guard,
        )
