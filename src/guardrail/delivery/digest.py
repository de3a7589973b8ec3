"""Many records as a text for people: when, of which guard, what, and the id. Nothing of an input, an output or a person's words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from guardrail.delivery.plain import guard, kind, parsed, word, worst
from guardrail.delivery.sink import Item


def title(batch: Sequence[Item]) -> str:
    """Return one line: how many of what, the most frequent first."""
    counted = Counter(kind(parsed(item)) for item in batch)
    return "guardrail: " + ", ".join(f"{many} {what}" for what, many in counted.most_common(5))


def text(batch: Sequence[Item]) -> str:
    """Return a line for each record."""
    lines = []
    for item in batch:
        record = parsed(item)
        shown = [word(record.get("ts")), guard(record), kind(record), word(record.get("id")) or item.id]
        lines.append("  ".join(each for each in shown if each))
    return "\n".join(lines) + "\n"


def severity(batch: Sequence[Item]) -> str:
    """Return how bad the worst of them is: info, warning, error or critical."""
    return worst(parsed(item) for item in batch)
