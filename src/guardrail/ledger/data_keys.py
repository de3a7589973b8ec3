"""What a store of data keys is: one key for each data subject, named by a keyed digest, that can be destroyed for good."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from typing import Final, NamedTuple

NOBODY: Final = "ledger"  # whose the key is for what is personal and nobody's in particular


class DataKey(NamedTuple):
    """A key for the data of one subject.

    Attributes:
        kid: Its id, which stands beside everything sealed under it.
        secret: 32 bytes; None once it was destroyed.
        subject: The subject's digest.
        after: Only data of after this moment (seconds since the epoch) may be sealed under it: when the subject was erased.
    """

    kid: str
    secret: bytes | None
    subject: str
    after: float

    def __repr__(self) -> str:
        return f"DataKey({self.kid!r})"


class Grave(NamedTuple):
    """That a subject was erased: by digest, when, how many keys, and whether the ledger has been told."""

    subject: str
    at: float
    keys: int
    told: bool


class Counts(NamedTuple):
    """How many subjects have a key, and how many were erased."""

    living: int
    erased: int
    untold: int


class Keys(ABC):
    """A store of data keys. Any error in using it is a KeysUnavailable."""

    @abstractmethod
    def digest(self, subject: str) -> str:
        """Return the keyed digest that stands for a subject in records."""

    @abstractmethod
    def obtain(self, subjects: Mapping[str, float]) -> dict[str, DataKey | None]:
        """Return the key of each subject, making those that are missing, all durably at once.

        Args:
            subjects: Digests, each with the moment (seconds since the epoch) of the data.

        Returns:
            None for a subject that was erased since.
        """

    @abstractmethod
    def another(self, subject: str) -> DataKey:
        """Make a further key for a subject (by digest), to be used from now on: the present one has sealed enough."""

    @abstractmethod
    def find(self, kids: Collection[str]) -> dict[str, DataKey]:
        """Return keys by their ids, destroyed ones too; unknown ones are missing."""

    @abstractmethod
    def kids(self, subject: str) -> list[str]:
        """Return the ids of all keys that a subject (by digest) has or had."""

    @abstractmethod
    def destroy(self, subject: str, at: float) -> Grave:
        """Destroy all keys of a subject (by digest), now and for good; return what is remembered of it."""

    @abstractmethod
    def told(self, subject: str) -> None:
        """Note that the ledger has the erasure of a subject (by digest)."""

    @abstractmethod
    def grave(self, subject: str) -> Grave | None:
        """Return what is remembered of the erasure of a subject (by digest)."""

    @abstractmethod
    def epoch(self) -> int:
        """Return a number that grows with every erasure; cheap, since it is asked for several times a second."""

    @abstractmethod
    def counts(self) -> Counts:
        """Return how many subjects there are."""

    @abstractmethod
    def close(self) -> None:
        """Let go of what is open; later use opens it again."""
