"""What a guarded call costs, beside the same work stacked by hand from pydantic, tenacity, cachetools, structlog and OpenTelemetry.

    python -m benchmarks.call_path             the table
    python -m benchmarks.call_path --calls N   memory after N calls, in tenths (10_000_000 shows that it is flat)

Every row is measured in the same run, in turns, and the least of many rounds counts: CPU of the calling thread added to the
bare function (`time.thread_time`), and CPU of the whole process until the records are on disk (`time.process_time`). The stack
by hand does the same work for each call: it validates, keeps a deadline, a breaker and a limit, keys and caches, judges the
confidence, digests the input, and writes a record, a span and metrics; only that its records are not synced to the disk.
Nothing here judges an absolute time; the ratio beside each row is what can be compared between machines.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import hashlib
import hmac
import itertools
import os
import resource
import tempfile
import time
import uuid
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from rich.console import Console
from rich.table import Table

ROUNDS = 40
CALLS = 250  # of one case, in one round
DURABLE_CALLS = 500  # between two waits for the disk: about what a busy process writes at once


class Applicant(BaseModel):
    """Five fields, as a small model has them."""

    income: float
    age: int
    region: str
    purpose: str
    owner: bool


PEOPLE = [Applicant(income=float(i), age=i % 80, region="north", purpose="home", owner=bool(i % 2)) for i in range(20_000)]
ONE = PEOPLE[7]
AS_DICT = ONE.model_dump()


# ── ours ──────────────────────────────────────────────────────────────────────────────────────────────────────────────
def ours() -> dict[str, Any]:
    """Return the guarded functions, under names of the table's rows."""
    from guardrail import Budget, Cache, Prediction, guarded

    def make(**options: Any) -> Any:
        def predict(x: Applicant) -> Prediction[str]:
            return Prediction("approve", 0.93)

        return guarded(predict, version="1", **options)

    def make_async(**options: Any) -> Any:
        async def predict(x: Applicant) -> Prediction[str]:
            return Prediction("approve", 0.93)

        return guarded(predict, version="1", **options)

    everything = {
        "budget": Budget("5s", enforce="report"),
        "breaker": True,
        "limit": 8,
        "cache": Cache("1h", size=1_000),
        "retry": 3,
        "confidence": 0.5,
        "review": "bench",
    }
    return {
        "bare": make(name="bare"),
        "everything": make(name="everything", **everything),
        "hand-off": make(name="hand-off", budget="5s"),
        "async bare": make_async(name="async bare"),
        "async deadline": make_async(name="async deadline", budget="5s"),
        "async everything": make_async(name="async everything", **everything),
    }


# ── the same by hand ──────────────────────────────────────────────────────────────────────────────────────────────────
def by_hand(log: Path) -> Callable[..., Any]:  # noqa: PLR0915 - one stack, told in one go
    """Return the stack that people build today: validated, retried, cached, gated on confidence, logged, traced, counted."""
    import threading

    import structlog
    import tenacity
    from cachetools import TTLCache
    from opentelemetry import metrics, trace
    from pydantic import validate_call

    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso"),
            structlog.processors.JSONRenderer(),
        ],
        logger_factory=structlog.WriteLoggerFactory(log.open("a", buffering=1)),
    )
    logger = structlog.get_logger()
    tracer = trace.get_tracer("by hand")
    meter = metrics.get_meter("by hand")
    calls, durations = meter.create_counter("calls"), meter.create_histogram("duration")
    cache: TTLCache[str, Any] = TTLCache(1_000, 3600)
    lock = threading.Lock()
    permits = threading.BoundedSemaphore(8)
    window: deque[tuple[float, bool]] = deque(maxlen=100)  # what a breaker by hand remembers
    secret = os.urandom(32)

    @validate_call(validate_return=True)
    @tenacity.retry(stop=tenacity.stop_after_attempt(3), wait=tenacity.wait_random_exponential(max=5), reraise=True)
    def attempt(x: Applicant) -> tuple[str, float]:
        return "approve", 0.93

    def predict(x: Any, *, everything: bool = True) -> tuple[str, float]:
        started = time.perf_counter()
        with tracer.start_as_current_span("predict") as span:
            key = x.model_dump_json() if isinstance(x, Applicant) else str(sorted(x.items()))
            answer = None
            if everything:
                with lock:
                    answer = cache.get(key)
            hit = answer is not None
            if answer is None and not everything:
                answer = attempt(x)
            elif answer is None:
                with lock:
                    if sum(bad for _, bad in window) > 50:
                        raise ConnectionError("the breaker is open")
                if not permits.acquire(blocking=False):
                    raise TimeoutError("too many at once")
                try:
                    answer = attempt(x)
                finally:
                    permits.release()
                with lock:
                    window.append((time.monotonic(), False))
                    cache[key] = answer
                if time.perf_counter() - started > 5:
                    logger.warning("late")
            if answer[1] < 0.5:
                raise LookupError("unsure")
            took = time.perf_counter() - started
            span.set_attributes({"model.version": "1", "model.confidence": answer[1], "cache.hit": hit})
            calls.add(1, {"outcome": "answered"})
            durations.record(took, {"outcome": "answered"})
            logger.info(
                "decision", id=str(uuid.uuid4()), guard="by hand", version="1", outcome="answered", confidence=answer[1],
                threshold=0.5, cached=hit, took=took, attempts=1,
                digest=hmac.new(secret, key.encode(), hashlib.sha256).hexdigest(),
            )  # fmt: skip
        return answer

    return predict


# ── measuring ─────────────────────────────────────────────────────────────────────────────────────────────────────────
def least(cases: dict[str, Callable[[], Any]], calls: int = CALLS, rounds: int = ROUNDS) -> dict[str, float]:
    """Return the least CPU of the calling thread per call, in µs, of each case; the cases take turns."""
    best = dict.fromkeys(cases, float("inf"))
    for case in cases.values():
        case()
    for _ in range(rounds):
        for name, case in cases.items():
            start = time.thread_time()
            for _ in range(calls):
                case()
            best[name] = min(best[name], (time.thread_time() - start) / calls)
        time.sleep(0.02)  # the ledger's thread catches up outside the measured time
    return {name: seconds * 1e6 for name, seconds in best.items()}


def least_async(make: Callable[[], Any], calls: int = CALLS, rounds: int = ROUNDS // 2) -> float:
    """Return the same for a coroutine function, inside one event loop."""

    async def main() -> float:
        best = float("inf")
        await make()
        for _ in range(rounds):
            start = time.thread_time()
            for _ in range(calls):
                await make()
            best = min(best, (time.thread_time() - start) / calls)
            await asyncio.sleep(0.02)
        return best * 1e6

    return asyncio.run(main())


def whole(
    cases: dict[str, Callable[[], Any]], finish: Callable[[], Any], calls: int = DURABLE_CALLS, rounds: int = ROUNDS
) -> dict[str, float]:
    """Return the least CPU of the whole process per call, in µs, until everything is written; the cases take turns."""
    best = dict.fromkeys(cases, float("inf"))
    for _ in range(rounds):
        for name, case in cases.items():
            finish()
            start = time.process_time()
            for _ in range(calls):
                case()
            finish()
            best[name] = min(best[name], (time.process_time() - start) / calls)
    return {name: seconds * 1e6 for name, seconds in best.items()}


def trace_everything() -> Any:
    """Have both sides record spans and metrics, exported to nowhere."""
    from opentelemetry import metrics, trace
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

    class Nowhere(SpanExporter):
        def export(self, spans: Any) -> SpanExportResult:
            return SpanExportResult.SUCCESS

        def shutdown(self) -> None: ...

    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(Nowhere(), max_queue_size=65_536))
    trace.set_tracer_provider(provider)
    metrics.set_meter_provider(MeterProvider())
    return provider


def table(title: str, rows: list[tuple[str, float, float | None, str]], console: Console) -> None:
    """Print µs beside µs, and how many times cheaper ours is."""
    shown = Table(title=title, title_justify="left")
    for column, side in (
        ("path", "left"),
        ("guarded µs", "right"),
        ("by hand µs", "right"),
        ("ratio", "right"),
        ("target µs", "right"),
    ):
        shown.add_column(column, justify=side)  # type: ignore[arg-type]
    for path, mine, theirs, target in rows:
        shown.add_row(
            path,
            f"{mine:.2f}",
            "" if theirs is None else f"{theirs:.1f}",
            "" if theirs is None else f"{theirs / mine:.1f} ×",
            target,
        )
    console.print(shown)


def measure(console: Console) -> None:
    """Measure and print both tables, without and with recorded spans."""
    from guardrail import Prediction, flush, guard_of, warm
    from guardrail.ledger import reader

    home = Path(os.environ["GUARDRAIL_HOME"])
    guards = ours()
    for guard in guards.values():
        warm(guard)
    hand = by_hand(home / "by_hand.log")
    made = {"count": 0}

    def counted(guard: Any, arguments: Any) -> Callable[[], Any]:
        def call() -> Any:
            made["count"] += 1
            return guard(next(arguments))

        return call

    def forever(values: Any) -> Any:
        return itertools.cycle(values)

    def bare(fn: Any) -> Callable[[], Any]:
        arguments = forever(PEOPLE)
        return lambda: fn(next(arguments))

    for spans in (False, True):
        if spans:
            trace_everything()
        cases = {
            "function": bare(lambda x: Prediction("approve", 0.93)),
            "hand function": bare(lambda x: ("approve", 0.93)),
            "bare model": counted(guards["bare"], forever([ONE])),
            "bare dict": counted(guards["bare"], forever([AS_DICT])),
            "miss": counted(guards["everything"], forever(PEOPLE)),
            "hit": counted(guards["everything"], forever([ONE])),
            "hand-off": counted(guards["hand-off"], forever([ONE])),
            "hand miss": lambda arguments=forever(PEOPLE): hand(next(arguments)),  # type: ignore[misc]
            "hand hit": lambda: hand(ONE),
            "hand bare": lambda: hand(ONE, everything=False),
            "hand dict": lambda: hand(AS_DICT, everything=False),
        }
        best = least(cases)
        added = {
            name: best[name] - best["hand function" if name.startswith("hand") and name != "hand-off" else "function"]
            for name in best
        }
        suffix = " (spans recorded)" if spans else ""
        rows = [
            ("bare @guarded, model in", added["bare model"], added["hand bare"], "2"),
            ("dict in, validated", added["bare dict"], added["hand dict"], "3"),
            ("everything on, miss and store", added["miss"], added["hand miss"], "8" if spans else "6"),
            ("everything on, hit", added["hit"], added["hand hit"], "3.5"),
            ("budget on a worker thread", added["hand-off"], None, "+9 to 25"),
        ]
        table(f"CPU added on the calling thread{suffix}", rows, console)
        if not spans:
            async_rows: list[tuple[str, float, float | None, str]] = [
                (name, least_async(lambda guard=guards[name], people=forever(PEOPLE): guard(next(people))), None, target)  # type: ignore[misc]
                for name, target in (("async bare", "bare + 1.5"), ("async deadline", "+ 4"), ("async everything", ""))
            ]
            table("CPU of a coroutine, event loop included", async_rows, console)
        from opentelemetry import trace

        def finish() -> None:
            flush(60)
            getattr(trace.get_tracer_provider(), "force_flush", lambda: None)()

        names = ("miss", "hand miss", "bare model", "hand bare")
        total = whole({name: cases[name] for name in names}, finish)
        rows = [
            ("everything on, miss", total["miss"], total["hand miss"], "20" if spans else "15"),
            ("bare", total["bare model"], total["hand bare"], ""),
        ]
        table(f"CPU of the whole process, until the record is durable{suffix}", rows, console)
    flush(60)
    sync_names = {guards[name].__guardrail__.name for name in ("bare", "everything", "hand-off")}
    kept = sum(1 for record in reader.read(home) if record["event"] == "call" and record["guard"] in sync_names)
    counted_calls = sum(guard_of(guards[name]).stats()["calls"] for name in ("bare", "everything", "hand-off"))
    console.print(f"calls made {made['count']:,}, counted {counted_calls:,}, in the ledger {kept:,}: nothing was left undone" if kept == counted_calls == made["count"] else
                  f"[red]calls made {made['count']:,}, counted {counted_calls:,}, in the ledger {kept:,}[/red]")  # fmt: skip


def memory(calls: int, console: Console) -> None:
    """Print the resident memory after each tenth of many calls."""
    from guardrail import flush

    guard = ours()["everything"]
    people = itertools.cycle(PEOPLE)
    page = os.sysconf("SC_PAGE_SIZE")
    for tenth in range(11):
        gc.collect()
        flush(60)
        try:
            resident = int(Path("/proc/self/statm").read_text().split()[1]) * page / 2**20
        except OSError:
            resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        console.print(f"{calls * tenth // 10:>12,} calls  {resident:8.1f} MiB")
        if tenth < 10:
            for _ in range(calls // 10):
                guard(next(people))


def main() -> None:
    """Run what was asked for, in a ledger that vanishes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--calls", type=int, default=0, help="measure memory over so many calls instead of time")
    asked = parser.parse_args()
    console = Console(width=110)
    with tempfile.TemporaryDirectory(prefix=".bench-", dir=".") as home:
        os.environ["GUARDRAIL_HOME"] = home
        if asked.calls:
            memory(asked.calls, console)
        else:
            measure(console)
        from guardrail import shutdown

        shutdown(10)


if __name__ == "__main__":
    main()
