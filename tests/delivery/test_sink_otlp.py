"""Logs over OTLP/HTTP, read by the protocol's own messages."""

from __future__ import annotations

import gzip

import orjson
import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest, ExportLogsServiceResponse
from web import SECRET, answer, items, made, peer
from werkzeug import Request, Response

from guardrail import ConfigError, notices
from guardrail.delivery import Item
from guardrail.delivery.sink import ok

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


class Receiver:
    """A collector's receiver."""

    def __init__(self, httpserver, path: str = "/v1/logs") -> None:
        self.at = f"127.0.0.1:{httpserver.port}"
        self.bodies: list[bytes] = []
        self.headers: list = []
        self.rejected = 0
        httpserver.expect_request(path, method="POST").respond_with_handler(self.take)

    def take(self, request: Request) -> Response:
        self.headers.append(request.headers)
        body = request.get_data()
        self.bodies.append(gzip.decompress(body) if request.headers.get("Content-Encoding") == "gzip" else body)
        said = ExportLogsServiceResponse()
        if self.rejected:
            said.partial_success.rejected_log_records = self.rejected
            said.partial_success.error_message = SECRET
        return Response(said.SerializeToString(), content_type="application/x-protobuf")

    @property
    def resources(self):
        return ExportLogsServiceRequest.FromString(self.bodies[-1]).resource_logs


@pytest.fixture
def receiver(httpserver):
    return Receiver(httpserver)


def plain(attributes) -> dict[str, str]:
    return {each.key: each.value.string_value for each in attributes}


def test_a_record_as_a_log_record(receiver):
    """Body, time, severity, trace and our own attributes stand where the data model has them."""
    (item,) = items(trace_id=TRACE, span_id=SPAN)
    assert list(made(f"otlp+http://{receiver.at}").send([item])) == [ok]
    (resource,) = receiver.resources
    assert plain(resource.resource.attributes) == {"service.name": "scoring"}
    (scope,) = resource.scope_logs
    assert scope.scope.name == "guardrail"
    (log,) = scope.log_records
    assert log.body.string_value.encode() == item.line
    assert log.time_unix_nano == log.observed_time_unix_nano == 1767323045678901000
    assert (log.severity_number, log.severity_text) == (17, "ERROR")
    assert (log.trace_id.hex(), log.span_id.hex()) == (TRACE, SPAN)
    assert plain(log.attributes) == {
        "guardrail.id": "lane-1/1", "guardrail.event": "call", "guardrail.outcome": "failed", "guardrail.guard": "loans",
    }  # fmt: skip
    assert receiver.headers[0]["Content-Type"] == "application/x-protobuf"
    assert receiver.headers[0]["Content-Encoding"] == "gzip"


@pytest.mark.parametrize(
    "fields, severity",
    [({"outcome": "answered"}, "INFO"), ({"outcome": "deferred"}, "WARN"), ({"outcome": "late"}, "ERROR"),
     ({"event": "gap", "outcome": None}, "ERROR2"), ({"event": "ticket", "outcome": None}, "INFO")],
)  # fmt: skip
def test_severities(receiver, fields, severity):
    """They follow from how a call ended, and from what kind of event it is."""
    made(f"otlp+http://{receiver.at}").send(items(**fields))
    assert receiver.resources[0].scope_logs[0].log_records[0].severity_text == severity


def test_services_are_kept_apart(receiver):
    """Records of several services are several resources, in order; and every try is alike."""
    batch = [*items(2), *items(1, service=None), *items(1)]
    out = made(f"otlp+http://{receiver.at}?gzip=false")
    for _ in range(2):
        assert list(out.send(batch)) == [ok] * 4
    found = [
        (plain(each.resource.attributes)["service.name"], len(each.scope_logs[0].log_records)) for each in receiver.resources
    ]
    assert found == [("scoring", 3), ("unknown_service", 1)]
    assert receiver.bodies[0] == receiver.bodies[1]


@pytest.mark.parametrize("line", [b"{cut", b"\xff\xfe", b"[]", b'{"trace_id":"xyz","span_id":7,"ts":5,"guard":[],"service":{}}'])
def test_records_of_strange_shapes(receiver, line):
    """Whatever a line holds, it goes as it is."""
    assert list(made(f"otlp+http://{receiver.at}").send([Item("lane-1", 3, line)])) == [ok]
    (log,) = receiver.resources[0].scope_logs[0].log_records
    assert (log.body.string_value.encode() or log.body.bytes_value) == line
    assert plain(log.attributes) == {"guardrail.id": "lane-1/3"}
    assert (log.trace_id, log.span_id, log.time_unix_nano) == (b"", b"", 0)


def test_partial_success(receiver):
    """It is never sent again, as the protocol asks. Which ones were refused is known only when all were."""
    out = made(f"otlp+http://{receiver.at}")
    receiver.rejected = 2
    assert list(out.send(items(5))) == [ok] * 5
    assert "of 5 records 2 were refused" in notices.counts()[None, "sink-out-partial"][1]
    assert SECRET not in str(notices.counts())
    assert [each.kind for each in out.send(items(2))] == ["reject", "reject"]
    receiver.rejected = -1
    assert list(out.send(items(2))) == [ok, ok]


@pytest.mark.parametrize("body", [b"\xff\xff\xff", b'{"partialSuccess":{}}', b"<html>"])
def test_answers_in_another_format(body):
    """The status alone counts."""
    with peer(answer(200, body)) as other:
        out = made(f"otlp+http://{other.at}")
        assert list(out.send(items(2))) == [ok, ok]
        out.close()


def test_headers_and_path(httpserver, monkeypatch):
    """What lets us in is a header, as OpenTelemetry's own variables have it; a path takes the place of /v1/logs."""
    monkeypatch.setenv("KEYS", "api-key=a%20b, x-tenant=c=d")
    receiver = Receiver(httpserver, "/ingest/logs")
    assert list(made(f"otlp+http://{receiver.at}/ingest/logs?headers=${{env:KEYS}}").send(items())) == [ok]
    assert (receiver.headers[0]["api-key"], receiver.headers[0]["x-tenant"]) == ("a b", "c=d")
    for wrong in ("novalue", "=x", "a b=c", "a\r\nb=c"):
        monkeypatch.setenv("KEYS", wrong)
        with pytest.raises(ConfigError, match="name=value") as caught:
            made(f"otlp+http://{receiver.at}?headers=${{env:KEYS}}").send(items())
        assert wrong not in str(caught.value)
    with pytest.raises(ConfigError, match="a user or password"):
        made("otlp+https://user:pass@host")


def test_the_probe(receiver):
    """A labelled record goes round."""
    out = made(f"otlp+http://{receiver.at}")
    assert out.probe() == "it takes a test record"
    assert orjson.loads(receiver.resources[0].scope_logs[0].log_records[0].body.string_value)["event"] == "test"
    receiver.rejected = 1
    with pytest.raises(ConfigError, match="refuses a test record"):
        out.probe()
    with peer(answer(401)) as other, pytest.raises(ConfigError, match="does not let us in"):
        made(f"otlp+http://{other.at}").probe()
