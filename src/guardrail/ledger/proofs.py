"""Proofs for single records, as C2SP tlog-proof files: whoever has the file and the public key needs nothing else.

https://c2sp.org/tlog-proof; the record itself stands in the `extra` line, and its hash is made from it.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final, NamedTuple

from guardrail.errors import ConfigError, GuardrailError
from guardrail.ledger import merkle, reader
from guardrail.ledger.sources import source_of
from guardrail.ledger.verify import Note, Source, Tree, note_of, notes_in, sha256, signers
from guardrail.ledger.wanted import wanted

HEAD: Final = "c2sp.org/tlog-proof@v1"
LIMIT: Final = 1_000_000  # bytes of a proof: a record of 64 kB, 60 hashes, a note
_CHUNK: Final = 32_768  # leaves that are read at once
_INDEX: Final = re.compile(r"index (0|[1-9][0-9]{0,17})")


class NotProvable(GuardrailError):
    """A record cannot be proven, or not yet; the text says why."""


class ProofWrong(GuardrailError):
    """A proof does not prove what it holds; the text says why."""


class Checked(NamedTuple):
    """What a proof proves.

    Attributes:
        line: The record, as stored, without its newline.
        origin: The log it stands in: `guardrail/<ledger id>/<lane>`.
        seq: Its number there.
        size: Records under the checkpoint.
        time: When the checkpoint was made, as it says.
        key_id: The key that signed it.
    """

    line: bytes
    origin: str
    seq: int
    size: int
    time: str
    key_id: str


def prove(identity: str, home: Path) -> str:
    """Make the proof of a record.

    Args:
        identity: The record's id.
        home: The folder of the embedded store.

    Raises:
        NotProvable: There is no such record, no checkpoint reaches it yet, or the ledger is not what its checkpoint says.
    """
    found = next(iter(reader.stored(wanted(ids=[identity]), home, limit=1)), None)
    if found is None:
        raise NotProvable("no record has this id", hint="give the whole id; `guardrail tail` shows the latest")
    source = source_of(home)
    raw, note = _checkpoint(source, found.lane, found.seq)
    if source.stored(found.lane) < note.size:
        raise NotProvable("the stored hashes of the lane are incomplete", hint="guardrail audit verify says more")
    path = inclusion(lambda at, many: source.leaves(found.lane, at, many), found.seq - 1, note.size)
    line = found.line.removesuffix(b"\n")
    if not merkle.verify_inclusion(merkle.leaf(line), found.seq - 1, note.size, path, note.root):
        raise NotProvable("the record is not the one that was signed", hint="guardrail audit verify says where it was changed")
    hashes = "".join(f"{base64.b64encode(each).decode()}\n" for each in path)
    extra = base64.b64encode(line).decode()
    return f"{HEAD}\nextra {extra}\nindex {found.seq - 1}\n{hashes}\n{raw.decode()}"


def _checkpoint(source: Source, lane: str, seq: int) -> tuple[bytes, Note]:
    """Return the first checkpoint that reaches a record."""
    for raw, wrong in notes_in(source.notes(lane)):
        if wrong:
            continue
        try:
            note = note_of(raw)
        except ValueError:
            continue
        if note.size >= seq:
            return raw, note
    raise NotProvable("no checkpoint reaches the record yet", hint="there is one every 1,000 records or 10 s, and at exit")


def inclusion(leaves: Callable[[int, int], bytes], index: int, size: int) -> list[bytes]:
    """Return the proof that a leaf belongs to a tree, as `merkle.inclusion` does, with a bounded part of the leaves in memory.

    Args:
        leaves: Gives leaf hashes from a place on, 32 bytes each.
        index: Of the leaf, from 0.
        size: Of the tree.
    """
    path: list[bytes] = []
    begin, end = 0, size
    while end - begin > 1:
        middle = begin + (1 << (end - begin - 1).bit_length() - 1)
        if index < middle:
            path.append(_root(leaves, middle, end))
            end = middle
        else:
            path.append(_root(leaves, begin, middle))
            begin = middle
    return path[::-1]


def _root(leaves: Callable[[int, int], bytes], begin: int, end: int) -> bytes:
    tree = Tree()
    for at in range(begin, end, _CHUNK):
        tree.extend(leaves(at, min(_CHUNK, end - at)))
    return tree.root()


def check(proof: str, keys: Iterable[bytes]) -> Checked:
    """Check a proof; nothing but the proof and the keys is needed.

    Args:
        proof: The content of a tlog-proof file.
        keys: Public keys (32 bytes) that are trusted.

    Raises:
        ProofWrong: It is no proof, or does not prove the record in it.
        ConfigError: There is no key to check it with.
    """
    keys = set(keys)
    if not keys:
        raise ConfigError("a proof is checked with a key", hint="give it with --key: `guardrail audit key` shows it")
    head, gap, raw = proof.partition("\n\n")
    lines = head.split("\n")
    if len(proof) > LIMIT or lines[:1] != [HEAD] or not gap:
        raise ProofWrong("this is no proof", hint=f"its first line has to be {HEAD}")
    try:
        index = int(_INDEX.fullmatch(lines[2])[1])  # type: ignore[index]
        line = base64.b64decode(lines[1].removeprefix("extra "), validate=True)
        path = [_hash(each) for each in lines[3:]]
        note = note_of(raw.encode())
    except (ValueError, IndexError, TypeError):
        raise ProofWrong("this is no proof of a record", hint="its lines are not what they have to be") from None
    if not merkle.verify_inclusion(merkle.leaf(line), index, note.size, path, note.root):
        raise ProofWrong("the record in it is not the one under the checkpoint", hint="one of the two was changed")
    by, _ = signers(note, keys)
    if not by:
        raise ProofWrong("the checkpoint in it is not signed with a key that was given", hint="or its signature is not right")
    return Checked(line, note.origin, index + 1, note.size, note.time, sha256(min(by)).hexdigest()[:16])


def _hash(text: str) -> bytes:
    value = base64.b64decode(text, validate=True)
    if len(value) != merkle.SIZE:
        raise ValueError("no hash")
    return value
