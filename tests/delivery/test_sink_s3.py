"""The sink that is a bucket, against moto's server and peers that misbehave: whole objects, once; what answers mean."""

from __future__ import annotations

import gzip
import logging
import re
import socket

import boto3
import pytest
from backends import CANARY, dead_port, items, kinds, quickly, sink
from web import peer, reset

from guardrail.errors import ConfigError

MEANS = "&region=us-east-1&timeout=1s"
USER = f"AKIDEXAMPLE:{CANARY}@"


@pytest.fixture(autouse=True)
def _plain_surroundings(monkeypatch, tmp_path):
    """No proxy, and no credentials but those of a test."""
    for name in (
        "HTTP_PROXY",
        "http_proxy",
        "HTTPS_PROXY",
        "https_proxy",
        "AWS_CA_BUNDLE",
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_PROFILE",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))


@pytest.fixture(scope="module")
def server():
    module = pytest.importorskip("moto.server")
    found = module.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    found.start()
    yield "http://{}:{}".format(*found.get_host_and_port())
    found.stop()


@pytest.fixture
def bucket(server, request):
    """An empty bucket of our own: its server, its name, and a client."""
    client = boto3.client("s3", endpoint_url=server, region_name="us-east-1", aws_access_key_id="id", aws_secret_access_key="key")
    name = f"bucket-{abs(hash(request.node.name))}"
    client.create_bucket(Bucket=name)
    yield server, name, client
    client.close()


def objects(client, bucket: str) -> dict[str, bytes]:
    """Return what is in each object, by its key."""
    keys = [each["Key"] for each in client.list_objects_v2(Bucket=bucket).get("Contents", [])]
    return {key: client.get_object(Bucket=bucket, Key=key)["Body"].read() for key in keys}


def refuse(server, status: int, code: str, wait: str | None = None) -> str:
    """Have a server refuse everything as S3 does, with a text that repeats our secret; return its URL."""
    body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{CANARY}</Message></Error>"
    headers = {} if wait is None else {"Retry-After": wait}
    server.expect_request(re.compile("/.*")).respond_with_data(body, status, headers, content_type="application/xml")
    return server.url_for("").rstrip("/")


def test_many_records_are_an_object_once(bucket):
    """One object for each lane of a batch, compressed; the same batch makes no second one, and what follows another."""
    server, name, client = bucket
    found = sink(f"s3://{USER}{name}/audit?endpoint={server}{MEANS}")
    batch = items(30) + items(2, "b")
    for _ in range(2):
        assert kinds(found.send(batch)) == ["ok"] * 32
    assert kinds(found.send(items(3, "b", first=3))) == ["ok"] * 3
    got = objects(client, name)
    lane = batch[0].lane
    assert list(got) == [
        f"audit/{lane}/{1:020}-{30:020}-30.jsonl.gz", f"audit/b/{1:020}-{2:020}-2.jsonl.gz", f"audit/b/{3:020}-{5:020}-3.jsonl.gz",
    ]  # fmt: skip
    lines = [line for content in got.values() for line in gzip.decompress(content).splitlines()]
    assert lines == [each.line for each in [*batch, *items(3, "b", first=3)]]
    assert "takes a test object" in found.probe()
    assert len(objects(client, name)) == 4
    found.close()


def test_the_same_records_are_the_same_bytes(bucket):
    """Compressed at another moment, and not compressed where that is asked for."""
    server, name, client = bucket
    batch = items(3)
    found = sink(f"s3://{USER}{name}/now?endpoint={server}{MEANS}")
    assert kinds(found.send(batch)) == ["ok"] * 3
    found.close()
    plain = sink(f"s3://{USER}{name}/plain?endpoint={server}{MEANS}&gzip=false")
    assert kinds(plain.send(batch)) == ["ok"] * 3
    plain.close()
    packed, unpacked = objects(client, name).values()
    assert packed[4:8] == bytes(4)  # where gzip would write the time
    assert gzip.decompress(packed) == unpacked == b"".join(each.line + b"\n" for each in batch)


def test_it_gathers_for_a_minute_unless_told_otherwise():
    """Few large objects rather than many small ones."""
    assert sink("s3://a-bucket/p")._address.options["linger"] == 60.0
    assert sink("s3://a-bucket/p?linger=5s")._address.options["linger"] == 5.0
    assert sink("s3://a-bucket/p").caps.items == 50_000


@pytest.mark.parametrize(
    ("answer", "kind", "credentials", "after"),
    [
        ((403, "SignatureDoesNotMatch"), "retry", True, None),
        ((403, "AccessDenied"), "retry", True, None),
        ((400, "ExpiredToken"), "retry", True, None),
        ((404, "NoSuchBucket"), "retry", False, None),
        ((409, "ConditionalRequestConflict"), "retry", False, None),
        ((503, "SlowDown", "7"), "retry", False, 7.0),
        ((500, "InternalError"), "retry", False, None),
        ((501, "NotImplemented"), "retry", False, None),
        ((400, CANARY), "retry", False, None),
        ((412, "PreconditionFailed"), "ok", False, None),
    ],
)  # fmt: skip
def test_what_an_answer_means(httpserver, answer, kind, credentials, after):
    """It is sent once; nothing of the answer's text is repeated, which may be what we sent."""
    found = sink(f"s3://{USER}a-bucket/p?endpoint={refuse(httpserver, *answer)}{MEANS}")
    (result,) = found.send(items(1))
    assert (result.kind, result.credentials, result.after) == (kind, credentials, after)
    assert CANARY not in repr(result)
    assert len(httpserver.log) == 1
    if kind != "ok":
        with pytest.raises(OSError, match="S3 answers") as caught:
            found.probe()
        assert CANARY not in repr(caught.value)
    found.close()


@pytest.mark.parametrize(("many", "kind"), [(1, "reject"), (2, "retry")])
def test_what_is_too_large_is_halved_until_it_is_alone(httpserver, many, kind):
    """By the courier, where several records are one object."""
    found = sink(f"s3://{USER}a-bucket/p?endpoint={refuse(httpserver, 413, 'EntityTooLarge')}{MEANS}")
    assert kinds(found.send(items(many))) == [kind] * many
    found.close()


def test_a_server_that_is_away_silent_or_cut_off_is_told_in_time(caplog):
    """However many lanes a batch has; the secret in no text, nor in what the client's library logs."""
    lanes = [item for lane in "abcdefgh" for item in items(1, lane)]

    def silent(sock: socket.socket) -> None:
        sock.settimeout(5)
        sock.recv(1)

    with peer(silent) as hung, peer(reset) as cut, caplog.at_level(logging.DEBUG):
        for at in (f"127.0.0.1:{dead_port()}", hung.at, cut.at):
            found = sink(f"s3://{USER}a-bucket/p?endpoint=http://{at}{MEANS}")
            results = quickly(found, lanes, seconds=4.0)
            assert {(each.kind, each.reason) for each in results} == {("retry", "it does not answer")}
            assert CANARY not in repr(results) + repr(vars(found))
            found.close()
    assert CANARY not in caplog.text


def test_credentials_are_looked_for_anew_when_there_were_none(bucket, monkeypatch):
    """The machine's own, which somebody has put right meanwhile; the courier closes a sink that is not let in."""
    server, name, _ = bucket
    found = sink(f"s3://{name}/p?endpoint={server}{MEANS}")
    (result,) = found.send(items(1))
    assert (result.kind, result.credentials, result.reason) == ("retry", True, "there are no credentials for it")
    found.close()
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "id")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", CANARY)
    assert kinds(found.send(items(1))) == ["ok"]
    found.close()


def test_the_same_object_goes_on_when_the_bucket_is_there(bucket):
    """As after an administrator has made it."""
    server, _, client = bucket
    found = sink(f"s3://{USER}made-later/p?endpoint={server}{MEANS}")
    (result,) = found.send(items(1))
    assert (result.kind, result.reason) == ("retry", "S3 answers NoSuchBucket")
    client.create_bucket(Bucket="made-later")
    assert kinds(found.send(items(1))) == ["ok"]
    found.close()


@pytest.mark.parametrize(
    "url",
    ["s3://B/x", "s3://a-bucket:1/x", "s3:///x", "s3://a-bucket/x?endpoint=nonsense", "s3://a-bucket/x?endpoint=http://u:hunter2@h",
     "s3://a-bucket/x?endpoint=file:///etc"],
)  # fmt: skip
def test_a_url_that_says_too_little_or_tells_too_much_is_refused(url):
    """When the settings are read; the URL is not repeated."""
    with pytest.raises(ConfigError, match="GUARDRAIL_SINK_OUT") as caught:
        sink(url)
    assert "hunter2" not in str(caught.value)
