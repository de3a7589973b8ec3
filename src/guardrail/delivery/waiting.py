"""What was read of the ledger and has not arrived: which of it is sent next, and which of it is poison."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from typing import Final

from guardrail import clock
from guardrail.delivery.keeping import Letter
from guardrail.delivery.sink import Item

POISON_TRIES: Final = 8  # of one item
POISON_PASSES: Final = 2  # items behind it that arrive meanwhile
_MOST: Final = 64  # items that are read beyond a batch to find out

Key = tuple[str, int]


def key(item: Item) -> Key:
    """Return lane and number of an item."""
    return item.lane, item.seq


class Waiting:
    """Items in the order in which they were read.

    Whether the first one is poison is found out only while the sink is known to be there: then others are sent before it, and
    where they arrive and it fails once more, it is given up. A sink that is away gets everything in order when it is back.
    """

    def __init__(self) -> None:
        self._items: list[Item] = []
        self._tries: Counter[Key] = Counter()
        self._since: dict[Key, float] = {}
        self._aside = False  # whether others are sent before the first one
        self._passed = 0  # how many of them arrived

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
        self._aside, self._passed = False, 0

    @property
    def suspicious(self) -> bool:
        """Whether the first item has failed so often that one should ask whether the sink is there."""
        return bool(self._items) and not self._aside and self._tries[key(self._items[0])] >= POISON_TRIES

    @property
    def lonely(self) -> bool:
        """Whether more has to be read to find out: too few items stand behind the first one that have not failed as often."""
        return self._aside and len(self._items) < _MOST and len(self._others()) < POISON_PASSES

    def set_aside(self) -> None:
        """Send others before the first item, since the sink is there."""
        self._aside, self._passed = True, 0

    def _others(self) -> list[Item]:
        return [item for item in self._items if self._tries[key(item)] < POISON_TRIES]

    def next(self, most: int, size: int) -> list[Item]:
        """Return what is sent next, and count a try of each.

        Args:
            most: So many items at most.
            size: So many bytes at most, unless one item has more.
        """
        others = self._others() if self._aside and self._passed < POISON_PASSES else []
        last_chance = self._aside and not others
        batch: list[Item] = []
        total = 0
        for item in self._items[:1] if last_chance else others or self._items:
            total += len(item.line)
            if batch and (len(batch) >= most or total > size):
                break
            batch.append(item)
        now = clock.wall()
        for item in batch:
            self._tries[key(item)] += 1
            self._since.setdefault(key(item), now)
        return batch

    def poison(self, batch: Collection[Item], arrived: set[Key]) -> Item | None:
        """Return the first item where it is given up: others arrived, and it failed once more right after them.

        Args:
            batch: What was sent.
            arrived: What of it arrived.
        """
        first = self._items[0]
        if not self._aside:
            return None
        if first not in batch:
            self._passed += len(arrived)
            if not arrived:
                self._aside = False  # nothing arrives: the sink may be away after all, and the first one comes first
            return None
        given_up = self._passed >= POISON_PASSES and key(first) not in arrived
        self._aside, self._passed = False, 0
        return first if given_up else None

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
