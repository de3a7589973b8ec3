"""The sinks that are more than HTTP, through the kit that any third party's must pass; servers stand behind a gate that misbehaves."""

from __future__ import annotations

import asyncio
import gzip
import re
import socket
from collections.abc import Callable
from urllib.parse import quote

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult
from backends import Nats, says_yes
from gates import Cluster, Console, File, Indexers, Syslog, gated
from web import certificates, server_context

from guardrail.delivery import schemes
from guardrail.testing import CANARY, SINK_CHECKS, HttpPeer, Report, check_sink

ALWAYS = {
    "its constructor opens nothing", "its shape", "one result for each item", "an empty batch", "order", "the same body on every try",
    "away and back", "close, and go on", "probe", "records are never shown",
}  # fmt: skip
ANSWERS = {
    "429": b"429 Too Many Requests\r\nRetry-After: 7", "401": b"401 Unauthorized", "403": b"403 Forbidden",
    "413": b"413 Content Too Large",
}  # fmt: skip
NO_NETWORK = dict.fromkeys(
    (
        "it sends once", "429 with Retry-After", "partial failure", "reset in the middle", "a slow peer", "an answer that drips",
        "an item that is too long", "expired credentials", "an unknown certificate", "secrets are never shown",
    ),
    "a file has no other side that answers, and its URL no secret",
)  # fmt: skip
NO_ANSWERS = dict.fromkeys(
    ("it sends once", "429 with Retry-After", "partial failure", "an answer that drips", "an item that is too long"),
    "syslog has no answers",
)


def made(url: str):
    where, kind = schemes.read("out", url, "GUARDRAIL_SINK_OUT")
    return kind(where)


def passed(report: Report) -> set[str]:
    """The checks that were passed; none failed."""
    report.raise_for_failures()
    return {check.name for check in report.checks if check.state == "passed"}


def states(report: Report, state: str) -> set[str]:
    return {check.name for check in report.checks if check.state == state}


@pytest.fixture(scope="module")
def papers(tmp_path_factory):
    """An authority, a server's certificate of it, and what a server needs whose certificate nobody knows."""
    authority, server, _ = certificates(tmp_path_factory.mktemp("papers"))
    _, unknown, _ = certificates(tmp_path_factory.mktemp("others"))
    return authority, server_context(server), server_context(unknown)


def test_file(tmp_path):
    """Lines in a file; the only fault of a disk that a test can have is that it is not there."""
    report = check_sink(made, File(tmp_path), inapplicable=NO_NETWORK)
    assert passed(report) == ALWAYS
    assert not states(report, "not offered")


def test_stdout():
    """A pipe, whose reader goes, or stays and does not read."""
    peer = Console()
    here = {name: why for name, why in NO_NETWORK.items() if name != "a slow peer"}
    try:
        report = check_sink(peer.make, peer, patience=8.0, inapplicable=here)
    finally:
        peer.close()
    assert passed(report) == {*ALWAYS, "a slow peer"}
    assert not states(report, "not offered")


def test_splunk_with_acknowledgement():
    """A record has arrived when the indexers say so; questions after that are no records."""
    indexers = Indexers()

    def url(scheme: str, timeout: str = "2s") -> Callable[[str], str]:
        return lambda at: f"{scheme}://:{CANARY}@{at}?ack=true&timeout={timeout}"

    peer = HttpPeer(
        url("splunk+http"), slow_url=url("splunk+http", "0.3s"), tls_url=url("splunk"), drips=True, answer=indexers.answer,
        asides=indexers.PATHS[1:],
    )  # fmt: skip
    whole = {"partial failure": "with acknowledgement a batch is taken as a whole"}
    try:
        report = check_sink(made, peer, patience=8.0, inapplicable=whole)
    finally:
        peer.stop()
    assert passed(report) == set(SINK_CHECKS) - set(whole)
    assert indexers.next  # they gave numbers
    assert not any(indexers.asked[each] > 1 for each in indexers.asked)  # and were asked until they said yes


def test_kafka(papers):
    """The broker's errors are its own; only the connection is broken from outside."""
    away = {
        "it sends once": "librdkafka tries again within the time of one request, and brokers leave out what they have",
        "429 with Retry-After": "brokers hold a client back by themselves, and name no time",
        "partial failure": "brokers take or refuse a lane's batch as a whole",
        "an answer that drips": "librdkafka's own clock covers a whole request",
    }
    cluster = Cluster()

    def behave(how: str) -> bool:
        cluster.fail(cluster.ERRORS.get(how, 0))
        return how in cluster.ERRORS or gate(how)

    try:
        with gated(
            cluster.port, "kafka://{at}/kit", cluster.read, "1s", ("kafka+tls://{at}/kit", papers[2]), cluster.change
        ) as peer:
            gate, peer.behave = peer.behave, behave
            report = check_sink(made, peer, patience=8.0, inapplicable=away)
        assert passed(report) == set(SINK_CHECKS) - set(away) - {"secrets are never shown"}
        assert states(report, "not offered") == {
            "secrets are never shown"
        }  # this broker knows no login; test_sink_kafka.py has it
    finally:
        cluster.end()


def test_redis(redis_server, papers):
    """What comes again is left out. A user of its own, so that it can be shut out."""
    import redis

    unsaid = {
        "it sends once": "what Redis refuses leaves nothing that could be counted",
        "429 with Retry-After": "Redis names no time to wait",
        "partial failure": "a batch is one script, which is run as a whole",
        "an item that is too long": "Redis takes half a gigabyte, more than a record may have",
    }
    client = redis.Redis.from_url(redis_server.replace("/0", "/9"))
    client.flushdb()

    def able(how: str) -> bool:
        client.acl_setuser("ann", enabled=how != "401", passwords=[f"+{CANARY}"], keys=["*"], categories=["+@all"])
        return how == "401"

    port = int(redis_server.partition("127.0.0.1:")[2].partition("/")[0])
    url, over = f"redis://ann:{CANARY}@{{at}}/9?stream=kit", f"rediss://ann:{CANARY}@{{at}}/9?stream=kit"
    read = lambda: [each[b"record"] for _, each in client.xrange("kit")]  # noqa: E731 - the stream as it is
    able("ok")
    try:
        with gated(port, url, read, tls=(over, papers[2]), able=able, drip=b"+") as peer:
            report = check_sink(made, peer, patience=8.0, inapplicable=unsaid)
        assert passed(report) == set(SINK_CHECKS) - set(unsaid)
    finally:
        client.acl_deluser("ann")
        client.close()


def test_postgres(postgres_server, papers):
    """As Redis does."""
    import psycopg

    unsaid = {
        "it sends once": "what PostgreSQL refuses leaves nothing that could be counted",
        "429 with Retry-After": "PostgreSQL names no time to wait",
        "partial failure": "a batch is one statement, which is run as a whole",
        "an item that is too long": "PostgreSQL takes a gigabyte, more than a record may have",
    }
    name = postgres_server.database().rpartition("/")[2]
    own = postgres_server.url(name)
    with psycopg.connect(own, autocommit=True) as reader:
        reader.execute("DROP ROLE IF EXISTS kit")
        reader.execute("CREATE ROLE kit LOGIN SUPERUSER")

        def read() -> list[bytes]:
            if not reader.execute("SELECT to_regclass('guardrail_records')").fetchone()[0]:
                return []
            return [bytes(line) for (line,) in reader.execute("SELECT line FROM guardrail_records ORDER BY lane, seq")]

        def able(how: str) -> bool:
            reader.execute(f"ALTER ROLE kit {'NO' * (how == '401')}LOGIN")
            return how == "401"

        url = f"postgresql://kit:{CANARY}@{{at}}/{name}?create=true"
        over = f"{url}&sslmode=verify-full&sslrootcert={papers[0]}"
        with gated(
            postgres_server.port, url, read, tls=(over, papers[2]), able=able, hello=says_yes, drip=b"N\x7f\xff\xff\xff"
        ) as peer:
            report = check_sink(made, peer, patience=8.0, inapplicable=unsaid)
        assert passed(report) == set(SINK_CHECKS) - set(unsaid)


def test_nats(tmp_path, papers):
    """As Redis does."""
    import nats
    from nats.js.errors import NotFoundError

    unsaid = {
        "it sends once": "what NATS refuses leaves nothing that could be counted",
        "429 with Retry-After": "NATS names no time to wait",
        "partial failure": "each record has an answer of its own; test_sink_nats.py has a batch of which one is refused",
        "an item that is too long": "the server says what it takes when it is connected to; test_sink_nats.py has it",
        "expired credentials": "test_sink_nats.py has a server that does not let us in",
    }
    server = Nats(tmp_path / "nats")
    server.start()

    async def read() -> list[bytes]:
        client = await nats.connect(f"nats://127.0.0.1:{server.port}")
        try:
            manager = client.jsm()
            last = (await manager.stream_info("KIT")).state.messages
            return [(await manager.get_msg("KIT", seq)).data for seq in range(1, last + 1)]
        except NotFoundError:
            return []
        finally:
            await client.close()

    def hello(near: socket.socket) -> None:
        near.sendall(b'INFO {"server_id":"kit","version":"2.10.0","proto":1,"tls_required":true,"max_payload":1048576}\r\n')

    try:
        url = f"nats://:{CANARY}@{{at}}/kit.records?stream=KIT&create=true"
        over = (url.replace("nats://", "nats+tls://"), papers[2])
        # its client waits out the time when it is cut off
        with gated(server.port, url, lambda: asyncio.run(read()), "1s", over, hello=hello, drip=b"INFO {") as peer:
            report = check_sink(made, peer, patience=8.0, inapplicable=unsaid)
        assert passed(report) == set(SINK_CHECKS) - set(unsaid)
    finally:
        server.end()


def test_s3(monkeypatch, papers):
    """The same batch is the same object."""
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    _, port = server.get_host_and_port()
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "id")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", CANARY)
    client = boto3.client("s3", endpoint_url=f"http://127.0.0.1:{port}", region_name="us-east-1")
    client.create_bucket(Bucket="a-bucket")

    def read() -> list[bytes]:
        keys = [each["Key"] for each in client.list_objects_v2(Bucket="a-bucket").get("Contents", [])]
        return [
            gzip.decompress(client.get_object(Bucket="a-bucket", Key=key)["Body"].read()) for key in keys if "test" not in key
        ]

    try:
        words: list[bytes] = []  # what the server's answers become

        def able(how: str) -> bool:
            said = ANSWERS.get(how)
            words[:] = [] if said is None else [b"HTTP/1.1 %s\r\nContent-Length: 0\r\nConnection: close\r\n\r\n" % said]
            return said is not None

        def change(block: bytes, _: int) -> bytes:
            asked, end = b"HTTP/1.1 100 Continue\r\n\r\n", b""
            if block.startswith(asked):  # its body is asked for, and comes
                block, end = block.removeprefix(asked), asked
            if not words or not block:
                return end + block
            return end + (words[0] if block.startswith(b"HTTP/1.1 ") else b"")

        url = f"s3://id:{CANARY}@a-bucket/kit?endpoint=http://{{at}}&region=us-east-1"
        away = {
            "partial failure": "a lane's stretch is one object",
            "it sends once": "an object that came twice is there once; test_sink_s3.py counts requests",
        }
        with gated(
            port, url, read, tls=(url.replace("http:", "https:"), papers[2]), change=change, able=able,
            drip=b"HTTP/1.1 200 OK\r\nX-Drip: ",
        ) as peer:  # fmt: skip
            report = check_sink(made, peer, patience=8.0, inapplicable=away)
        assert passed(report) == set(SINK_CHECKS) - set(away)
    finally:
        client.close()
        server.stop()


def test_syslog(papers):
    """Nothing is acknowledged: whether a server that resets or swallows has had a record, nobody can say, so that is not asked."""
    authority, server, unknown = papers
    unknowable = {
        **NO_ANSWERS, "reset in the middle": "syslog has no acknowledgement to miss", "a slow peer": "nobody is waited for",
        "expired credentials": "there are none but a certificate of our own", "secrets are never shown": "its URL holds none",
    }  # fmt: skip
    found = Syslog(server)
    url = f"syslog+tls://{{at}}?ca={authority}"
    try:
        with gated(found.port, url, found.read, tls=(url, unknown)) as peer:
            report = check_sink(made, peer, patience=8.0, inapplicable=unknowable)
        assert passed(report) == {*ALWAYS, "an unknown certificate"}
        assert not states(report, "not offered")
    finally:
        found.close()


class Mails:
    def __init__(self) -> None:
        self.got: list[bytes] = []
        self.how = "ok"

    async def handle_DATA(self, server, session, envelope):
        self.got.append(envelope.content)
        return {"413": "552 5.3.4 too long", "500": "451 4.3.0 not now"}.get(self.how, "250 OK")

    def able(self, how: str) -> bool:
        self.how = how
        return how in {"401", "413", "500"}

    def read(self) -> list[bytes]:
        """Without the moment of the try."""
        return [re.sub(rb"^Date: .*\r\n", b"", each, flags=re.MULTILINE) for each in self.got]


def test_smtp(papers):
    """A mail tells of many records, by their ids."""
    handler = Mails()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]

    def let_in(server, session, envelope, mechanism, data) -> AuthResult:
        return AuthResult(success=data.password == CANARY.encode() and handler.how != "401", handled=False)

    unsaid = {
        "429 with Retry-After": "SMTP names no time to wait",
        "partial failure": "one mail tells of a whole batch",
    }
    server = Controller(handler, hostname="127.0.0.1", port=port, authenticator=let_in, auth_require_tls=False)
    server.start()
    try:
        url = f"smtp://ann:{CANARY}@{{at}}?to=risk@bank.example&from=guardrail@bank.example"
        with gated(
            port, url, handler.read, tls=(url.replace("smtp:", "smtps:"), papers[2]), able=handler.able, drip=b"250-"
        ) as peer:
            peer.holds = lambda body, item: item.record["id"].encode() in body
            report = check_sink(made, peer, patience=8.0, inapplicable=unsaid)
        assert passed(report) == set(SINK_CHECKS) - set(unsaid)
    finally:
        server.stop()


@pytest.mark.filterwarnings("ignore:.*imghdr:DeprecationWarning")  # Apprise's own
def test_apprise():
    """Through its own JSON service, with a secret where many services have theirs: in the path."""

    def url(scheme: str, timeout: str = "2s") -> Callable[[str], str]:
        return lambda at: f"apprise:?timeout={timeout}&url={quote(f'{scheme}://ann:{CANARY}@{at}/hook/{CANARY}', safe='')}"

    peer = HttpPeer(
        url("json"), slow_url=url("json", "0.3s"), tls_url=url("jsons"), drips=True,
        holds=lambda body, item: item.record["id"].encode() in body,
    )  # fmt: skip
    words = "Apprise says yes or no of a message, and nothing more"
    away = dict.fromkeys(("429 with Retry-After", "expired credentials", "an item that is too long"), words)
    away["partial failure"] = "a batch is one message"
    try:
        report = check_sink(made, peer, patience=8.0, inapplicable=away)
    finally:
        peer.stop()
    assert passed(report) == set(SINK_CHECKS) - set(away)
    assert not states(report, "not offered")
