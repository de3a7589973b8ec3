"""No tool at all: what the cases of a wrapper expect is what the function itself does."""

from __future__ import annotations

from typing import Any

from benchmarks.gauntlet.tool import Function, Tool


class Adapter(Tool):
    name = "bare"
    about = "the function itself; it claims nothing but to be a function"
    claims = frozenset({"wrap", "sync", "async", "generator", "async-generator", "method", "callable", "ship"})

    def wrap(self, fn: Function) -> Any:
        return fn
