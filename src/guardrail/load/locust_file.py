"""The same load over HTTP as a Locust file, for rates that one process cannot offer."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from guardrail.errors import ConfigError
from guardrail.load.schedule import Step

_LARGEST: Final = 20_000_000  # characters of rows; Locust sends the file to each of its workers
_SLOWEST: Final = 10  # users for the lowest rate, at least: one that waits for an answer asks nothing meanwhile

_FILE: Final = '''"""Load on {where}, written by `guardrail load`. Run it with: locust -f {file} --headless

Each user asks {throughput:g} times a second at most, whatever the answers take, and the number of users follows the steps. A user
who waits for an answer asks nothing meanwhile: where answers take longer than {patience:g} s, fewer questions arrive than are due,
which `guardrail load` would have counted as waiting. More users with a lower throughput bring it closer.
"""

import itertools
import json
import os
import random
from pathlib import Path

from locust import FastHttpUser, LoadTestShape, constant_throughput, task

HOST = {host}
PATH = {path}
METHOD = {method}
HEADERS_FILE = os.environ.get("LOAD_HEADERS_FILE", {headers})  # a line for each: Name: value
THROUGHPUT = {throughput!r}  # questions a second of one user
STEPS = {steps}  # seconds, users
ROWS = json.loads({rows})
WEIGHTS = {weights}  # how often each row is drawn; None: as often as any other
SAMPLE = {sample!r}  # drawn by chance, or in turn
SEED = {seed!r}
ROWS_EACH = {each!r}  # rows in the list of a body; None: one row as it is


def headers():
    found = {{"User-Agent": "guardrail-load"}}
    for line in Path(HEADERS_FILE).read_text(encoding="utf-8").splitlines() if HEADERS_FILE else ():
        name, colon, value = line.partition(":")
        if colon and not line.startswith("#"):
            found[name.strip()] = value.strip()
    return found


HEADERS = headers()
chance = random.Random(SEED)
turn = itertools.cycle(ROWS)


def row():
    return chance.choices(ROWS, WEIGHTS)[0] if SAMPLE else next(turn)


class Caller(FastHttpUser):
    host = HOST
    wait_time = constant_throughput(THROUGHPUT)

    @task
    def ask(self):
        body = row() if ROWS_EACH is None else [row() for _ in range(ROWS_EACH)]
        sent = {{"params": body}} if METHOD in ("GET", "DELETE") else {{"json": body}}
        self.client.request(METHOD, PATH, headers=HEADERS, name=PATH.partition("?")[0], **sent)


class Steps(LoadTestShape):
    def tick(self):
        left = self.get_run_time()
        for seconds, users in STEPS:
            if left < seconds:
                return users, max(users, 1)
            left -= seconds
        return None
'''


def write(
    path: Path, url: str, *, method: str, headers: Path | None, steps: Sequence[Step], rows: Sequence[Any], sample: bool,
    weights: Sequence[float] | None, seed: int,
) -> None:  # fmt: skip
    """Write a Locust file. The values of headers are not in it: it reads their file when it runs.

    Args:
        path: Where to.
        url: The endpoint.
        method: Of HTTP.
        headers: The file of headers.
        steps: At which rates, and for how long; one setting of rows for all.
        rows: The bodies.
        sample: Whether rows are drawn by chance.
        weights: How often each is drawn, beside the others.
        seed: Of chance.

    Raises:
        ConfigError: It would be too large, or the steps differ in what a Locust file has one of.
        OSError: It cannot be written.
    """
    if len({(step.rows, step.workers) for step in steps}) > 1:
        raise ConfigError("a Locust file has one number of rows and of calls at a time", hint="write one file for each")
    data = json.dumps(rows, default=str)
    if len(data) > _LARGEST:
        raise ConfigError("the data are too large for a Locust file", hint="give fewer rows")
    lowest = min(step.rate for step in steps)
    throughput = min(1.0, lowest / _SLOWEST)
    parts = urlsplit(url)
    place = parts.path or "/"
    text = _FILE.format(
        where=_safe(f"{parts.scheme}://{parts.netloc}{place}"), file=_safe(path.name), host=repr(f"{parts.scheme}://{parts.netloc}"),
        path=repr(f"{place}?{parts.query}" if parts.query else place), method=repr(method.upper()), headers=repr("" if headers is None else str(headers.resolve())),
        throughput=throughput, patience=1 / throughput, steps=repr([(step.seconds, max(1, round(step.rate / throughput))) for step in steps]),
        rows=repr(data), weights="None" if weights is None else repr(list(weights)), sample=sample or weights is not None, seed=seed,
        each=steps[0].rows,
    )  # fmt: skip
    path.write_text(text, encoding="utf-8")


def _safe(text: str) -> str:
    """Return a text fit to stand in a docstring."""
    return text.encode("unicode_escape").decode("ascii").replace('"', "'")
