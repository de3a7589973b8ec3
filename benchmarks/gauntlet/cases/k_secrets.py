"""Secrets: what must not be written is in no log, span, record, error or file."""

from __future__ import annotations

import asyncio
import base64
import gzip
import sys
import traceback
from pathlib import Path

from benchmarks.gauntlet.case import Failed, case, raised
from benchmarks.gauntlet.tool import Tool

SECRET = "hunter2-Zq8xV-tr0ub4dor"


def _search(home: Path, texts: list[str]) -> None:
    """Look for the secret in everything that was written, and in the texts."""
    sys.stdout.flush()
    sys.stderr.flush()
    raw = SECRET.encode()
    wanted = [raw, base64.b64encode(raw)[:-4], raw.hex().encode()]
    for file in sorted(home.rglob("*")):
        if not file.is_file():
            continue
        data = file.read_bytes()
        if file.suffix == ".gz":
            data = gzip.decompress(data)
        if any(each in data for each in wanted):
            raise Failed(f"the secret stands in {file.relative_to(home)}")
    for text in texts:
        if SECRET in text:
            raise Failed(f"the secret stands in an error: {text.replace(SECRET, '<the secret>')[:120]}")


def _texts(error: BaseException | None) -> list[str]:
    """Return what a program would log of an error, notes and causes included."""
    texts = []
    while error is not None:
        texts += [
            str(error),
            repr(error),
            "".join(traceback.format_exception_only(error)),
            *map(str, getattr(error, "__notes__", ())),
        ]
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return texts


@case("calls that are answered", "mask", "sync")
def secret_of_good_calls(tool: Tool, home: Path) -> None:
    def login(user: str, password: str) -> str:
        return f"hello {user}"

    call = tool.masked(login, "password")
    call("ann", SECRET)
    call("ann", password=SECRET)
    call(user="bob", password=SECRET)
    tool.finish()
    _search(home, [])


@case("calls of an async function", "mask", "async")
def secret_of_async_calls(tool: Tool, home: Path) -> None:
    async def login(user: str, password: str) -> str:
        return f"hello {user}"

    call = tool.masked(login, "password")
    asyncio.run(call("ann", SECRET))
    asyncio.run(call(user="ann", password=SECRET))
    tool.finish()
    _search(home, [])


@case("calls of a method", "mask", "sync", "method")
def secret_of_methods(tool: Tool, home: Path) -> None:
    def login(self, user: str, password: str) -> str:
        return f"hello {user}"

    function = login

    class Door:
        login = tool.masked(function, "password")

    Door().login("ann", SECRET)
    tool.finish()
    _search(home, [])


@case("calls in which the function fails", "mask", "sync")
def secret_of_failed_calls(tool: Tool, home: Path) -> None:
    def login(user: str, password: str) -> str:
        raise PermissionError("no")

    error = raised(tool.masked(login, "password"), "ann", SECRET)
    tool.finish()
    _search(home, _texts(error))


@case(
    "an error of the function that quotes the secret reaches the caller as it is, and is written nowhere", "mask-errors", "sync"
)
def secret_in_an_error(tool: Tool, home: Path) -> None:
    def login(user: str, password: str) -> str:
        raise PermissionError(f"wrong password: {password}")

    error = raised(tool.masked(login, "password"), "ann", SECRET)
    if SECRET not in str(error):
        raise Failed("the caller gets another error than the function raised")
    tool.finish()
    _search(home, [])


@case("a value that validation refuses is not quoted in the error, nor written", "validate", "mask", "sync")
def secret_that_is_refused(tool: Tool, home: Path) -> None:
    def pay(amount: int, iban: str) -> str:
        return "paid"

    call = tool.masked(pay, "amount")
    error = raised(call, SECRET, "x")
    tool.finish()
    _search(home, _texts(error))
