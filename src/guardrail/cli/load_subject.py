"""What `guardrail load` asks, and with what: a function or an endpoint, and the rows of a file, checked before the load begins."""

from __future__ import annotations

import contextlib
import inspect
import itertools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from guardrail.cli.target import function
from guardrail.cli.text import clean, console
from guardrail.errors import ConfigError, InvalidInput
from guardrail.guard_upkeep import spec_of

if TYPE_CHECKING:
    from guardrail.load.schedule import Step
    from guardrail.load.targets import Target

Subject = tuple["Target", Callable[["Step"], Any], list[str]]  # what is asked, with what, and what to tell beforehand


class Wanted(NamedTuple):
    """Which rows were asked for.

    Attributes:
        data: The file, None for none.
        sample: Whether they are drawn by chance.
        weights: The column that says how often each is drawn.
        seed: Of chance.
    """

    data: Path | None
    sample: bool
    weights: str | None
    seed: int

    def told(self) -> str:
        """Return it in words."""
        if self.data is None:
            return "none"
        by_chance = self.weights is not None or self.sample
        how = f"drawn by column {self.weights}" if self.weights else "drawn by chance" if self.sample else "in turn"
        return f"{self.data.name}, {how}{f', seed {self.seed}' if by_chance else ''}"

    def rows(self) -> tuple[list[Any], list[float] | None]:
        """Return the rows, and how often each is drawn beside the others, None where it does not matter.

        Raises:
            ConfigError: The file cannot be used.
            OSError: It cannot be read.
        """
        from guardrail.load import data

        if self.data is None:
            if self.weights or self.sample:
                raise ConfigError("there are no rows to draw from", hint="add --data FILE")
            return [None], None
        rows = data.read(self.data)
        return data.weights_of(rows, self.weights) if self.weights else (rows, None)

    @property
    def text(self) -> bool:
        """Whether all that is read is text."""
        return self.data is not None and self.data.suffix.lower() == ".csv"


def endpoint(url: str, *, method: str, headers: Path | None, timeout: float, plan: Sequence[Step], wanted: Wanted) -> Subject:
    """Return an endpoint and the bodies that it is sent.

    Raises:
        ConfigError: The address, the headers or the rows cannot be used.
        OSError: A file cannot be read.
    """
    from guardrail.load import data
    from guardrail.load.http import Endpoint, read_headers

    rows, weights = wanted.rows()
    if wanted.text:
        rows = [data.typed(row) for row in rows]
    target = Endpoint(url, method=method, headers=read_headers(headers), timeout=timeout)
    told = ["The endpoint is really asked: it leaves its own records, tickets and whatever else its answers lead to."]
    if wanted.data is None and any(step.rows for step in plan):
        raise ConfigError("--rows needs rows", hint="add --data FILE")
    return target, _next(rows, wanted, weights, list), told


@contextlib.contextmanager
def function_of(
    name: str, plan: Sequence[Step], wanted: Wanted, *, mode: str | None, real: bool, tickets: bool
) -> Iterator[Subject]:
    """Have a function ready, with the arguments that it is called with; what its calls leave goes where it should.

    Raises:
        ConfigError: The function, the mode or the rows cannot be used; names the columns that are missing.
    """
    from guardrail.load import place as places
    from guardrail.load.targets import Plain, Tables, target_of

    if tickets and not real:
        raise ConfigError("--tickets files real tickets, which needs --real", hint="add --real, or leave --tickets out")
    with places.place(real=real, mode=mode) as place:
        fn = function(name)
        place.settle()
        target = target_of(fn, name, tables=any(step.rows for step in plan))
        told: list[str] = []
        if isinstance(target, Plain):
            if mode is not None or real:
                raise ConfigError(
                    f"{name} is not guarded: it has no mode, and leaves no records", hint="leave --mode and --real out"
                )
        else:
            from guardrail.using import guard_of

            place.check(guard_of(fn), mode=mode, tickets=tickets)
        told.append(_where(real=real, mode=mode, guarded=not isinstance(target, Plain)))
        item = _tables(fn, wanted, target) if isinstance(target, Tables) else _samples(fn, wanted, target, told)
        yield target, item, told


def write_locust(path: Path, url: str | None, *, method: str, headers: Path | None, plan: Sequence[Step], wanted: Wanted) -> None:
    """Write a Locust file that does the same.

    Raises:
        ConfigError: There is no endpoint, or something else cannot be used.
        OSError: A file cannot be read or written.
    """
    from guardrail.load import data, locust_file
    from guardrail.load.http import checked_method, read_headers

    if url is None:
        raise ConfigError("a Locust file is for HTTP", hint="guardrail load --url http://… --locust FILE.py")
    rows, weights = wanted.rows()
    if wanted.text:
        rows = [data.typed(row) for row in rows]
    read_headers(headers)  # it reads them when it runs; what is wrong with them is told now
    locust_file.write(
        path, url, method=checked_method(method), headers=headers, steps=plan, rows=rows, sample=wanted.sample, weights=weights,
        seed=wanted.seed,
    )  # fmt: skip
    console().print(f"Written to {clean(path)}. No load was put on anything: locust -f {clean(path)} --headless", soft_wrap=True)


def _where(*, real: bool, mode: str | None, guarded: bool) -> str:
    runs = "The function is really run, with all that it does to the world."
    if not guarded:
        return runs
    if not real:
        return f"{runs} Its records and tickets go to a folder that vanishes; --real leaves them where the application's go."
    kept = "no ticket is filed" if mode == "observe" else "tickets are filed where a call asks for one"
    return f"{runs} Its records are real, marked as those of a test; {kept}."


def _samples(fn: Callable[..., Any], wanted: Wanted, target: Target, told: list[str]) -> Callable[[Step], Any]:
    from guardrail.load.data import Fitting
    from guardrail.load.targets import Guarded
    from guardrail.samples import Sample
    from guardrail.spec import get

    guarded = isinstance(target, Guarded)
    rows, weights = wanted.rows()
    if wanted.data is None:
        if any(
            each.default is each.empty and each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)
            for each in inspect.signature(fn).parameters.values()
        ):
            raise ConfigError(f"{target.name} has to be given something", hint="add --data FILE")
        samples: list[Sample] = [Sample((), {})]
    else:
        checked = False
        if guarded:
            from guardrail.using import guard_of

            checked = get(spec_of(guard_of(fn)), "validate") is not False
        fitting = Fitting(fn, checked=checked)
        first = fitting.fit(rows[0], text=wanted.text)
        if fitting.left_out:
            told.append(f"The function takes no {', '.join(fitting.left_out)}: these columns are left out.")
        if guarded:
            _check_first(fn, first.args, first.kwargs)
        samples = [first, *(fitting.fit(row, text=wanted.text) for row in rows[1:])]
    return _next(samples, wanted, weights, list)


def _tables(fn: Callable[..., Any], wanted: Wanted, target: Target) -> Callable[[Step], Any]:
    from guardrail.load.data import container_of, typed

    if wanted.data is None:
        raise ConfigError(f"{target.name} has to be given rows", hint="add --data FILE")
    rows, weights = wanted.rows()
    if wanted.text:
        rows = [typed(row) for row in rows]
    made = container_of(fn)
    _check_first(fn, (made(rows[:1]),), {})
    return _next(rows, wanted, weights, made, many=1)


def _check_first(fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Have the guard's own validation look at the first row, and do what the first call would otherwise pay for."""
    from guardrail.drivers import rehearsal
    from guardrail.using import guard_of, warm

    try:
        rehearsal.validated(fn, guard_of(fn), args, kwargs)
    except InvalidInput as problem:
        raise ConfigError(
            f"the first row of the data does not fit: {problem.args[0]}", hint="no load was put on anything"
        ) from problem
    except TypeError as problem:
        raise ConfigError(
            f"the first row of the data does not fit the parameters: {problem}", hint="no load was put on anything"
        ) from problem
    warm(fn)


def _next(
    rows: list[Any], wanted: Wanted, weights: list[float] | None, made: Callable[[list[Any]], Any], *, many: int | None = None
) -> Callable[[Step], Any]:
    """Return what gives the item of each call: a row, or a table of as many rows as the step says."""
    from guardrail.load.data import endless

    rows_to_come = endless(rows, sample=wanted.sample, weights=weights, seed=wanted.seed)

    def item(step: Step) -> Any:
        size = step.rows or many
        return next(rows_to_come) if size is None else made(list(itertools.islice(rows_to_come, size)))

    return item
