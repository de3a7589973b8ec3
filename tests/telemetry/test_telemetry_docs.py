"""The page on telemetry tells all that there is, and no more."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from guardrail.telemetry import names, sums

PAGE = Path(__file__).parents[2] / "docs" / "telemetry.md"


def rows(first: str) -> list[list[str]]:
    """Return the rows of the table whose first heading is this."""
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    begin = next(at for at, line in enumerate(lines) if line.startswith(f"| {first} |"))
    found = []
    for line in lines[begin + 2 :]:
        if not line.startswith("|"):
            break
        found.append([cell.strip() for cell in line.strip("|").split("|")])
    return found


def test_the_table_of_metrics_is_that_of_the_code() -> None:
    """Names, kinds, units, labels and meanings, in the same order."""
    assert rows("OpenTelemetry") == [
        [
            f"`{metric.name}`{'*' if metric.shared else ''}", f"`{metric.prometheus}`", metric.kind, metric.unit,
            ", ".join(f"`{label}`" for label in metric.labels), metric.doc,
        ]
        for metric in names.METRICS
    ]  # fmt: skip


def test_the_table_of_attributes_is_that_of_the_code() -> None:
    """Names and meanings of everything that a span has."""
    assert rows("attribute") == [[f"`{name}`", meaning] for name, meaning in names.ATTRIBUTES.items()]


@pytest.mark.parametrize("number", [sums.GUARDS, sums.STAGES])
def test_bounds_are_those_of_the_code(number: int) -> None:
    """How many labels there are at the most."""
    assert re.search(rf"\b{number} (guards|stages)", PAGE.read_text(encoding="utf-8"))
