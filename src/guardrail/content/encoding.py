"""Any value, or the arguments of a call, to the canonical bytes that keys, tickets and digests are made of."""

from __future__ import annotations

import hashlib
from marshal import dumps
from typing import Any, Final

from guardrail.content.codec import HASHED, LIMIT, SCALARS, Codec, Writers, joined, listed, placed, tagged

_here: Final = Codec(shared=False).writers
_elsewhere: Final = Codec(shared=True).writers


def encode(value: Any, *, shared: bool = False) -> bytes:
    """Return the canonical bytes of a value: the same exactly where type and content are.

    They hold the content itself, secrets included, or a hash of it beyond 64 kB: keep them as carefully as the value.

    Args:
        value: Scalars, text, dates, containers, enums, dataclasses, pydantic models, numpy, pandas, polars and Arrow values,
            classes and functions that their name leads to, and objects with a method `__guard_key__()`.
        shared: Whether other processes will compare the bytes. Within one process two classes of the same name are told
            apart by a number, which means nothing elsewhere.

    Returns:
        At most 64 kB; the same in every process wherever the name of each class leads to it.

    Raises:
        Unkeyable: A part has no exact encoding, or with `shared` none that holds elsewhere; names the part.
    """
    try:
        encoding = (_elsewhere if shared else _here)[type(value)](value, 0)
    except Exception as error:  # noqa: BLE001 - a class of the user's may raise anything when it is read
        raise placed(error, "value", type(value)) from None
    return encoding if len(encoding) <= LIMIT else _shortened(encoding)


def encode_call(args: tuple[Any, ...], kwargs: dict[str, Any], *, shared: bool = False) -> bytes:
    """Return the canonical bytes of a call's arguments: positional ones in order, others by name, whatever their order.

    The only argument of a call stands for the call, unless it is a tuple: `encode_call((x,), {}) == encode(x)`.

    Raises:
        Unkeyable: As `encode`; the path begins with `args[0]` or with the parameter's name.
    """
    writers = _elsewhere if shared else _here
    if kwargs:
        encoding = _with_names(args, kwargs, writers)
    elif len(args) == 1 and type(args[0]) is not tuple:
        try:
            encoding = writers[type(args[0])](args[0], 0)
        except Exception as error:  # noqa: BLE001 - a class of the user's may raise anything when it is read
            raise placed(error, "args[0]", type(args[0])) from None
    else:
        encoding = _in_order(args, writers)
    return encoding if len(encoding) <= LIMIT else _shortened(encoding)


def _in_order(args: tuple[Any, ...], writers: Writers) -> bytes:
    for value in args:
        if type(value) not in SCALARS:
            return joined(writers.codec.parts(args, 0, "args[{}]".format))
    return dumps(args, 2)


def _with_names(args: tuple[Any, ...], kwargs: dict[str, Any], writers: Writers) -> bytes:
    parameters = sorted(kwargs)
    values = [kwargs[parameter] for parameter in parameters]
    if SCALARS.issuperset(map(type, parameters + values)):
        named = dumps((parameters, values), 2)
    else:
        exact = [str.__str__(parameter) for parameter in parameters]
        parts = writers.codec.parts(values, 0, exact.__getitem__)
        named = joined((dumps(exact, 2), listed(parts)))
    return tagged("call", (_in_order(args, writers), named))


def _shortened(encoding: bytes) -> bytes:
    # No letter of marshal's is "#", so that a short encoding never looks like the hash of a long one.
    return b"#" + size_of(encoding).to_bytes(8, "little") + hashlib.sha256(encoding).digest()


def size_of(encoding: bytes) -> int:
    """Return how many bytes of content an encoding stands for, those included that it holds as a hash."""
    if encoding.startswith(b"#"):
        return int.from_bytes(encoding[1:9], "little")
    size, at = len(encoding), encoding.find(HASHED)
    while at >= 0:
        at += len(HASHED)
        size += int.from_bytes(encoding[at : at + 8], "little")
        at = encoding.find(HASHED, at)
    return size


def digest(encoding: bytes, *, key: bytes = b"") -> bytes:
    """Return 20 bytes of BLAKE2b (RFC 7693) of an encoding, under a secret key of up to 64 bytes where there is one."""
    return hashlib.blake2b(encoding, digest_size=20, key=key).digest()
