"""cachetools: `@cached(TTLCache(...), key=typedkey, condition=Condition())`, and `@cachedmethod` for methods."""

from __future__ import annotations

import inspect
import threading
from pathlib import Path
from typing import Any

from benchmarks.gauntlet.tool import Function, Tool


class Adapter(Tool):
    name = "cachetools"
    requirements = ("cachetools==8.0.1",)
    about = "`@cached(TTLCache(...), key=typedkey, condition=Condition())`, `@cachedmethod`; arguments have to be hashable"
    claims = frozenset({"sync", "method", "cache", "flight"})

    def start(self, home: Path) -> None:
        super().start(home)
        import cachetools
        from cachetools import keys

        self.module, self.keys = cachetools, keys

    def cached(self, fn: Function) -> Any:
        if next(iter(inspect.signature(fn).parameters), None) == "self":
            return self.module.cachedmethod(lambda self: self.__dict__.setdefault("_answers", {}), key=self.keys.typedmethodkey)(
                fn
            )
        answers = self.module.TTLCache(maxsize=10_000, ttl=60)
        return self.module.cached(answers, key=self.keys.typedkey, condition=threading.Condition())(fn)
