"""Sends records as OpenTelemetry logs over OTLP/HTTP, to a collector or whoever else takes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Final
from urllib.parse import unquote

import orjson

from guardrail import clock, notices
from guardrail.delivery import http
from guardrail.delivery.address import Address, Option
from guardrail.delivery.answers import Answer
from guardrail.delivery.plain import Severity, micros, parsed, severity
from guardrail.delivery.sink import Caps, Item, Result, ok, reject
from guardrail.errors import ConfigError

if TYPE_CHECKING:
    from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, ResourceLogs

_PORT: Final = 4318
# https://opentelemetry.io/docs/specs/otel/logs/data-model/#field-severitynumber
_SEVERITIES: Final[Mapping[Severity, tuple[int, str]]] = {
    "info": (9, "INFO"), "warning": (13, "WARN"), "error": (17, "ERROR"), "critical": (18, "ERROR2"),
}  # fmt: skip
_ATTRIBUTES: Final = (("event", "guardrail.event"), ("outcome", "guardrail.outcome"), ("guard", "guardrail.guard"))


class OtlpSink:
    """The sink of `otlp+http://localhost:4318` and `otlp+https://host:4318`.

    Args:
        address: Where, with options; the path is `/v1/logs` where there is none.

    Raises:
        ConfigError: There is no host, or a secret would be sent in plain text.
    """

    SECRET_PATH: ClassVar[bool] = True
    OPTIONS: ClassVar[Mapping[str, Option]] = {
        "headers": Option(None, None, "headers of the request, as name=value,name=value; reserved characters as %XX"),
        **http.options(gzip=True),
    }
    caps = Caps()

    def __init__(self, address: Address) -> None:
        if address.user is not None or address.password is not None:
            raise ConfigError(f"{address.where} gives a user or password", hint="write what lets you in as headers=name=value")
        self._where, self._name = address.where, address.name
        self._headers = address.options["headers"]
        self._gzip: bool = address.options["gzip"]
        self._client = http.Client.of(address, _PORT)

    def send(self, batch: Sequence[Item]) -> list[Result]:
        """Send a batch in one request.

        A partial success is never sent again, as OTLP asks: how many were refused is told, and which ones where that is known.
        """
        if not batch:
            return []
        answer = self._post(batch)
        many = len(batch)
        result = answer.result(alone=many == 1)
        if result.kind != "ok":
            return [result] * many
        refused = _refused(answer.body)
        if refused >= many:
            return [reject("OTLP's partial success: it is not taken")] * many
        if refused > 0:
            notices.say(
                f"sink-{self._name}-partial",
                f"{self._where}: of {many} records {refused} were refused, and OTLP does not tell which",
            )
        return [ok] * many

    def probe(self) -> str:
        """Send a log record that says what it is.

        Raises:
            ConfigError: It is not taken.
        """
        at = clock.wall()
        test = {"event": "test", "sink": self._name, "text": "a test record of guardrail"}
        answer = self._post([Item("test", int(at * 1e6), orjson.dumps(test))])
        if answer.taken and _refused(answer.body):
            raise ConfigError(f"{self._where}: it refuses a test record")
        return answer.proof(self._where, "a test record")

    def close(self) -> None:
        """Hang up."""
        self._client.close()

    def _post(self, batch: Sequence[Item]) -> Answer:
        headers = {"Content-Type": "application/x-protobuf", **self._given()}
        return self._client.post(self._client.path or "/v1/logs", request(batch), headers, compress=self._gzip)

    def _given(self) -> dict[str, str]:
        if self._headers is None:
            return {}
        pairs = [pair.partition("=") for pair in self._headers.reveal().split(",") if pair.strip()]
        if not all(equals and name.strip().replace("-", "").replace("_", "").isalnum() for name, equals, _ in pairs):
            raise ConfigError(f"{self._headers.where} must be name=value,name=value")
        return {name.strip(): unquote(value.strip()) for name, _, value in pairs}


def request(batch: Sequence[Item]) -> bytes:
    """Return an `ExportLogsServiceRequest`, the same bytes for the same batch."""
    from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest  # noqa: PLC0415 - an extra

    export = ExportLogsServiceRequest()
    services: dict[str, ResourceLogs] = {}
    for item in batch:
        record = parsed(item)
        service = str(record.get("service") or "unknown_service")
        if service not in services:
            services[service] = export.resource_logs.add()
            _put(services[service].resource.attributes, "service.name", service)
            services[service].scope_logs.add().scope.name = "guardrail"
        _fill(services[service].scope_logs[0].log_records.add(), item, record)
    return bytes(export.SerializeToString(deterministic=True))


def _fill(log: LogRecord, item: Item, record: Mapping[str, Any]) -> None:
    at = micros(record)
    if at is not None:
        log.time_unix_nano = log.observed_time_unix_nano = at * 1000
    number, log.severity_text = _SEVERITIES[severity(record)]
    log.severity_number = number  # type: ignore[assignment]  # a plain number is what the enumeration is
    try:
        log.body.string_value = item.line.decode()
    except UnicodeDecodeError:
        log.body.bytes_value = item.line
    _put(log.attributes, "guardrail.id", item.id)
    for name, key in _ATTRIBUTES:
        if isinstance(record.get(name), str):
            _put(log.attributes, key, record[name])
    log.trace_id = _bytes(record.get("trace_id"), 16)
    log.span_id = _bytes(record.get("span_id"), 8)


def _put(attributes: Any, key: str, value: str) -> None:
    attributes.add(key=key).value.string_value = value


def _bytes(value: object, many: int) -> bytes:
    """Return an id of a trace or span, nothing where there is none."""
    try:
        found = bytes.fromhex(value) if isinstance(value, str) else b""
    except ValueError:
        return b""
    return found if len(found) == many else b""


def _refused(body: bytes) -> int:
    """Return how many records a partial success tells of."""
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]  # noqa: PLC0415 - comes with the messages
    from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse  # noqa: PLC0415 - an extra

    try:
        return int(ExportLogsServiceResponse.FromString(body).partial_success.rejected_log_records)
    except DecodeError:
        return 0  # an answer in another format: the status says that all were taken
