"""How pydantic's models, secrets and addresses are written, and the library's own Prediction: never through JSON.

JSON would lose what is excluded or hidden, what a serializer changes, and NaN.
"""

from __future__ import annotations

import sys
from marshal import dumps
from typing import Any

from guardrail.content.codec import SCALARS, Codec, Write, joined, refuse, scalar, tagged
from guardrail.content.objects import own_attributes, values_of

_MOST_SETS = 256  # remembered sets of given fields, per model


def writer(codec: Codec, cls: type) -> Write | None:
    """Return how values of a class are written, None where it is not of these kinds."""
    decision, pydantic = sys.modules.get("guardrail.decision"), sys.modules.get("pydantic")
    if decision is not None and cls is decision.Prediction:
        return _prediction(codec)
    if pydantic is None:
        return None
    if issubclass(cls, pydantic.BaseModel):
        return _model(codec, cls)
    if issubclass(cls, (pydantic.SecretStr, pydantic.SecretBytes, pydantic.Secret)):
        name, own = scalar(codec.name(cls)), own_attributes(codec, cls, object)
        return own if own is refuse else lambda value, depth: tagged("secret", (name, own(value, depth)))
    core = sys.modules["pydantic_core"]
    if cls in (core.Url, core.MultiHostUrl) or hasattr(cls, "_constraints"):
        return _address(codec, cls)
    return None


def _prediction(codec: Codec) -> Write:
    head = dumps((..., "Prediction", None, None, None), 2)[:-3]

    def written(value: Any, depth: int) -> bytes:
        answer, confidence, reasons = value.value, value.confidence, value.reasons
        if type(answer) in SCALARS and type(confidence) in SCALARS and reasons == ():
            return head + dumps(answer, 2) + dumps(confidence, 2) + b"(\0\0\0\0"
        names = (".value", ".confidence", ".reasons")
        return head + b"".join(codec.parts((answer, confidence, reasons), depth, names.__getitem__))

    return written


def _address(codec: Codec, cls: type) -> Write:
    name = codec.name(cls)
    return lambda value, _depth: dumps((..., "address", name, str(value)), 2)


def _model(codec: Codec, cls: Any) -> Write:
    """Return how to write a model: its declared fields, which of them were given, extras and private attributes."""
    name = codec.name(cls)
    fields = tuple(cls.__pydantic_fields__)
    all_given = frozenset(fields)
    count = len(fields)
    get = values_of(fields)
    plain = dumps((..., "model", name, None), 2)[:-1]  # and the values in the place of None
    partly = dumps((..., "model", name, None, None), 2)[:-2]  # and the names of the fields given
    given_names: dict[frozenset[str], bytes] = {}

    def written(value: Any, depth: int) -> bytes:
        state = value.__dict__
        try:
            values = get(state)
        except KeyError:
            return whole(value, depth)
        if len(state) != count:
            return whole(value, depth)
        given = value.__pydantic_fields_set__
        for content in values:
            if type(content) not in SCALARS:
                body = joined(codec.parts(values, depth, lambda at: f".{fields[at]}"))
                break
        else:
            body = dumps(values, 2)
        return plain + body if given == all_given else partly + body + names_of(given)

    def names_of(given: set[str]) -> bytes:
        key = frozenset(given)
        found = given_names.get(key)
        if found is None:
            found = joined([scalar(str.__str__(field)) for field in sorted(given)])
            if len(given_names) < _MOST_SETS:
                given_names[key] = found
        return found

    def whole(value: Any, depth: int) -> bytes:
        private = value.__pydantic_private__ or {}
        parts = [scalar(name), names_of(value.__pydantic_fields_set__)]
        for state in (value.__dict__, value.__pydantic_extra__ or {}, private):
            # Declared fields first: a model built by hand may hold them in another order.
            ordered = {field: state[field] for field in fields if field in state} | state
            steps = [f".{field}" for field in ordered]
            contents = codec.parts(ordered.values(), depth, steps.__getitem__)
            parts.append(joined([scalar(str.__str__(key)) + part for key, part in zip(ordered, contents, strict=True)]))
        return tagged("whole model", parts)

    # Only a model that allows extras or has private attributes can hold anything beside its fields and `__dict__`.
    return whole if cls.model_config.get("extra") == "allow" or cls.__private_attributes__ else written
