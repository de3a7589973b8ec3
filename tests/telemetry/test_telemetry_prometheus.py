"""Prometheus' text: one answer for all processes of a home, in which no counter ever falls."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import typer
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as parsed
from traced_calls import make_entry, make_plan
from typer.testing import CliRunner

from guardrail import Breaker, Deferred, Prediction, configure, flush, guard_of, guarded
from guardrail.cli import metrics as command
from guardrail.errors import ConfigError
from guardrail.store import file_lock
from guardrail.telemetry import files, names, prometheus, standing, stats, sums

WORKER = """
import os, sys
from guardrail import flush, guarded
from guardrail.telemetry import files, prometheus

@guarded(name="score", version="1", breaker=True)
def score(x: int) -> int:
    return x

for line in sys.stdin:
    word, _, many = line.strip().partition(" ")
    if word == "call":
        for x in range(int(many)): score(x)
        flush(5)
    elif word == "tell":
        prometheus.text()
    elif word == "fork":
        pid = os.fork()
        if pid == 0:
            for x in range(int(many)): score(x)
            flush(5)
            sys.exit()
        os.waitpid(pid, 0)
    elif word == "end":
        break
    print("done", flush=True)
"""


class Worker:
    """A process that makes calls when told."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(WORKER)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def do(self, what: str) -> None:
        """Have it do something, and wait until it has."""
        self.process.stdin.write(f"{what}\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline() == "done\n"

    def end(self, how: int | None = None) -> None:
        """End it, in order or by a signal."""
        if how is None:
            self.process.communicate("end\n", timeout=20)
        else:
            self.process.send_signal(how)
            self.process.communicate(timeout=20)


@pytest.fixture
def worker() -> Iterator[Any]:
    """Makes workers, and ends those that are left."""
    made: list[Worker] = []

    def make() -> Worker:
        made.append(Worker())
        return made[-1]

    yield make
    for each in made:
        if each.process.poll() is None:
            each.end(signal.SIGKILL)


def samples() -> dict[str, dict[tuple[str, ...], float]]:
    """Return what the text says, by sample and labels' values in the order of their names."""
    found: dict[str, dict[tuple[str, ...], float]] = {}
    for family in parsed(prometheus.text()[0].decode()):
        for sample in family.samples:
            found.setdefault(sample.name, {})[tuple(sample.labels[name] for name in sorted(sample.labels))] = sample.value
    return found


def calls() -> float:
    """Return how many calls are told of."""
    return sum(samples().get("guardrail_calls_total", {}).values())


# ── the text ──────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_every_metric_of_the_table_is_told_with_its_kind_and_meaning() -> None:
    """In both forms of the text; each figure under its name."""
    told = {family.name: (family.type, family.documentation) for family in parsed(prometheus.text()[0].decode())}
    meant = {metric.prometheus.removesuffix("_total"): (metric.kind, metric.doc) for metric in names.METRICS}
    assert told == meant
    text, kind = prometheus.text("application/openmetrics-text; version=1.0.0")
    assert "openmetrics" in kind
    assert {family.name for family in openmetrics(text.decode())} == set(meant)


def test_figures_stand_under_their_labels() -> None:
    """Calls, durations, what was taken of the budget, stages, retries and verdicts."""
    plan = make_plan(budget_ms=100.0, cache_words={"cached": "hit", "answered": "miss"})
    stats.take(
        [
            make_entry(plan=plan, took=0.02, attempts=3),
            make_entry(plan=plan, took=0.0002, outcome="cached", attempts=0),
            make_entry(plan=plan, took=0.2, extra={"stages": {"look up": 0.15}, "would": ("budget: late",)}),
        ]
    )
    found = samples()
    guard = "credit:predict"
    assert found["guardrail_calls_total"] == {("miss", guard, "answered"): 2, ("hit", guard, "cached"): 1}
    assert found["guardrail_retries_total"] == {("miss", guard, "answered"): 2}
    assert found["guardrail_duration_seconds_sum"]["miss", guard, "answered"] == pytest.approx(0.22)
    assert found["guardrail_duration_seconds_bucket"]["miss", guard, "0.025", "answered"] == 1
    assert found["guardrail_duration_seconds_bucket"]["miss", guard, "+Inf", "answered"] == 2
    assert found["guardrail_budget_seconds"] == {(guard,): 0.1}
    assert found["guardrail_budget_used_bucket"][guard, "1.0"] == 2
    assert found["guardrail_budget_used_count"] == {(guard,): 3}
    assert found["guardrail_stage_duration_seconds_sum"] == {(guard, "look up"): 0.15}
    assert found["guardrail_would_total"] == {(guard,): 1}
    assert found["guardrail_processes"] == {(): 1}


def test_a_value_on_a_bound_counts_below_it() -> None:
    """As Prometheus has it: a bucket holds what is less or equal."""
    stats.take([make_entry(took=0.025)])
    assert samples()["guardrail_duration_seconds_bucket"]["", "credit:predict", "0.025", "answered"] == 1


def test_of_a_call_over_a_table_the_rows_count_and_the_whole_takes_the_budget() -> None:
    """Three rows are three calls; the share of the budget is the table's."""

    @guarded(name="table", batch=True, budget="5s")
    def score(rows: list[int]) -> list[int]:
        return rows

    score([1, 2, 3])
    assert flush(5)
    found = samples()
    assert found["guardrail_calls_total"] == {("", "table", "answered"): 3}
    assert found["guardrail_budget_used_count"] == {("table",): 1}


def test_labels_are_bounded() -> None:
    """However many guards and stages are made, and however they are called, so many have labels of their own."""
    for at in range(sums.GUARDS + 20):
        stats.take([make_entry(plan=make_plan(name=f"guard {at}"))])
    for at in range(sums.STAGES + 20):
        stats.take([make_entry(plan=make_plan(name="guard 1"), extra={"stages": {f"stage {at}": 0.1}})])
    stats.take([make_entry(plan=make_plan(name="guard 2"), extra={"stages": {"\ud800" + "x" * 5_000: 0.1}})])
    found = samples()
    guards = {labels[1] for labels in found["guardrail_calls_total"]}
    assert len(guards) == sums.GUARDS + 1
    assert found["guardrail_calls_total"]["", sums.OTHER, "answered"] == 20
    stages = {labels[1] for labels in found["guardrail_stage_duration_seconds_count"] if labels[0] == "guard 1"}
    assert len(stages) == sums.STAGES + 1
    assert max(len(labels[1]) for labels in found["guardrail_stage_duration_seconds_count"]) == sums.NAME_LIMIT


def test_a_reset_of_a_guard_sets_no_counter_back() -> None:
    """Its statistics begin anew; what Prometheus has seen does not fall, nor how often its breaker has opened."""

    @guarded(name="score", breaker=Breaker(min_calls=1))
    def score(x: int) -> int:
        raise LookupError

    for _ in range(2):
        with pytest.raises(LookupError):
            score(1)
        flush(5)
        assert samples()["guardrail_breaker_state"]["score", "open"] == 1
        guard_of(score).reset()
        assert samples()["guardrail_breaker_state"]["score", "open"] == 0
    assert samples()["guardrail_breaker_opened_total"] == {("score",): 2}
    assert calls() == 2


def test_losses_are_counted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A lost record counts when it is lost, and not again when its gap record must wait for the disk."""
    from guardrail.ledger.queued import Losses

    losses = Losses()
    losses.count("queue full", 1.0, 3)
    losses.give_back(losses.take())
    assert samples()["guardrail_ledger_lost_total"] == {("queue full",): 3}


def test_the_review_queue_and_the_sinks_are_told(home: Path) -> None:
    """Open cases and the age of the oldest by queue; how far each sink is behind."""
    configure(sinks={"out": f"file://{home}/out.jsonl"})

    @guarded(name="score", confidence=0.9, review="loans")
    def score(x: int) -> Prediction[str]:
        return Prediction("yes", 0.1)

    for x in range(2):
        with pytest.raises(Deferred):
            score(x)
    flush(5)
    found = samples()
    assert found["guardrail_review_open"] == {("loans",): 2}
    assert found["guardrail_review_overdue"] == {("loans",): 0}
    assert 0 <= found["guardrail_review_oldest_seconds"]["loans",] < 60
    assert found["guardrail_review_spooled"] == {(): 0}
    assert found["guardrail_sink_behind"] == {("out",): 0}
    assert found["guardrail_sink_lag_seconds"] == {("out",): 0}
    assert found["guardrail_sink_dead"] == {("out",): 0}


def test_a_store_that_cannot_be_read_hides_no_other_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is said once, and its metrics have no values."""
    monkeypatch.setattr("guardrail.review.spool.count", lambda: 1 / 0)
    stats.take([make_entry()])
    found = samples()
    assert "guardrail_review_spooled" not in found
    assert found["guardrail_calls_total"]


# ── several processes ─────────────────────────────────────────────────────────────────────────────────────────────────
def test_nothing_is_written_unless_somebody_asks(home: Path) -> None:
    """A home without a scraper has no figures in it."""

    @guarded(name="score")
    def score(x: int) -> int:
        return x

    score(1)
    assert flush(5)
    files.poll()
    assert not (home / files.FOLDER).exists()


@pytest.mark.slow
def test_any_process_answers_for_all_and_no_counter_falls(worker: Any, home: Path) -> None:
    """Workers call, fork, end in order or are killed, and others come: the sum is right at every moment."""
    assert calls() == 0  # from now on somebody wants metrics
    first, second = worker(), worker()
    first.do("call 5")
    second.do("call 7")
    first.do("tell")
    second.do("tell")
    assert calls() == 12
    assert samples()["guardrail_processes"] == {(): 2}
    assert samples()["guardrail_breaker_state"] == {("score", "closed"): 2, ("score", "open"): 0, ("score", "half_open"): 0}
    first.end(signal.SIGKILL)
    assert calls() == 12
    assert samples()["guardrail_processes"] == {(): 1}
    assert len(list((home / files.FOLDER).glob("*.figures.*"))) == 1
    second.do("fork 4")
    assert calls() == 16
    second.do("call 1")
    second.end()
    assert calls() == 17
    third = worker()
    third.do("call 3")
    third.do("tell")
    assert calls() == 20
    assert sum(samples()["guardrail_duration_seconds_count"].values()) == 20


@pytest.mark.slow
def test_what_was_told_survives_the_process_that_told_it(worker: Any) -> None:
    """A worker that is killed right after its answer takes nothing of it along."""
    one = worker()
    one.do("call 5")
    one.do("tell")
    one.end(signal.SIGKILL)
    assert calls() == 5


def test_an_ended_process_is_added_once(home: Path) -> None:
    """Though whoever added it was killed before its file was gone."""
    folder = files.want()
    figures = {"figures": {"guardrail.calls": [[["score", "answered", ""], 5]], "guardrail.processes": [[[], 1]]}}
    path = folder / "123-abc.figures.1.json"
    path.write_text(json.dumps(figures))
    assert calls() == 5
    assert not path.exists()
    path.write_text(json.dumps(figures))  # as if it had never been removed
    assert calls() == 5
    assert not path.exists()
    assert "guardrail_processes" not in samples()


def test_a_damaged_file_is_left_out_and_said(home: Path) -> None:
    """A machine that failed in the middle of a write costs the figures of one process, not the answer."""
    from guardrail import notices

    folder = files.want()
    (folder / "123-abc.figures.1.json").write_bytes(b"")
    stats.take([make_entry()])
    assert calls() == 1
    assert (None, "metrics-damaged") in notices.counts()


def test_a_fork_begins_with_nothing(home: Path) -> None:
    """What was counted before a fork is the parent's: calls, losses, and openings of breakers."""

    @guarded(name="score", breaker=Breaker(min_calls=1))
    def score(x: int) -> int:
        raise LookupError

    with pytest.raises(LookupError):
        score(1)
    flush(5)
    calls()
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            found = standing.of_process()
            os.write(write, json.dumps([len(found[names.CALLS]), sum(found[names.OPENED].values())]).encode())
        finally:
            os._exit(0)
    os.waitpid(pid, 0)
    assert json.loads(os.read(read, 100)) == [0, 0]
    os.close(read)
    os.close(write)


# ── where it is asked for ─────────────────────────────────────────────────────────────────────────────────────────────
def test_a_service_mounts_it() -> None:
    """As an ASGI application: the text by default, OpenMetrics where it is accepted, nothing but headers for HEAD."""
    stats.take([make_entry()])

    async def main() -> list[httpx.Response]:
        transport = httpx.ASGITransport(app=prometheus.metrics_app())
        async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
            accept = {"accept": "application/openmetrics-text; version=1.0.0"}
            return [await client.get("/"), await client.get("/", headers=accept), await client.head("/")]

    plain, other, head = asyncio.run(main())
    assert plain.headers["content-type"].startswith("text/plain; version=")
    assert 'guardrail_calls_total{cache="",guard="credit:predict",outcome="answered"} 1.0' in plain.text
    assert "openmetrics" in other.headers["content-type"]
    assert other.text.endswith("# EOF\n")
    assert (head.status_code, head.content) == (200, b"")


def test_wsgi_has_it_too() -> None:
    """The same for services that are not asynchronous."""
    stats.take([make_entry()])
    with httpx.Client(transport=httpx.WSGITransport(app=prometheus.wsgi_app()), base_url="http://service") as client:
        assert "guardrail_calls_total{" in client.get("/").text
        assert client.head("/").content == b""


def test_part_of_the_figures_is_never_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """While the others' figures cannot be had the answer is 503, since a counter that falls looks like a restart."""
    monkeypatch.setattr(files, "_PATIENCE", 0.05)
    folder = files.want()
    with (
        file_lock.held(folder / "adding.lock"),
        httpx.Client(transport=httpx.WSGITransport(app=prometheus.wsgi_app()), base_url="http://service") as client,
    ):
        answer = client.get("/")
    assert answer.status_code == 503
    assert "too long" in answer.text


def test_it_goes_into_the_applications_own_registry() -> None:
    """Beside its own metrics, as any collector."""
    stats.take([make_entry()])
    registry = CollectorRegistry()
    registry.register(prometheus.Collector())
    assert b"guardrail_calls_total{" in generate_latest(registry)


def test_the_command_prints_it() -> None:
    """`guardrail metrics`, without having made a call itself."""
    stats.take([make_entry()])
    files.want()
    app = typer.Typer()
    command.register(app)
    printed = CliRunner().invoke(app, [])
    assert printed.exit_code == 0
    assert {family.name for family in parsed(printed.stdout)} >= {"guardrail_calls", "guardrail_processes"}


def test_the_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the extra that brings it."""
    monkeypatch.delitem(sys.modules, "guardrail.telemetry.prometheus")
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    with pytest.raises(ConfigError, match=r"guardrail-sdk\[prometheus\]"):
        __import__("guardrail.telemetry.prometheus")
