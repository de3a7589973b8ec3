"""The tree: known values of RFC 9162's structure, an independent implementation, and proofs that hold for nothing else."""

from __future__ import annotations

import hashlib

import pytest
from pymerkle import InmemoryTree

from guardrail.ledger import merkle

# The inputs and roots that Certificate Transparency's implementations share (certificate-transparency, merkle_tree_test).
INPUTS = [
    bytes.fromhex(each)
    for each in ("", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f")
]
ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]


def leaves(many: int) -> list[bytes]:
    """Return leaf hashes of so many different records."""
    return [merkle.leaf(b"record %d" % at) for at in range(many)]


def test_roots_are_those_of_certificate_transparency() -> None:
    """Eight known inputs, and the known root after each; the empty tree is the hash of nothing."""
    tree = merkle.Range()
    assert tree.root() == hashlib.sha256(b"").digest()
    for each, expected in zip(INPUTS, ROOTS):
        tree.add(merkle.leaf(each))
        assert tree.root().hex() == expected
    assert tree.size == 8


def test_roots_and_proofs_are_those_of_an_independent_implementation() -> None:
    """For every size up to 40, root, inclusion of each record and consistency with each smaller tree, as pymerkle has them."""
    oracle = InmemoryTree(algorithm="sha256")
    mine = leaves(40)
    tree = merkle.Range()
    for at in range(40):
        oracle.append_entry(b"record %d" % at)
        tree.add(mine[at])
        size = at + 1
        assert tree.root() == oracle.get_root(size)
        for index in range(size):
            path = merkle.inclusion(mine, index, size)
            theirs = oracle.prove_inclusion(index + 1, size)
            assert sorted([mine[index], *path]) == sorted(theirs.path)
            assert merkle.verify_inclusion(mine[index], index, size, path, oracle.get_root(size))
        for old in range(1, size + 1):
            proof = merkle.consistency(mine, old, size)
            assert merkle.verify_consistency(old, size, oracle.get_root(old), oracle.get_root(size), proof)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 8, 9, 33])
def test_a_proof_of_inclusion_holds_for_one_record_at_one_place(size: int) -> None:
    """Another record, another index, another size, another root, one hash less, more or changed: all are refused."""
    mine = leaves(size)
    root = merkle.root(mine)
    for index in range(size):
        proof = merkle.inclusion(mine, index)
        assert merkle.verify_inclusion(mine[index], index, size, proof, root)
        assert not merkle.verify_inclusion(merkle.leaf(b"another"), index, size, proof, root)
        assert not merkle.verify_inclusion(mine[index], index, size, proof, merkle.leaf(b"another"))
        assert not merkle.verify_inclusion(mine[index], index, size, [*proof, root], root)
        assert not any(
            merkle.verify_inclusion(mine[index], other, size, proof, root) for other in range(-1, size + 1) if other != index
        )
        for at in range(len(proof)):
            assert not merkle.verify_inclusion(mine[index], index, size, proof[:at] + proof[at + 1 :], root)
            assert not merkle.verify_inclusion(mine[index], index, size, [*proof[:at], root, *proof[at + 1 :]], root)


@pytest.mark.parametrize("size", [2, 3, 7, 8, 9, 20])
def test_a_proof_of_consistency_holds_for_two_trees_only(size: int) -> None:
    """Another beginning or another end, a hash less, more or changed: all are refused."""
    mine = leaves(size)
    roots = [merkle.root(mine[:at]) for at in range(size + 1)]
    for old in range(1, size):
        proof = merkle.consistency(mine, old)
        assert merkle.verify_consistency(old, size, roots[old], roots[size], proof)
        assert not merkle.verify_consistency(old, size, roots[size], roots[size], proof)
        assert not merkle.verify_consistency(old, size, roots[old], roots[old], proof)
        assert not merkle.verify_consistency(old, size, roots[old], roots[size], [])
        assert not merkle.verify_consistency(old, size, roots[old], roots[size], [*proof, roots[old]])
        for at in range(len(proof)):
            assert not merkle.verify_consistency(
                old, size, roots[old], roots[size], [*proof[:at], roots[old][::-1], *proof[at + 1 :]]
            )
    assert merkle.verify_consistency(size, size, roots[size], roots[size], [])
    assert not merkle.verify_consistency(0, size, roots[0], roots[size], [])


def test_many_leaves_at_once_are_the_same_tree() -> None:
    """However leaves are grouped, size and root are the same; a copy grows by itself."""
    mine = leaves(1_000)
    one = merkle.Range()
    sizes = [0, 1, 2, 5, 64, 100, 3, 1, 300, 524]
    at = 0
    for size in sizes:
        one.extend(mine[at : at + size])
        at += size
        assert (one.size, one.root()) == (at, merkle.root(mine[:at]))
    twin = one.copy()
    twin.add(merkle.leaf(b"more"))
    assert one.root() == merkle.root(mine)
    assert twin.root() == merkle.root([*mine, merkle.leaf(b"more")])


def test_proofs_of_what_is_not_there_are_errors() -> None:
    """An index outside the tree, a tree larger than its leaves, and an empty beginning."""
    mine = leaves(4)
    for index, size in ((4, 4), (-1, 4), (0, 5), (2, 2)):
        with pytest.raises(ValueError):
            merkle.inclusion(mine, index, size)
    for old, new in ((0, 4), (5, 5), (3, 2)):
        with pytest.raises(ValueError):
            merkle.consistency(mine, old, new)
