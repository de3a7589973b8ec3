"""The states of a ticket, for those who need no database to name them."""

from __future__ import annotations

from typing import Final

OPEN_STATES: Final = ("pending", "claimed", "adjudicate")  # a person may still answer
ENDED: Final = ("decided", "expired", "cancelled")
