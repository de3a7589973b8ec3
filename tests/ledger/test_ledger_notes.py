"""Signed notes: the example of their specification, checkpoints there and back, and what a crash leaves of a file of them."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from guardrail.ledger import manifest, notes
from guardrail.ledger.notes import Note
from guardrail.ledger.signing import SigningKey

# The example of https://c2sp.org/signed-note, which is that of golang.org/x/mod/sumdb/note.
EXAMPLE = (
    "If you think cryptography is the answer to your problem,\n"
    "then you don't know what your problem is.\n"
    "\n"
    "\u2014 PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
)
VKEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
ONE, TWO = SigningKey(b"1" * 32, Path("one")), SigningKey(b"2" * 32, Path("two"))
NOTE = Note("guardrail/0123456789abcdef/lane", 12, b"r" * 32, "2026-01-02T03:04:05.000006Z")


def test_the_example_of_the_specification_is_verified() -> None:
    """Text, name, key hash and signature are read, the signature holds, and the key is spelled as the example spells it."""
    text, (signature,) = notes.opened(EXAMPLE)
    public = base64.b64decode(VKEY.split("+", 2)[2])[1:]
    assert signature.name == "PeterNeumann"
    assert signature.key_hash.hex() == "c74f20a3"
    assert notes.verify(text, signature, public)
    assert not notes.verify(text.replace("your", "my"), signature, public)
    assert not notes.verify(text, signature, ONE.public)
    assert notes.vkey("PeterNeumann", public) == VKEY


def test_a_checkpoint_is_signed_and_read_back() -> None:
    """Lines as tlog-checkpoint has them, a line of our own, and a signature for each key, under the origin as its name."""
    signed = notes.sign(NOTE, [ONE, TWO])
    assert signed.startswith(
        f"guardrail/0123456789abcdef/lane\n12\n{base64.b64encode(b'r' * 32).decode()}\ntime 2026-01-02T03:04:05.000006Z\n\n"
    )
    found, signatures = notes.parse(signed)
    assert found == NOTE
    assert [each.name for each in signatures] == [NOTE.origin] * 2
    assert notes.verify(found.text(), signatures[0], ONE.public)
    assert notes.verify(found.text(), signatures[1], TWO.public)
    assert not notes.verify(found.text(), signatures[0], TWO.public)


def test_a_checkpoint_without_our_line_is_one_too() -> None:
    """What others add or leave out behind the root changes nothing of what is read."""
    bare = Note(NOTE.origin, 0, b"r" * 32)
    assert notes.parse(notes.sign(bare, [ONE]))[0] == bare


@pytest.mark.parametrize(
    "broken",
    [
        "", "\n\n", EXAMPLE, notes.sign(NOTE, []), notes.sign(NOTE, [ONE])[:-1], notes.sign(NOTE, [ONE]) + "\n",
        notes.sign(NOTE, [ONE]).replace("\n12\n", "\n012\n"), notes.sign(NOTE, [ONE]).replace("\n12\n", "\n-1\n"),
        notes.sign(NOTE, [ONE]).replace("\n12\n", "\n1 2\n"), notes.sign(Note(NOTE.origin, 1, b"short"), [ONE]),
        notes.sign(NOTE, [ONE])[:-6] + "AA==\n", notes.sign(NOTE, [ONE])[:-6] + "!!!!\n",
    ],
)  # fmt: skip
def test_what_is_no_checkpoint_is_an_error(broken: str) -> None:
    """Damage of any kind is a ValueError, never another error and never a checkpoint."""
    with pytest.raises(ValueError):
        notes.parse(broken)


def test_a_torn_checkpoint_at_the_end_of_a_file_is_left_out_and_cut(tmp_path: Path) -> None:
    """Wherever a crash cut the last note, the others are read, and the next one is appended behind them."""
    path = tmp_path / "checkpoints"
    whole = [notes.sign(Note(NOTE.origin, size, b"r" * 32, NOTE.time), [ONE]) for size in (1, 2, 3)]
    before = f"{whole[0]}\n{whole[1]}\n".encode()
    last = f"{whole[2]}\n".encode()
    for cut in range(len(last)):
        content = before + last[:cut]
        assert [note.size for note, _ in notes.parse_all(content)] == [1, 2]
        path.write_bytes(content)
        manifest.add_note(path, whole[2])
        assert path.read_bytes() == before + last
    assert [note.size for note, _ in notes.parse_all(before + last)] == [1, 2, 3]
    assert notes.parse_all(b"") == []


def test_a_file_with_something_else_in_its_middle_is_an_error() -> None:
    """A note that somebody garbled is not passed over."""
    one = f"{notes.sign(NOTE, [ONE])}\n".encode()
    for broken in (one + b"junk\n\n" + one, one.replace(b"12", b"xx") + one, one + one[:60] + one):
        with pytest.raises(ValueError):
            notes.parse_all(broken)
