"""aiocache: `@cached(ttl=…)` in memory, `@cached_stampede` against stampedes; for async functions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.gauntlet.tool import Function, Tool


class Adapter(Tool):
    name = "aiocache"
    requirements = ("aiocache==0.12.3",)
    about = "`@cached(ttl=60)`, `@cached_stampede(lease=10, ttl=60)`; async only"
    claims = frozenset({"async", "method", "cache", "flight"})

    def start(self, home: Path) -> None:
        super().start(home)
        import aiocache

        self.aiocache = aiocache

    def cached(self, fn: Function) -> Any:
        return self.aiocache.cached(ttl=60)(fn)

    def flown(self, fn: Function) -> Any:
        return self.aiocache.cached_stampede(lease=10, ttl=60)(fn)
