"""The sink that is a Kafka topic, against librdkafka's own cluster: order of a lane, what is refused, who is not let in."""

from __future__ import annotations

import logging
import time

import pytest
from backends import CANARY, brokers, dead_port, forked, items, kinds, quickly, sink
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, TopicPartition
from gates import Cluster

from guardrail.delivery import Item
from guardrail.errors import ConfigError

__all__ = ["brokers"]


def consumed(at: str, topic: str, many: int) -> list:
    """Return the messages of a topic, of which there are so many."""
    consumer = Consumer({"bootstrap.servers": at, "group.id": topic, "auto.offset.reset": "earliest"})
    partitions = consumer.list_topics(topic, timeout=10).topics[topic].partitions
    consumer.assign([TopicPartition(topic, each, OFFSET_BEGINNING) for each in partitions])
    found: list = []
    until = time.monotonic() + 20
    while len(found) < many and time.monotonic() < until:
        message = consumer.poll(0.2)
        if message is not None and message.error() is None:
            found.append(message)
    consumer.close()
    return found


def test_records_arrive_in_the_order_of_their_lane(brokers):
    """The lane is the key, so that one partition has all of it; the id is a header, by which duplicates are told."""
    found = sink(f"kafka://{brokers.at}/audit")
    batch = items(20) + items(5, "b")
    assert kinds(found.send(batch)) == ["ok"] * 25
    got = consumed(brokers.at, "audit", 25)
    for lane in {each.lane for each in batch}:
        of_lane = [message for message in got if message.key() == lane.encode()]
        assert [message.value() for message in of_lane] == [each.line for each in batch if each.lane == lane]
        assert len({message.partition() for message in of_lane}) == 1
    assert dict(got[0].headers())["kind"] == b"answered"
    assert {dict(message.headers())["id"].decode() for message in got} == {each.id for each in batch}
    assert "takes a test record" in found.probe()
    found.close()


def test_what_is_too_long_is_refused_and_the_rest_arrives(brokers):
    """One message of a batch is refused; the others arrive."""
    found = sink(f"kafka://{brokers.at}/long")
    long = Item("a", 2, b'{"seq":2,"x":"' + b"x" * 1_100_000 + b'"}')
    assert kinds(found.send([*items(1), long, *items(1, first=3)])) == ["ok", "reject", "ok"]
    assert len(consumed(brokers.at, "long", 2)) == 2
    found.close()


@pytest.mark.parametrize(("alone", "kind"), [(True, "reject"), (False, "retry")])
def test_a_broker_that_refuses_a_batch_refuses_no_message_of_it(alone, kind):
    """A topic may take less than we pack together: in smaller batches each may fit. Only what is alone is too long itself."""
    found = sink("kafka://localhost/audit")
    assert found._result(KafkaError(KafkaError.MSG_SIZE_TOO_LARGE), alone=alone).kind == kind


def test_brokers_that_are_away_are_told_in_time(caplog, capfd):
    """The password in no text, and nothing in the application's log or output."""
    found = sink(f"kafka://u:{CANARY}@127.0.0.1:{dead_port()}/audit?timeout=0.5s")
    with caplog.at_level(logging.DEBUG):
        results = quickly(found)
    assert kinds(results) == ["retry"] * 2
    with pytest.raises(OSError, match="Kafka"):
        found.probe()
    found.close()
    assert CANARY not in repr(results) + repr(vars(found))
    assert (caplog.text, *capfd.readouterr()) == ("", "", "")


def test_brokers_that_fall_silent_and_come_back(brokers):
    """What was not confirmed is sent again by the same object, and everything is there in the end."""
    found = sink(f"kafka://{brokers.at}/silent?timeout=2s")
    until = time.monotonic() + 20
    while kinds(found.send(items(1))) != ["ok"]:  # a busy machine may take longer than two seconds to begin
        assert time.monotonic() < until
    with brokers.stopped():
        assert kinds(quickly(found, items(2, first=2), seconds=6.0)) == ["retry"] * 2
    until = time.monotonic() + 20
    while set(kinds(found.send(items(2, first=2)))) != {"ok"}:
        assert time.monotonic() < until
    got = [dict(message.headers())["id"].decode() for message in consumed(brokers.at, "silent", 3)]
    assert list(dict.fromkeys(got)) == [each.id for each in items(3)]
    found.close()


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-512"])
def test_who_is_not_let_in_is_told_from_brokers_that_are_away(brokers, mechanism, caplog, capfd):
    """The messages themselves only tell that they waited too long. This cluster knows no login, and so lets none in."""
    found = sink(f"kafka://u:{CANARY}@{brokers.at.split(',')[0]}/audit?timeout=0.5s&sasl={mechanism}")
    with caplog.at_level(logging.DEBUG):
        (result,) = found.send(items(1))
    assert (result.kind, result.credentials) == ("retry", True)
    found.close()
    assert CANARY not in repr(result) + caplog.text + "".join(capfd.readouterr())


def test_an_authority_that_is_not_there_is_told(capfd):
    """In our words: librdkafka's quote its settings."""
    found = sink(f"kafka+tls://u:{CANARY}@localhost:{dead_port()}/audit?ca=/no/such/file&timeout=0.5s")
    with pytest.raises(ConfigError, match="ca=") as caught:
        found.send(items(1))
    assert CANARY not in f"{caught.value}{caught.value!r}{''.join(capfd.readouterr())}"
    assert caught.value.__suppress_context__


def test_a_forked_child_leaves_the_producer_to_its_parent(brokers):
    """Its threads are not there in the child, which must wait for none of them."""
    found = sink(f"kafka://{brokers.at}/forked")
    assert kinds(found.send(items(1))) == ["ok"]
    forked(found)
    assert kinds(found.send(items(1, first=2))) == ["ok"]
    found.close()


@pytest.mark.parametrize(
    "url",
    ["kafka://h", "kafka://h/a/b", "kafka://u:hunter2@h/t", "kafka+tls://:hunter2@h/t", "kafka+tls://hunter2@h/t", "kafka://h/t?compression=rar",
     "kafka+tls://u:hunter2@h/t?sasl=GSSAPI"],
)  # fmt: skip
def test_a_url_that_says_too_little_or_tells_too_much_is_refused(url):
    """When the settings are read; the URL is not repeated."""
    with pytest.raises(ConfigError, match="GUARDRAIL_SINK_OUT") as caught:
        sink(url)
    assert "hunter2" not in str(caught.value)


def test_what_a_broker_refuses_is_told_of_that_message():
    """A refusal is fatal for the producer; the word on the message is heard all the same, and the next batch goes out."""
    cluster = Cluster()
    found = sink(f"kafka://{cluster.at}/kit?timeout=2s")
    try:
        for code, told in ((10, ("reject", False)), (29, ("retry", True)), (31, ("retry", True))):
            assert kinds(found.send(items(1))) == ["ok"]
            cluster.fail(code)
            (result,) = found.send(items(1, first=2))
            assert (result.kind, result.credentials) == told
            assert {each.kind for each in found.send(items(2, first=2))} == {"retry"}
            cluster.fail(0)
            assert kinds(found.send(items(2, first=2))) == ["ok"] * 2
    finally:
        found.close()
        cluster.end()
