"""What was read of the ledger and has not arrived: which of it is sent next, and which of it is poison."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final

from guardrail import clock
from guardrail.delivery.keeping import Letter
from guardrail.delivery.sink import Item

POISON_TRIES: Final = 8  # of one item alone
POISON_PASSES: Final = 2  # items behind it that arrive meanwhile

Key = tuple[str, int]


def key(item: Item) -> Key:
    """Return lane and number of an item."""
    return item.lane, item.seq


class Waiting:
    """Items in the order in which they were read.

    An item that has failed several times alone is set aside for a moment: where others arrive before it, it is poison; where they
    do not, the sink is away.
    """

    def __init__(self) -> None:
        self._items: list[Item] = []
        self._tries: Counter[Key] = Counter()
        self._since: dict[Key, float] = {}
        self._passed = 0  # items that arrived while the first one was set aside

    def __len__(self) -> int:
        return len(self._items)

    @property
    def size(self) -> int:
        """Bytes of all lines."""
        return sum(len(item.line) for item in self._items)

    def add(self, items: Iterable[Item]) -> None:
        """Take what was read."""
        self._items += items

    def clear(self) -> None:
        """Forget everything: it is read again."""
        self._items.clear()
        self._tries.clear()
        self._since.clear()
        self._passed = 0

    @property
    def suspects(self) -> bool:
        """Whether the first item may be poison, and too few stand behind it to find out."""
        return bool(self._items) and self._tries[key(self._items[0])] >= POISON_TRIES and len(self) <= POISON_PASSES

    def next(self, most: int, size: int) -> list[Item]:
        """Return what is sent next, and count a try of each.

        Args:
            most: So many items at most.
            size: So many bytes at most, unless one item has more.
        """
        first = self._items[0]
        aside = self._tries[key(first)] >= POISON_TRIES and len(self) > POISON_PASSES
        batch: list[Item] = []
        total = 0
        for item in self._items[1:] if aside else self._items:
            total += len(item.line)
            if batch and (len(batch) >= most or total > size):
                break
            batch.append(item)
        now = clock.wall()
        for item in batch:
            self._tries[key(item)] += 1
            self._since.setdefault(key(item), now)
        return batch

    def poison(self, arrived: set[Key]) -> Item | None:
        """Return the first item where it is given up: it alone fails while those behind it arrive."""
        first = self._items[0]
        if key(first) in arrived or self._tries[key(first)] < POISON_TRIES:
            self._passed = 0
            return None
        self._passed += len(arrived)
        if self._passed < POISON_PASSES:
            return None
        self._passed = 0
        return first

    def drop(self, arrived: set[Key]) -> None:
        """Leave out what has arrived."""
        self._items = [item for item in self._items if key(item) not in arrived]
        for each in arrived:
            self._tries.pop(each, None)
            self._since.pop(each, None)

    def letter(self, item: Item, reason: str) -> Letter:
        """Return the dead letter of an item."""
        now = clock.wall()
        return Letter(item.lane, item.seq, reason, self._tries[key(item)], self._since.get(key(item), now), now)

    def tries(self, item: Item) -> int:
        """Return how often an item was sent."""
        return self._tries[key(item)]

    def before(self, read: Mapping[str, int]) -> dict[str, int]:
        """Return, of each lane, the number up to which everything has arrived.

        Args:
            read: The number up to which each lane was read.
        """
        arrived = dict(read)
        for item in reversed(self._items):
            arrived[item.lane] = min(arrived.get(item.lane, item.seq), item.seq - 1)
        return arrived
