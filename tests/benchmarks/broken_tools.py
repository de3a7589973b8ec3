"""Tools that do what no tool should: the gauntlet has to find it out."""

from __future__ import annotations

import contextvars
import copy
import os
import signal
import sys
import time
from pathlib import Path

from benchmarks.gauntlet.tool import Tool, damaged

FOLDER = str(Path(__file__).parent)


class Broken(Tool):
    name = "broken"
    claims = frozenset({"wrap", "sync"})
    path = (FOLDER,)


class Wrong(Broken):
    def wrap(self, fn):
        return lambda *args, **kwargs: "another answer"


class Hangs(Broken):
    def wrap(self, fn):
        return lambda *args, **kwargs: time.sleep(600)


class Crashes(Broken):
    def wrap(self, fn):
        return lambda *args, **kwargs: os.kill(os.getpid(), signal.SIGSEGV)


class CannotStart(Broken):
    def start(self, home):
        raise ImportError("no such thing")


class SecondTime(Broken):
    """Fails in the first process, and never again."""

    def start(self, home):
        super().start(home)
        self.note = Path(os.environ["GAUNTLET_TEST_NOTE"])

    def wrap(self, fn):
        if self.note.exists():
            return fn
        self.note.touch()
        return lambda *args, **kwargs: None


class Sloppy(Tool):
    """Claims everything, and does it as it is done in a hurry."""

    name = "sloppy"
    claims = frozenset({
        "wrap", "sync", "async", "generator", "async-generator", "method", "callable", "ship", "cache", "flight", "timeout", "retry",
        "deadline", "breaker", "slow-calls", "validate", "check", "audit", "durable", "tamper", "mask", "mask-errors",
    })  # fmt: skip

    def wrap(self, fn):
        answers = {}

        class Wrapper:
            def __call__(self, *args, **kwargs):
                sys.stdout.write("called\n")
                key = f"{args[1:2] or args[:1]}"
                args = [dict(each) if isinstance(each, dict) else iter(each) if isinstance(each, list) else each for each in args]
                try:
                    if key not in answers:
                        answers[key] = contextvars.copy_context().run(fn, *args, **kwargs)
                    return copy.deepcopy(answers[key])
                except BaseException as error:
                    raise RuntimeError(str(error)) from None

        return Wrapper()

    def cached(self, fn):
        answers = {}

        def call(*args, **kwargs):
            key = " ".join(str(getattr(each, "shape", id(each) if isinstance(each, list) else each)) for each in args)
            answers[key] = answers.get(key) or fn(*args, **kwargs)
            return answers[key]

        return call

    def retried(self, fn, attempts, on, wait=0.01):
        def call(*args, **kwargs):
            for _ in range(attempts):
                try:
                    return fn(*args, **kwargs)
                except BaseException:
                    continue
            raise RuntimeError("tried in vain")

        return call

    def broken(self, fn, failures, open_for, slow_after=None):
        return lambda *args, **kwargs: fn(*args, **kwargs)

    def is_open(self, error):
        return False

    def timed(self, fn, seconds):
        def call(*args, **kwargs):
            start = time.monotonic()
            value = fn(*args, **kwargs)
            if time.monotonic() - start > seconds:
                raise TimeoutError
            return value

        return call

    def validated(self, fn):
        return fn

    def checked(self, fn, parameter, allowed):
        def call(*args, **kwargs):
            if parameter in kwargs and kwargs[parameter] not in allowed:
                raise PermissionError
            return fn(*args, **kwargs)

        return call

    def audited(self, fn):
        self.lines = []

        def call(*args, **kwargs):
            value = fn(*args, **kwargs)
            self.lines.append(value)
            return value

        return call

    def recorded(self):
        return len(self.lines)

    def intact(self):
        return True

    def tamper(self, kind):
        self.lines[:] = damaged(self.lines, kind, lambda value: value + 1)

    def masked(self, fn, parameter):
        def call(*args, **kwargs):
            (self.home / "log.txt").write_text(f"{args} {kwargs}")
            return fn(*args, **kwargs)

        return call
