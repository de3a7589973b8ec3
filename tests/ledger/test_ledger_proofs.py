"""Proofs of single records: made from a real ledger, checked without it, and by others' implementation of the tree."""

from __future__ import annotations

import base64
import json

import pytest
from written import Key

import guardrail
from guardrail import guarded, settings
from guardrail.errors import ConfigError
from guardrail.ledger import merkle, proofs, reader, trust


@guarded(name="loans", version="1")
def predict(x: int) -> int:
    return x + 1


@pytest.fixture
def made(home):
    for x in range(30):
        predict(x)
    guardrail.shutdown(5)
    return home


def test_every_record_of_a_ledger_can_be_proven(made):
    """The first, the last, and all between; what is proven is the line as it is stored."""
    keys = trust.own_keys(made)
    assert len(keys) == 1
    seen = list(reader.read(made))
    assert len(seen) > 30
    for record in seen:
        proof = proofs.prove(record["id"], made)
        found = proofs.check(proof, keys)
        assert json.loads(found.line) == record
        assert found.seq == record["seq"]
        assert found.origin.startswith("guardrail/")


def test_a_proof_has_the_form_of_the_standard(made):
    """Its head, the index from 0, the hashes, an empty line, and the checkpoint as it was signed."""
    record = next(each for each in reader.read(made) if each["seq"] == 3)
    lines = proofs.prove(record["id"], made).split("\n")
    assert lines[0] == "c2sp.org/tlog-proof@v1"
    assert lines[1].startswith("extra ")
    assert lines[2] == "index 2"
    empty = lines.index("")
    assert all(len(base64.b64decode(each)) == 32 for each in lines[3:empty])
    assert lines[empty + 1].startswith("guardrail/")
    assert lines[-2].startswith("\u2014 guardrail/")


def test_a_proof_that_was_changed_proves_nothing(made):
    """Whatever line of it; and with another key."""
    record = next(each for each in reader.read(made) if each["seq"] == 5)
    proof = proofs.prove(record["id"], made)
    keys = trust.own_keys(made)
    lines = proof.split("\n")
    for at, line in enumerate(lines):
        for new in (line + "x", "", line[:-5] + "AAAA=" if len(line) > 10 else "?", line.swapcase() or "x"):
            if new != line:
                with pytest.raises(proofs.ProofWrong):
                    proofs.check("\n".join([*lines[:at], new, *lines[at + 1 :]]), keys)
    with pytest.raises(proofs.ProofWrong, match="not signed"):
        proofs.check(proof, [Key(9).public])
    with pytest.raises(ConfigError, match="key"):
        proofs.check(proof, [])
    for garbage in ("", "x", "\n" * 100, proofs.HEAD, proofs.HEAD + "\n\n", "\0" * 2_000_000, proof[:200]):
        with pytest.raises(proofs.ProofWrong):
            proofs.check(garbage, keys)


def test_what_cannot_be_proven_says_why(home):
    """There is no such record; no checkpoint reaches it yet; it was changed."""
    predict(1)
    guardrail.flush(5)
    record = next(each for each in reader.read(home) if each["event"] == "call")
    with pytest.raises(proofs.NotProvable, match="no record has this id"):
        proofs.prove("018f0000-0000-7000-8000-000000000000", home)
    with pytest.raises(proofs.NotProvable, match="no checkpoint reaches"):
        proofs.prove(record["id"], home)
    guardrail.shutdown(5)
    proofs.prove(record["id"], home)
    path = next(home.glob("ledger/*/*.jsonl"))
    path.write_bytes(path.read_bytes().replace(b'"answered"', b'"fallback"'))
    with pytest.raises(proofs.NotProvable, match="not the one that was signed"):
        proofs.prove(record["id"], home)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 8, 9, 33, 64, 65, 100])
def test_paths_are_those_of_the_whole_tree(size, monkeypatch):
    """Read in pieces, and checked against the tree in memory."""
    monkeypatch.setattr(proofs, "_CHUNK", 5)
    leaves = [merkle.leaf(b"%d" % n) for n in range(size)]
    data = b"".join(leaves)
    for index in range(size):
        path = proofs.inclusion(lambda at, many: data[32 * at : 32 * (at + many)], index, size)
        assert path == merkle.inclusion(leaves, index, size)


def test_a_key_beside_the_ledger_is_not_trusted_by_itself(home, monkeypatch):
    """Whoever can rewrite the ledger could have made it."""
    home.mkdir(parents=True)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home))
    settings.reset()
    predict(1)
    guardrail.shutdown(5)
    assert trust.own_keys(home) == set()
