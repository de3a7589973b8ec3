"""Compression and retention by themselves: on a thread of its own, soon after the start and then hourly, at a low rate."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from pathlib import Path
from typing import Final

from guardrail import clock, notices, settings
from guardrail.errors import ConfigError, GuardrailError
from guardrail.ledger.background import Post, Worker
from guardrail.store import forks

START_SECONDS: Final = 3.0  # after the first record: short jobs do their part, too
EVERY_SECONDS: Final = 3_600.0
EXIT_ORDER: Final = 74  # at exit: before the ledger closes
_REST: Final = 4.0  # work that took a second is followed by so many of rest
_NICE: Final = 10
_SHARE: Final = 4  # of the retention: a clock that has gone wrong by more than this part of it prunes nothing


class _Ended(BaseException):
    """The process ends; what was begun is left as a crash would leave it, and the next one goes on."""


class Upkeep(Worker):
    """The thread that keeps a home in order.

    Args:
        home: The folder of the embedded store.
    """

    def __init__(self, home: Path) -> None:
        super().__init__(home, "guardrail-upkeep")
        self._began = clock.now(), clock.wall()
        self._worked_at = clock.now()

    def work(self) -> None:
        """Do a round soon and then every hour, out of everybody's way."""
        if sys.platform == "linux":  # there a thread has a priority of its own
            with contextlib.suppress(OSError):
                os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)
        pause = START_SECONDS
        with contextlib.suppress(_Ended):
            while not self._end.wait(pause):
                self.round()
                pause = EVERY_SECONDS

    def round(self) -> None:
        """Compress and prune what is due. Nothing but the end of the process is raised."""
        try:
            now = settings.current()
            with forks.apart():  # a child that is forked in the middle of an import could never import that module
                from guardrail.ledger import compress, retention  # noqa: PLC0415 - long after the first record
            self._worked_at = clock.now()
            if now.compress and now.database_url is None:
                for problem in compress.compress(self.home, pace=self._pace).problems:
                    notices.say("ledger-compress", f"a segment could not be compressed: {problem}")
            kept = retention.in_force()
            if kept is not None and self._clock_is_right(kept[1]) and settings.home(create=False) == self.home:
                done = retention.by_itself(self._pace)
                for problem in () if done is None else done.problems:
                    notices.say("ledger-retention", f"records that are due to be pruned stay: {problem}")
        except ConfigError:
            return  # it is told where the settings are used
        except (GuardrailError, OSError) as problem:
            why = getattr(problem, "strerror", None) or str(problem)
            notices.say("ledger-upkeep", f"old records could not be compressed or pruned ({why}); it is tried again in an hour")
        except Exception as problem:  # noqa: BLE001 - whatever is wrong with one round must not end all
            notices.say("ledger-upkeep", f"the upkeep of old records met an unexpected {type(problem).__name__}")

    def _pace(self, _many: int) -> None:
        """Rest as long as the work since the last rest asks for."""
        if self._end.wait(max(0.0, clock.now() - self._worked_at) * _REST):
            raise _Ended
        self._worked_at = clock.now()

    def _clock_is_right(self, kept: float) -> bool:
        """Tell whether the wall clock has gone as the steady one did: one that leaps by years must not prune everything."""
        steady, wall = clock.now() - self._began[0], clock.wall() - self._began[1]
        if abs(wall - steady) < kept / _SHARE:
            return True
        notices.say(
            "ledger-clock", "the clock has leapt since this process began, and so nothing is pruned by itself; see that it is"
            " right, and start the process anew",
        )  # fmt: skip
        return False


_post = Post(EXIT_ORDER)


def begin(home: Path) -> None:
    """Begin to keep a home in order, if anything of that is wanted and it is not done already."""
    try:
        now = settings.current()
    except ConfigError:
        return
    if (now.compress and now.database_url is None) or now.retention is not None:
        _post.begin(Upkeep(home))
