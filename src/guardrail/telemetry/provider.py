"""Sets OpenTelemetry up where the application has not, and asks for it: by OTEL_* variables or `configure(telemetry="otlp")`.

The providers are the SDK's own, with its variables for endpoint, headers, sampler, resource and batches. Only their end is
ours: the process never waits for a collector longer than for its ledger.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from typing import Any, Final, Literal

from guardrail import lifecycle, notices, settings
from guardrail.errors import ConfigError

EXIT_ORDER: Final = 90  # at exit: after the ledger's thread has built the last span
EXIT_LEAST: Final = 0.5  # seconds for the collector at exit, even where the ledger has used up the time
QUEUE: Final = 16_384  # spans; those of a whole batch of calls are built at once
HINT: Final = 'pip install "guardrail-sdk[otlp]"'
_KNOWN: Final = ("otlp", "console")

Signal = Literal["traces", "metrics"]

_seen: object = None  # the settings by which was decided
_flushers: list[Callable[[int], Any]] = []  # of the providers that are ours, each taking milliseconds
_deciding = threading.Lock()


def configure_if_asked() -> None:
    """Set up what is asked for and missing. It never raises; what is wrong is said once.

    Called on the ledger's thread with each batch of calls, so that nobody waits for it, and the application has had its time
    to set providers of its own. It decides anew only when the settings have changed.
    """
    global _seen  # noqa: PLW0603 - one decision per process
    try:
        now = settings.current()
        if now is _seen:
            return
        with _deciding:
            if now is not _seen:
                _seen = now
                _configure(now)
    except ConfigError as problem:
        notices.say("otlp", f"{problem}; calls go on without")
    except Exception as problem:  # noqa: BLE001 - a wrong variable, a library's own trouble: calls go on without
        notices.say("otlp", f"OpenTelemetry could not be set up ({type(problem).__name__}); calls go on without")


def exporters(signal: Signal, asked: str, environ: Mapping[str, str]) -> list[str]:
    """Return the exporters that are asked for.

    Args:
        signal: Spans or metrics.
        asked: The setting `telemetry`: "auto" goes by the variables, "otlp" is without them too, "off" never is.
        environ: The variables, by the names of the OpenTelemetry specification.
    """
    kind = signal.upper()
    if asked == "off" or environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return []
    listed = [name.strip().lower() for name in environ.get(f"OTEL_{kind}_EXPORTER", "").split(",") if name.strip()]
    if listed:
        unknown = [name for name in listed if name not in (*_KNOWN, "none")]
        if unknown:
            notices.say(
                f"otlp-{signal}",
                f"OTEL_{kind}_EXPORTER names what guardrail does not set up; it knows {', '.join(_KNOWN)} and none, and uses"
                " any other that the application sets up itself",
            )
        return [name for name in listed if name in _KNOWN]
    places = ("OTEL_EXPORTER_OTLP_ENDPOINT", f"OTEL_EXPORTER_OTLP_{kind}_ENDPOINT")
    return ["otlp"] if asked == "otlp" or any(environ.get(name, "").strip() for name in places) else []


def flush(seconds: float) -> bool:
    """Hand over to the collector what the providers of ours still hold; return whether it is done, within seconds."""
    if not _flushers:
        return True
    done: list[bool] = []

    def all_of_them() -> None:
        done.extend(each(int(seconds * 1000)) is not False for each in _flushers)

    # The SDK's own waiting has no bound that holds: against a collector that refuses it takes 10 s for each batch.
    thread = threading.Thread(target=all_of_them, name="guardrail-telemetry-flush", daemon=True)
    try:
        thread.start()
    except RuntimeError:  # the interpreter is ending
        return False
    thread.join(max(0.0, seconds))
    return len(done) == len(_flushers) and all(done)


def finish(seconds: float) -> bool:
    """Hand over the last of it at exit, within a bound."""
    return flush(max(seconds, EXIT_LEAST))


def _configure(now: settings.Settings) -> None:
    asked = now.telemetry
    made: list[tuple[Callable[..., Any], Any]] = []
    spans, metrics = (exporters(signal, asked, os.environ) for signal in ("traces", "metrics"))
    if spans and not _has_tracer_provider():
        from guardrail.telemetry import exporting  # noqa: PLC0415 - brings the SDK

        made.append(exporting.tracer_provider(spans, now.service))
    if metrics and not _has_meter_provider():
        from guardrail.telemetry import exporting  # noqa: PLC0415 - as above

        made.append(exporting.meter_provider(metrics, now.service))
    for set_it, provider in made:
        if set_it(provider):
            _flushers.append(provider.force_flush)
            lifecycle.arm()
        else:  # the application was quicker
            provider.shutdown()


def _has_tracer_provider() -> bool:
    from opentelemetry import trace  # noqa: PLC0415 - 33 ms, paid by those who ask for spans

    return not isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)


def _has_meter_provider() -> bool:
    from opentelemetry import metrics  # noqa: PLC0415 - as above

    return type(metrics.get_meter_provider()).__name__ != "_ProxyMeterProvider"


def _in_child() -> None:
    global _deciding  # noqa: PLW0603 - the inherited lock may be held by a thread that the fork left behind
    _deciding = threading.Lock()


lifecycle.after_fork(_in_child)
lifecycle.at_exit(EXIT_ORDER, finish)
