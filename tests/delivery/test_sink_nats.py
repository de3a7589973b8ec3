"""The sink that is a NATS stream, against a real server: exact bytes, in order, once; away and back; not let in; over TLS."""

from __future__ import annotations

import asyncio
import logging

import nats
import pytest
from backends import CANARY, forked, items, kinds, nats_server, quickly, sink
from web import certificates

from guardrail import notices
from guardrail.delivery import Item
from guardrail.errors import ConfigError

__all__ = ["nats_server"]


def ask(port: int, how, stream: str = "AUDIT"):
    """Return what the manager of streams says."""

    async def asked():
        client = await nats.connect(f"nats://127.0.0.1:{port}")
        try:
            return await how(client.jsm(), stream)
        finally:
            await client.close()

    return asyncio.run(asked())


def stored(port: int) -> list[tuple[str, bytes]]:
    """Return id and content of each message of the stream."""

    async def read(manager, stream: str) -> list[tuple[str, bytes]]:
        last = (await manager.stream_info(stream)).state.last_seq
        messages = [await manager.get_msg(stream, seq) for seq in range(1, last + 1)]
        return [(message.headers["Nats-Msg-Id"], message.data) for message in messages]

    return ask(port, read)


def url(server, more: str = "", user: str = "") -> str:
    return f"nats://{user}127.0.0.1:{server.port}/audit.records?stream=AUDIT&create=true{more}"


def test_each_record_is_published_once(nats_server):
    """In order, with an id by which the stream leaves out what comes again, also after others came."""
    found = sink(url(nats_server))
    batch = items(20)
    assert kinds(found.send(batch)) == ["ok"] * 20
    assert kinds(found.send(batch + items(1, first=21))) == ["ok"] * 21
    assert stored(nats_server.port) == [(each.id, each.line) for each in batch + items(1, first=21)]
    assert "takes a test record" in found.probe()
    found.close()


def test_a_stream_of_ours_knows_duplicates_for_longer_than_we_pause(nats_server):
    """Two tries are up to five minutes apart, and a server's own window is two."""
    found = sink(url(nats_server))
    assert kinds(found.send(items(1))) == ["ok"]
    found.close()
    assert ask(nats_server.port, lambda manager, stream: manager.stream_info(stream)).config.duplicate_window == 900.0


def test_what_is_too_long_is_refused_and_the_rest_arrives(nats_server):
    """One message of a batch is refused; the others arrive."""
    found = sink(url(nats_server))
    long = Item("a", 2, b'{"seq":2,"x":"' + b"x" * 1_100_000 + b'"}')
    batch = [*items(1), long, *items(1, first=3)]
    assert kinds(found.send(batch)) == ["ok", "reject", "ok"]
    assert stored(nats_server.port) == [(each.id, each.line) for each in (batch[0], batch[2])]
    found.close()


def test_without_a_stream_it_says_what_to_do(nats_server):
    """Without one nobody would keep it: neither the records nor the probe's."""
    found = sink(f"nats://127.0.0.1:{nats_server.port}/nowhere?timeout=2s")
    (result,) = found.send(items(1))
    assert result.kind == "retry"
    assert "create=true" in result.reason
    with pytest.raises(OSError, match="create=true"):
        found.probe()
    found.close()


def test_a_server_that_dies_and_comes_back(nats_server, caplog, capfd):
    """It is noticed in time, and the same object goes on; the token in no text, and nothing in the application's log or output."""
    found = sink(url(nats_server, "&timeout=2s", f":{CANARY}@"))
    with caplog.at_level(logging.DEBUG, "nats"):
        assert kinds(found.send(items(1))) == ["ok"]
        nats_server.end()
        results = quickly(found)
        assert kinds(results) == ["retry"] * 2
        nats_server.start()
        assert kinds(found.send(items(2))) == ["ok"] * 2
    assert len(stored(nats_server.port)) == 2
    found.close()
    assert CANARY not in repr(results) + repr(vars(found)) + caplog.text + "".join(capfd.readouterr())


def test_a_server_that_falls_silent_holds_up_nobody(nats_server):
    """What was not acknowledged is sent again, and stands there once."""
    found = sink(url(nats_server, "&timeout=2s"))  # which a busy machine may take to connect
    assert kinds(found.send(items(1))) == ["ok"]
    with nats_server.stopped():
        results = quickly(found, items(3), seconds=8.0)
    assert {(each.kind, each.reason) for each in results} == {("retry", "it did not answer in time")}
    assert kinds(found.send(items(3))) == ["ok"] * 3
    assert len(stored(nats_server.port)) == 3
    found.close()


def test_who_is_not_let_in_is_told_from_a_server_that_is_away(nats_server, tmp_path):
    """No secret, a wrong one, and a user who may not publish: the message itself only gets no answer."""
    nats_server.end()
    rules = tmp_path / "rules"
    publish = '["other.>", "$JS.API.>"]'
    rules.write_text(
        f"authorization {{ users = [{{user: ann, password: {CANARY}}}, {{user: bob, password: {CANARY}, permissions: {{publish: {publish}}}}}] }}"
    )
    nats_server.start("-c", str(rules))
    right = sink(url(nats_server, "", f"ann:{CANARY}@"))
    assert kinds(right.send(items(1))) == ["ok"]
    for user in ("", "ann:wrong@", f"bob:{CANARY}@"):
        found = sink(url(nats_server, "&timeout=0.5s", user))
        (result,) = found.send(items(1, first=2))
        assert (result.kind, result.credentials, result.reason) == ("retry", True, "it does not let us in")
        assert CANARY not in repr(vars(found))
        found.close()
    right.close()


def test_over_tls_the_server_proves_itself(nats_server, tmp_path):
    """By the authority that the operator names; without proof nothing is sent, unless that is asked for."""
    authority, server, _ = certificates(tmp_path)
    nats_server.end()
    nats_server.start("--tls", "--tlscert", str(server), "--tlskey", str(server))
    secure = url(nats_server, "&timeout=2s", f":{CANARY}@").replace("nats://", "nats+tls://")
    for more in ("", "&ca=/no/such/file"):
        unproven = sink(secure + more)
        (result,) = unproven.send(items(1))
        assert (result.kind, result.credentials) == ("retry", bool(more))  # a file of ours is read again, as a secret is
        unproven.close()
    for more in (f"&ca={authority}", "&insecure=true"):
        found = sink(secure + more)
        assert kinds(found.send(items(1))) == ["ok"]
        found.close()
    assert "certificate" in notices.counts()[None, "insecure-GUARDRAIL_SINK_OUT"][1]


def test_it_says_once_that_an_acknowledgement_is_no_promise_of_the_disk(nats_server):
    """What the server's defaults are."""
    found = sink(url(nats_server))
    for first in (1, 2):
        assert kinds(found.send(items(1, first=first))) == ["ok"]
    found.close()
    many, text = notices.counts()[None, "sink-out-sync"]
    assert many == 1
    assert "sync_interval" in text


def test_a_forked_child_leaves_the_connection_to_its_parent(nats_server):
    """And may send by one of its own."""
    found = sink(url(nats_server, "&timeout=3s"))
    assert kinds(found.send(items(1))) == ["ok"]
    forked(found)
    assert kinds(quickly(found, items(1, first=2), seconds=2.0)) == ["ok"]
    found.close()


@pytest.mark.parametrize(
    "words", ["nats://h", "nats://g:1,h:2/s", "nats://h/a b", "nats://:hunter2@h/s", "nats://h/s?create=true", "nats://h/s.*"]
)
def test_a_url_that_says_too_little_or_tells_too_much_is_refused(words):
    """When the settings are read; the URL is not repeated."""
    with pytest.raises(ConfigError, match="GUARDRAIL_SINK_OUT") as caught:
        sink(words)
    assert "hunter2" not in str(caught.value)
