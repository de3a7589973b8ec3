"""All that parses what others wrote, each as a function of bytes: it may refuse in the words it promises, and in no other way."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import fuzz_bodies
import fuzz_ledger

from guardrail import clock, control_file
from guardrail.delivery import schemes
from guardrail.errors import AccessDenied, ConfigError, GuardrailError, InvalidInput
from guardrail.ledger import notes, proofs
from guardrail.review import argilla, label_studio, receiving
from guardrail.samples import read_lines
from guardrail.settings import hours
from guardrail.settings.table import TABLE
from guardrail.thresholds import file as threshold_file


class Target(NamedTuple):
    """One parser.

    Attributes:
        run: Parses bytes, and passes over what it promises to raise.
        seeds: What it takes, to begin with.
        dear: Whether one run costs milliseconds, for files are written: `make test` tries fewer.
    """

    run: Callable[[bytes], Any]
    seeds: tuple[bytes, ...]
    dear: bool = False


def text(parse: Callable[[str], Any], *promised: type[Exception]) -> Callable[[bytes], Any]:
    """Return a target for a parser of text."""

    def run(data: bytes) -> None:
        try:
            parse(data.decode("utf-8", "surrogateescape"))
        except promised:
            pass

    return run


def raw(parse: Callable[[bytes], Any], *promised: type[Exception]) -> Callable[[bytes], Any]:
    """Return a target for a parser of bytes."""

    def run(data: bytes) -> None:
        try:
            parse(data)
        except promised:
            pass

    return run


def file(parse: Callable[[Path], Any], *promised: type[Exception]) -> Callable[[bytes], Any]:
    """Return a target for a parser of files."""

    def run(data: bytes) -> None:
        with tempfile.NamedTemporaryFile() as place:
            place.write(data)
            place.flush()
            try:
                parse(Path(place.name))
            except promised:
                pass

    return run


def every_setting(value: str) -> None:
    """Give one text to every setting."""
    for setting in TABLE.values():
        try:
            setting.parse(value, setting.name)
        except ConfigError as problem:
            str(problem)


def answer(data: bytes) -> None:
    """Take a body as if it had been signed: what is in it is still anybody's."""
    receiving._data(data)


_KEY = b"\x01" * 32
_NOTE = b"guardrail/lane\n2\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\ntime 2026-01-01T00:00:00Z\n\n\xe2\x80\x94 guardrail AAAAAAAA\n\n"
_PROOF = b"c2sp.org/tlog-proof@v1\nextra e30=\nindex 0\n\n" + _NOTE[:-1]
TARGETS: dict[str, Target] = {
    "settings": Target(text(every_setting), (b"1", b"observe", b"redis://:secret@host:6379/0", b"Mo-Fr 09:00-17:00 Europe/Berlin", b"90d")),
    "duration": Target(text(clock.seconds, ConfigError), (b"250ms", b"1e999s", b"4h", b"30d")),
    "rate": Target(text(clock.rate, ConfigError), (b"100/s", b"5/10 s")),
    "working hours": Target(text(lambda words: hours.working_hours(words, "working_hours"), ConfigError), (b"Mo-Fr 09:00-17:00 Europe/Berlin",)),
    "sink": Target(
        text(lambda url: schemes.read("x", url, "GUARDRAIL_SINK_X"), ConfigError),
        tuple(each.example.encode() for each in schemes.SCHEMES.values()),
    ),
    "switches": Target(
        raw(lambda data: control_file.parse(data, {}), ValueError),
        (json.dumps({"loans": {"mode": "observe", "killed": True, "at": 1.0, "by": "anna"}}).encode(),),
    ),
    "checkpoints": Target(raw(notes.parse_all, ValueError), (_NOTE, _NOTE * 2)),
    "proof": Target(text(lambda proof: proofs.check(proof, [_KEY]), GuardrailError), (_PROOF,)),
    "threshold": Target(
        file(threshold_file.load, ConfigError),
        (json.dumps({"threshold": {"at_least": 0.9}, "signature": {"key": "AAAA", "value": "AAAA"}}).encode(),),
    ),
    "samples": Target(file(read_lines, ConfigError), (b'{"a": 1}\n[1, 2]\n', b"\xef\xbb\xbf1\n")),
    "answers by Label Studio": Target(
        raw(lambda data: list(label_studio.heard(data)), ConfigError),
        (
            json.dumps(
                [{"data": {"ticket": "t"}, "meta": {"model_answer": "hidden"}, "annotations": [{"completed_by": {"email": "a@b"}, "was_cancelled": False, "result": [{"from_name": "answer", "type": "choices", "value": {"choices": ["yes"]}}]}]}]
            ).encode(),
        ),
    ),
    "answers by Argilla": Target(
        raw(lambda data: list(argilla.heard(data)), ConfigError),
        (
            json.dumps(
                [{"id": "t", "status": "completed", "metadata": {"ticket": "t"}, "responses": {"answer": [{"user_id": "u", "value": "yes", "status": "submitted"}]}, "answer.responses": ["yes"], "answer.responses.users": ["u"], "answer.responses.status": ["submitted"]}]
            ).encode(),
        ),
    ),
    "answers by webhook": Target(
        raw(answer, InvalidInput, AccessDenied),
        (json.dumps({"type": receiving.TYPE, "data": {"ticket": "t", "person": "anna", "value": [1], "verdict": "accept"}}).encode(),),
    ),
    **{name: Target(run, seeds, dear=True) for name, (run, seeds) in (fuzz_ledger.PARSERS | fuzz_bodies.PARSERS).items()},
}  # fmt: skip
