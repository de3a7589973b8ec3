"""The tree over a lane's records, as RFC 9162 section 2.1 defines it: leaves, roots, and proofs that need no other record."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Final

SIZE: Final = 32  # bytes of a hash
EMPTY: Final = hashlib.sha256(b"").digest()  # root of a tree without a leaf

_sha256 = hashlib.sha256
_node_begun: Final = _sha256(b"\1")  # a copy is a tenth cheaper than a new hash


def leaf(line: bytes) -> bytes:
    """Return the hash of a record: SHA-256(0x00 || line), of the line as stored, without its newline."""
    return _sha256(b"\0" + line).digest()


def node(left: bytes, right: bytes) -> bytes:
    """Return the hash of two subtrees side by side: SHA-256(0x01 || left || right)."""
    return _sha256(b"\1" + left + right).digest()


class Range:
    """A tree that only grows, in the few hashes it takes to go on: one for each bit that is set in its size.

    Attributes:
        size: Leaves so far.
    """

    __slots__ = ("_levels", "size")

    def __init__(self) -> None:
        self.size = 0
        self._levels: list[bytes | None] = []  # at n: a full subtree of 2^n leaves that has no partner yet

    def add(self, leaf_hash: bytes) -> None:
        """Add a leaf."""
        self.extend((leaf_hash,))

    def extend(self, leaves: Iterable[bytes]) -> None:
        """Add leaves, one level of the tree after the other: a third cheaper than one leaf after the other."""
        nodes = list(leaves)
        self.size += len(nodes)
        levels, at, begun = self._levels, 0, _node_begun.copy
        while nodes:
            if at == len(levels):
                levels.append(None)
            alone = levels[at]
            if alone is not None:
                nodes.insert(0, alone)
            levels[at] = nodes.pop() if len(nodes) % 2 else None
            each = iter(nodes)
            nodes = []
            for left, right in zip(each, each, strict=True):
                hashed = begun()
                hashed.update(left + right)
                nodes.append(hashed.digest())
            at += 1

    def root(self) -> bytes:
        """Return the root of the tree as it is now."""
        found: bytes | None = None
        for each in self._levels:
            if each is not None:
                found = each if found is None else node(each, found)
        return EMPTY if found is None else found

    def copy(self) -> Range:
        """Return a tree of the same leaves that grows by itself."""
        twin = Range()
        twin.size = self.size
        twin._levels = self._levels.copy()
        return twin


def root(leaves: Iterable[bytes]) -> bytes:
    """Return the root of a tree of these leaves."""
    tree = Range()
    tree.extend(leaves)
    return tree.root()


def inclusion(leaves: Sequence[bytes], index: int, size: int | None = None) -> list[bytes]:
    """Return the proof that a leaf belongs to a tree (RFC 9162, 2.1.3.1), from the leaf's sibling up to the root's child.

    Args:
        leaves: At least as many as the tree has.
        index: Of the leaf, from 0.
        size: Of the tree; None: all leaves.

    Raises:
        ValueError: There is no such leaf in a tree of this size.
    """
    size = len(leaves) if size is None else size
    if not 0 <= index < size <= len(leaves):
        raise ValueError("there is no such leaf in a tree of this size")
    path: list[bytes] = []
    begin, end = 0, size
    while end - begin > 1:
        middle = begin + _split(end - begin)
        if index < middle:
            path.append(root(leaves[middle:end]))
            end = middle
        else:
            path.append(root(leaves[begin:middle]))
            begin = middle
    return path[::-1]


def consistency(leaves: Sequence[bytes], old: int, new: int | None = None) -> list[bytes]:
    """Return the proof that a tree is the beginning of a larger one (RFC 9162, 2.1.4.1).

    Args:
        leaves: At least as many as the larger tree has.
        old: Size of the smaller tree, 1 or more.
        new: Size of the larger tree; None: all leaves.

    Raises:
        ValueError: The sizes do not fit each other or the leaves.
    """
    new = len(leaves) if new is None else new
    if not 0 < old <= new <= len(leaves):
        raise ValueError("a proof needs 0 < old <= new <= leaves")
    path: list[bytes] = []
    begin, end, whole = 0, new, True
    while old != end:
        middle = begin + _split(end - begin)
        if old <= middle:
            path.append(root(leaves[middle:end]))
            end = middle
        else:
            path.append(root(leaves[begin:middle]))
            begin, whole = middle, False
    if not whole:
        path.append(root(leaves[begin:end]))
    return path[::-1]


def verify_inclusion(leaf_hash: bytes, index: int, size: int, proof: Sequence[bytes], expected: bytes) -> bool:
    """Tell whether a proof shows that a leaf stands at an index of the tree with a size and a root (RFC 9162, 2.1.3.2)."""
    if not 0 <= index < size:
        return False
    at, last, found = index, size - 1, leaf_hash
    for each in proof:
        if not last:
            return False
        if at % 2 or at == last:
            found = node(each, found)
            while at and not at % 2:
                at, last = at >> 1, last >> 1
        else:
            found = node(found, each)
        at, last = at >> 1, last >> 1
    return not last and found == expected


def verify_consistency(old: int, new: int, old_root: bytes, new_root: bytes, proof: Sequence[bytes]) -> bool:
    """Tell whether a proof shows that the tree of one size and root is the beginning of another's (RFC 9162, 2.1.4.2)."""
    if old == new:
        return not proof and old_root == new_root
    if not 0 < old < new or not proof:
        return False
    path = list(proof)
    if old & (old - 1) == 0:
        path.insert(0, old_root)
    at, last = old - 1, new - 1
    while at % 2:
        at, last = at >> 1, last >> 1
    before = after = path[0]
    for each in path[1:]:
        if not last:
            return False
        if at % 2 or at == last:
            before, after = node(each, before), node(each, after)
            while at and not at % 2:
                at, last = at >> 1, last >> 1
        else:
            after = node(after, each)
        at, last = at >> 1, last >> 1
    return not last and before == old_root and after == new_root


def _split(size: int) -> int:
    """Return the largest power of two below a size of 2 or more."""
    return 1 << (size - 1).bit_length() - 1
