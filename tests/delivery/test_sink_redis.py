"""The sink that is a Redis stream: exact bytes, in order, each once whenever it comes; nothing waits for ever."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest
import redis
from backends import CANARY, LANE, dead_port, forked, items, kinds, quickly, sink, tls_front
from tests.servers import Proxy
from web import certificates, server_context

from guardrail import notices
from guardrail.errors import ConfigError


@pytest.fixture
def stream(redis_server):
    url = redis_server.replace("/0", "/8")
    client = redis.Redis.from_url(url)
    client.flushdb()
    yield url, client
    client.close()


def entries(client, key: str = "guardrail") -> list[tuple[str, bytes]]:
    return [(entry[b"id"].decode(), entry[b"record"]) for _, entry in client.xrange(key)]


def test_each_record_is_appended_once(stream):
    """In order, with its id; what a second try brings again is left out, also after others came. The probe stays apart."""
    url, client = stream
    found = sink(f"{url}?stream=audit")
    batch = items(3) + items(2, "b")
    assert kinds(found.send(batch)) == ["ok"] * 5
    assert kinds(found.send(batch + items(1, first=4))) == ["ok"] * 6
    assert entries(client, "audit") == [(each.id, each.line) for each in [*batch, *items(1, first=4)]]
    assert client.xrange("audit")[0][1][b"kind"] == b"answered"
    assert "takes a test record" in found.probe()
    assert client.xlen("audit") == 6
    found.close()


def test_a_record_that_comes_late_is_appended_too(stream):
    """One that was set aside and is sent after those behind it, as a dead letter is, did not arrive before: nothing is lost."""
    url, client = stream
    found = sink(url)
    first, second, third = items(3)
    for batch in ([first, third], [second], [first, second, third]):
        assert set(kinds(found.send(batch))) == {"ok"}
    assert entries(client) == [(each.id, each.line) for each in (first, third, second)]
    found.close()


def test_what_is_there_is_noted_in_a_bit_for_some_days(stream):
    """Whatever the numbers are, at the bounds of a key as well; the notes of a lane that is done with go by themselves."""
    url, client = stream
    found = sink(url)
    batch = items(2, first=2**20 - 1) + items(1, first=2**20 + 1) + items(1, first=2**40)
    for _ in range(2):
        assert kinds(found.send(batch)) == ["ok"] * 4
    assert [name for name, _ in entries(client)] == [f"{LANE}/{seq}" for seq in (2**20 - 1, 2**20, 2**20 + 1, 2**40)]
    notes = sorted(client.keys("{guardrail}:delivered:*"))
    assert notes == [f"{{guardrail}}:delivered:{LANE}:{page}".encode() for page in (0, 1, 2**20)]
    assert all(6 * 86_400 < client.ttl(each) <= 7 * 86_400 for each in notes)
    assert max(client.strlen(each) for each in notes) == 2**17
    found.close()


def test_it_keeps_no_more_than_it_is_told(stream):
    """The stream's length is bounded, about."""
    url, client = stream
    found = sink(f"{url}?maxlen=100")
    for first in range(1, 1_001, 100):
        found.send(items(100, first=first))
    assert 100 <= client.xlen("guardrail") < 500
    found.close()


def test_a_key_of_another_kind_is_told(stream):
    """Nothing is noted as there that is not."""
    url, client = stream
    client.set("guardrail", "something")
    found = sink(url)
    assert {(each.kind, each.reason) for each in found.send(items(2))} == {
        ("retry", "its key holds something else than a stream")
    }
    client.delete("guardrail")
    assert kinds(found.send(items(2))) == ["ok"] * 2
    assert client.xlen("guardrail") == 2
    found.close()


def test_a_server_that_is_away_or_silent_is_told_in_time(stream):
    """Where nothing listens, and where a network swallows everything in the middle; then the same object goes on, without duplicates."""
    url, client = stream
    away = sink(f"redis://:{CANARY}@127.0.0.1:{dead_port()}/0?timeout=1s")
    results = quickly(away)
    assert {(each.kind, each.reason) for each in results} == {("retry", "it refuses the connection")}
    assert CANARY not in repr(results) + repr(vars(away))
    with pytest.raises(OSError, match="refuses the connection"):
        away.probe()
    proxy = Proxy(urlsplit(url).port)
    found = sink(f"redis://127.0.0.1:{proxy.port}/8?timeout=0.3s")
    assert kinds(found.send(items(1))) == ["ok"]
    proxy.flowing.clear()
    results = quickly(found, seconds=3.0)
    assert {(each.kind, each.reason) for each in results} == {("retry", "it did not answer in time")}
    proxy.flowing.set()
    assert kinds(found.send(items(2))) == ["ok"] * 2
    assert len(entries(client)) == 2
    found.close()
    proxy.close()


def test_who_is_not_let_in_is_told_from_a_server_that_is_away(stream):
    """No password, a wrong one, and a user who may not; the same object goes on when it may."""
    url, client = stream
    client.config_set("requirepass", "right")
    try:
        found = sink(url)
        wrong = sink(url.replace("redis://", f"redis://:{CANARY}@"))
        client.execute_command("ACL", "SETUSER", "reader", "on", f">{CANARY}", "~*", "+@read")
        client.execute_command("ACL", "SETUSER", "no-adder", "on", f">{CANARY}", "~*", "+@all", "-xadd")
        users = [sink(url.replace("redis://", f"redis://{name}:{CANARY}@")) for name in ("reader", "no-adder")]
        for each in (found, wrong, *users):
            (result,) = each.send(items(1))
            assert (result.kind, result.credentials) == ("retry", True)
            assert CANARY not in repr(result) + repr(vars(each))
            each.close()
    finally:
        client.execute_command("AUTH", "right")
        client.execute_command("ACL", "DELUSER", "reader", "no-adder")
        client.config_set("requirepass", "")
    assert kinds(found.send(items(1))) == ["ok"]
    found.close()


def test_over_tls_the_server_proves_itself(stream, tmp_path):
    """By the authority that the operator names, and by its name; without proof nothing is sent, unless that is asked for."""
    url, client = stream
    authority, server, _ = certificates(tmp_path)
    with tls_front(urlsplit(url).port, server_context(server)) as port:
        for host, more in (("127.0.0.1", ""), ("localhost", f"&ca={authority}")):
            unproven = sink(f"rediss://{host}:{port}/8?timeout=2s{more}")
            (result,) = unproven.send(items(1))
            assert (result.kind, result.credentials) == ("retry", False)
            assert not client.exists("guardrail")
        proven = sink(f"rediss://127.0.0.1:{port}/8?timeout=2s&ca={authority}")
        assert kinds(proven.send(items(1))) == ["ok"]
        assert not [topic for _, topic in notices.counts() if topic.startswith("insecure")]
        careless = sink(f"rediss://localhost:{port}/8?timeout=2s&insecure=true")
        assert kinds(careless.send(items(2))) == ["ok"] * 2
        assert "certificate" in notices.counts()[None, "insecure-GUARDRAIL_SINK_OUT"][1]
        for each in (proven, careless):
            each.close()
    assert len(entries(client)) == 2


def test_a_forked_child_leaves_the_connection_to_its_parent(stream):
    """And the parent goes on at once."""
    url, client = stream
    found = sink(url)
    assert kinds(found.send(items(1))) == ["ok"]
    forked(found)
    assert kinds(found.send(items(2))) == ["ok"] * 2
    assert client.xlen("guardrail") == 2
    found.close()


@pytest.mark.parametrize(
    "url",
    [
        "redis://",
        "redis://g:1,h:2/0",
        "redis://h/x",
        "redis://h/0?stream=a b",
        "redis://h/0?maxlen=0",
        "redis://:hunter2@h/0",
        "redis://u:hunter2@10.0.0.1/0",
    ],
)
def test_a_url_that_says_too_little_or_tells_too_much_is_refused(url):
    """When the settings are read: a password does not travel in plain text."""
    with pytest.raises(ConfigError, match="GUARDRAIL_SINK_OUT") as caught:
        sink(url)
    assert "hunter2" not in str(caught.value)
