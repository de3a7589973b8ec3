"""The exact content of a call's arguments: for the record, for the cache's key and for the ticket."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, Literal

from guardrail import content, markers, notices
from guardrail.call import Call
from guardrail.errors import ConfigError
from guardrail.principal import acting
from guardrail.shape import Shape

if TYPE_CHECKING:
    from guardrail.content.personal import Personal

_ROOT: Final = "input.value"


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
        inputs: What the record holds of the arguments; "off" where there is no record.
        subject: Finds the id of the person whom the call is about.
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
        inputs: str,
        subject: Callable[[Call], str | None] | None,
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
        self.inputs = inputs
        self.subject = subject
        self.returns = annotations.get("return")
        self.personal_answer = markers.holds(self.returns, markers.PII, markers.Subject)
        self.about_people = any(markers.holds(kind, markers.PII, markers.Subject) for kind in annotations.values())
        kinds = [kind for name, kind in annotations.items() if name != "return"]
        self.personal = any(markers.holds(kind, markers.PII, markers.Subject) for kind in kinds)
        # Subjects inside containers, to which no path of names leads.
        self.scattered = subject is None and any(markers.holds(kind, markers.Subject) for kind in kinds)
        recorded = inputs != "off"
        self.tells = recorded and (inputs in ("plain", "sealed") or subject is not None or self.scattered)
        self.bare = not (skip or bound or key or self.per)
        if encode and not (skip or business_id or self.tells):
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
        if self.tells:
            call.extra = {**(call.extra or {}), **self.facts(call)}

    def warm(self) -> None:
        """Import what seals, and open its store, before the first call."""
        if self.inputs == "sealed" or self.about_people:
            from guardrail.ledger import sealing  # noqa: PLC0415 - for those who have something personal

            sealing.warm()

    def facts(self, call: Call) -> dict[str, Any]:
        """Return what the record is to say of the arguments: themselves, what is personal in them, and whose it is.

        Raises:
            content.Unencodable: One of them cannot be shown, and is to be recorded as it is.
            ConfigError: As above, and it is to be sealed.
        """
        if self.inputs == "plain" and not self.personal:
            return {"plain": content.dumps(self.arguments(call))}
        subject = None if self.subject is None else self.subject(call)
        if self.inputs not in ("plain", "sealed") and not self.scattered:
            return {} if subject is None else {"subject": (subject,)}
        try:
            found = self.apart(call, subject, whole=self.inputs == "sealed")
        except content.Unencodable as problem:
            if self.inputs == "sealed":
                raise ConfigError(
                    f"the arguments cannot be sealed: {problem}",
                    guard=self.guard,
                    policy="audit",
                    hint='write Audit(inputs="digest")',
                ) from None
            if self.inputs == "plain":
                raise
            notices.say("subjects", f"whom a call is about cannot be told: {problem}", guard=self.guard)
            return {}
        from guardrail.content.personal import Part, text_of  # noqa: PLC0415 - as above

        if self.inputs == "plain":
            return {"plain": text_of(found.shown), "personal": found.parts, "subject": found.subjects}
        if self.inputs != "sealed":
            return {"subject": found.subjects}
        everything = Part(_ROOT, text_of(found.shown), subject)
        return {"personal": (everything, *found.parts), "subject": found.subjects}

    def apart(self, call: Call, subject: str | None = None, *, whole: bool = False) -> Personal:
        """Return the arguments with what is personal taken out.

        Args:
            call: The bound call.
            subject: Whom it is about; found in the arguments where not given.
            whole: All of it is to be sealed for the subject anyway.

        Raises:
            content.Unencodable: One of them cannot be shown.
        """
        from guardrail.content import personal  # noqa: PLC0415 - as above

        if subject is None and self.subject is not None:
            subject = self.subject(call)
        found = personal.apart(self.named(call), self.annotations, root=_ROOT, subject=subject, whole=whole)
        return found._replace(shown=self._arranged(found.shown))

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

    def subjects(self, call: Call) -> tuple[str, ...]:
        """Return whom a bound call is about, by their own ids; nobody where that cannot be told (said once)."""
        if self.subject is not None:
            found = self.subject(call)
            return () if found is None else (found,)
        if not self.scattered:
            return ()
        try:
            return self.apart(call).subjects
        except content.Unencodable as problem:
            notices.say("subjects", f"whom a call is about cannot be told: {problem}", guard=self.guard)
            return ()

    def arguments(self, call: Call) -> dict[str, Any]:
        """Return the arguments by name as JSON can hold them, secrets left out.

        Raises:
            content.Unencodable: One of them cannot be shown.
        """
        shown = {}
        for name, value in self.named(call).items():
            annotation = self.annotations.get(name)
            if not content.is_secret(annotation):
                shown[name] = content.jsonable(value, annotation)
        return self._arranged(shown)

    def named(self, call: Call) -> dict[str, Any]:
        """Return the arguments by name, without `self` and `cls`."""
        if self.shape is None:
            values: dict[str, Any] = {**{f"argument {at + 1}": value for at, value in enumerate(call.args)}, **call.kwargs}
        else:
            values = self.shape.named(call.args, call.kwargs)
        if self.skip:
            del values[next(iter(values))]
        return values

    def _arranged(self, shown: dict[str, Any]) -> dict[str, Any]:
        """Return shown arguments as people see them."""
        return shown

    def _say(self, problem: content.Unkeyable) -> None:
        notices.say(
            "unkeyable",
            f"{problem.path} is of type {problem.kind}, which has no exact content: such calls are not cached and their "
            "records hold no digest (give the object a method __guard_key__, or pass Cache(key=...))",
            guard=self.guard,
        )
