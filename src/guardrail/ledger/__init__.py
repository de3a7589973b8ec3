"""The ledger: one record per decision, appended by one thread to this process's own lane of JSON lines, and read back."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from guardrail.ledger.erasure import Erasure, erase
    from guardrail.ledger.reading import Reading, read
    from guardrail.ledger.unsealing import unseal

__all__ = ["Erasure", "Reading", "erase", "read", "unseal"]
_ELSEWHERE: Final = {"Erasure": "erasure", "erase": "erasure", "unseal": "unsealing"}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'guardrail.ledger' has no attribute {name!r}")
    # The call path imports this package, and reads nothing.
    value = globals()[name] = getattr(importlib.import_module(f"guardrail.ledger.{_ELSEWHERE.get(name, 'reading')}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
