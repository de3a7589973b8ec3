"""Which sinks there are, by the scheme of their URL. A third party's are found by the entry-point group `guardrail.sinks`."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any, Final, NamedTuple

from guardrail.delivery.address import Address, Option, address
from guardrail.errors import ConfigError
from guardrail.settings.values import nearest, printable, text

GROUP: Final = "guardrail.sinks"


class Scheme(NamedTuple):
    """One kind of sink.

    Attributes:
        place: Module and class, imported at first use. The module imports its client library no earlier than the first `send`.
        example: What to write.
        extra: Which extra brings the client library, and the library's module; None where the core has all.
    """

    place: str
    example: str
    extra: tuple[str, str] | None = None


_SINKS: Final = "guardrail.delivery.sinks"
SCHEMES: Final[dict[str, Scheme]] = {
    "stdout": Scheme(f"{_SINKS}.stdout:StdoutSink", "stdout:?format=json"),
    "file": Scheme(f"{_SINKS}.file:FileSink", "file:///var/log/guardrail.jsonl"),
    "postgresql": Scheme(f"{_SINKS}.postgres:PostgresSink", "postgresql://user@host/database?table=guardrail_records", ("postgres", "psycopg")),
    "redis": Scheme(f"{_SINKS}.redis:RedisSink", "redis://host:6379/0?stream=guardrail", ("redis", "redis")),
    "rediss": Scheme(f"{_SINKS}.redis:RedisSink", "rediss://host:6379/0?stream=guardrail", ("redis", "redis")),
    "kafka": Scheme(f"{_SINKS}.kafka:KafkaSink", "kafka://broker-1,broker-2:9092/topic", ("kafka", "confluent_kafka")),
    "kafka+tls": Scheme(f"{_SINKS}.kafka:KafkaSink", "kafka+tls://user@broker:9093/topic", ("kafka", "confluent_kafka")),
    "nats": Scheme(f"{_SINKS}.nats:NatsSink", "nats://host:4222/subject", ("nats", "nats")),
    "nats+tls": Scheme(f"{_SINKS}.nats:NatsSink", "nats+tls://host:4222/subject", ("nats", "nats")),
    "otlp+http": Scheme(f"{_SINKS}.otlp:OtlpSink", "otlp+http://localhost:4318", ("otlp", "opentelemetry.proto")),
    "otlp+https": Scheme(f"{_SINKS}.otlp:OtlpSink", "otlp+https://host:4318", ("otlp", "opentelemetry.proto")),
    "splunk": Scheme(f"{_SINKS}.splunk:SplunkSink", "splunk://:${file:/run/secrets/hec}@host:8088?ack=true"),
    "splunk+http": Scheme(f"{_SINKS}.splunk:SplunkSink", "splunk+http://:${env:HEC}@localhost:8088"),
    "webhook": Scheme(f"{_SINKS}.webhook:WebhookSink", "webhook://host/path?secret=${file:/run/secrets/hook}"),
    "webhook+http": Scheme(f"{_SINKS}.webhook:WebhookSink", "webhook+http://localhost:8080/path"),
    "pagerduty": Scheme(f"{_SINKS}.pagerduty:PagerDutySink", "pagerduty://${env:ROUTING_KEY}@events.pagerduty.com"),
    "pagerduty+http": Scheme(f"{_SINKS}.pagerduty:PagerDutySink", "pagerduty+http://${env:ROUTING_KEY}@localhost:8080"),
    "slack": Scheme(f"{_SINKS}.slack:SlackSink", "slack://hooks.slack.com?webhook=${file:/run/secrets/slack}"),
    "slack+http": Scheme(f"{_SINKS}.slack:SlackSink", "slack+http://localhost:8080?webhook=${env:SLACK_PATH}"),
    "syslog+tls": Scheme(f"{_SINKS}.syslog:SyslogSink", "syslog+tls://host:6514"),
    "smtp": Scheme(f"{_SINKS}.smtp:SmtpSink", "smtp://user:${env:PASSWORD}@host:587?to=risk@bank.example&from=guardrail@bank.example"),
    "smtps": Scheme(f"{_SINKS}.smtp:SmtpSink", "smtps://user:${env:PASSWORD}@host:465?to=risk@bank.example&from=guardrail@bank.example"),
    "s3": Scheme(f"{_SINKS}.s3:S3Sink", "s3://bucket/prefix", ("s3", "boto3")),
    "apprise": Scheme(f"{_SINKS}.apprise:AppriseSink", "apprise:?url=${file:/run/secrets/apprise}", ("alerts", "apprise")),
}  # fmt: skip
EXAMPLE: Final = "stdout:"


def read(name: str, value: object, where: str) -> tuple[Address, type[Any]]:
    """Return the address that a URL means, and the class of sink that takes it.

    Raises:
        ConfigError: There is no such scheme, an option is unknown, or the extra is not installed.
    """
    url = text(value, where)
    scheme = url.partition(":")[0].lower()
    if ":" not in url:
        raise ConfigError(f"{where} is not a URL", hint=f'write "{EXAMPLE}" or "{SCHEMES["file"].example}"')
    kind, example = _kind(scheme, where)
    options: Mapping[str, Option | None] = getattr(kind, "OPTIONS", {})
    found = address(name, value, where, options, example, secret_path=getattr(kind, "SECRET_PATH", False))
    kind(found)  # it checks the address, and connects to nothing
    return found, kind


def _kind(scheme: str, where: str) -> tuple[type[Any], str]:
    known = SCHEMES.get(scheme)
    if known is not None:
        if known.extra is not None and not _installed(known.extra[1]):
            raise ConfigError(
                f'{where} needs the extra {known.extra[0]}: pip install "guardrail-sdk[{known.extra[0]}]"', hint="or unset it"
            )
        module, _, name = known.place.partition(":")
        return getattr(import_module(module), name), known.example
    from importlib.metadata import entry_points  # noqa: PLC0415 - a slow scan, for schemes that are not ours

    found = {each.name: each for each in entry_points(group=GROUP)}
    if scheme not in found:
        raise ConfigError(f"{where} is not a sink that there is", hint=nearest(scheme, [*SCHEMES, *found]))
    try:
        kind = found[scheme].load()
    except Exception as problem:
        raise ConfigError(
            f"the sink {printable(scheme)}, which {where} names, cannot be loaded ({type(problem).__name__})",
            hint=f"look after the package that declares it in {GROUP}",
        ) from problem
    return kind, f"{scheme}://host"


def _installed(module: str) -> bool:
    from importlib.util import find_spec  # noqa: PLC0415 - for who has such a sink

    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # its parent package is not there either
        return False
