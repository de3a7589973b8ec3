"""Slack: one message for many records, with nothing in it of what they are about."""

from __future__ import annotations

import orjson
import pytest
from web import PRIVATE, SECRET, answer, items, made, peer

from guardrail import ConfigError
from guardrail.delivery import Item
from guardrail.delivery.sink import ok
from guardrail.delivery.sinks.slack import message


@pytest.fixture
def hook(httpserver):
    """An incoming webhook."""
    httpserver.expect_request("/services/T0/B0/xyz", method="POST").respond_with_data("ok")
    return httpserver


def url(server, webhook="/services/T0/B0/xyz") -> str:
    return f"slack+http://127.0.0.1:{server.port}?webhook={webhook}"


def text(server) -> str:
    return orjson.loads(server.log[-1][0].get_data())["text"]


def test_one_message_for_a_batch(hook):
    """Counts, kinds, guards and ids; never an input, an output, or what people wrote."""
    batch = [*items(3), *items(1, outcome="deferred", error=None), *items(1, event="mode", outcome=None, error=None)]
    assert list(made(url(hook)).send(batch)) == [ok] * 5
    assert len(hook.log) == 1
    assert text(hook).splitlines() == [
        "3 failed by loans (KeyError by retry): 0197-1 to 0197-3", "1 deferred by loans: 0197-1", "1 mode by loans: 0197-1",
    ]  # fmt: skip
    assert PRIVATE not in text(hook)


def test_nothing_in_a_message_is_a_mention_or_a_link():
    """Names are escaped as Slack asks."""
    (item,) = items(guard="<!channel> & <http://evil.example|click>\nsecond", error={"type": "<!here>", "policy": "a b"})
    assert message([item]) == "1 failed by &lt;!channel&gt; &amp; &lt;http://evil.example|click&gt; second: 0197-1"


def test_long_messages_are_cut():
    """Two hundred kinds are twenty lines, and a count of the rest."""
    batch = [each._replace(seq=n) for n in range(200) for each in items(1, guard="x" * 300 + f"{n}", id=f"0197-{n}")]
    batch = [
        Item(item.lane, item.seq, orjson.dumps({**item.record, "guard": f"{n}-" + "x" * 300})) for n, item in enumerate(batch)
    ]
    found = message(batch)
    assert len(found.splitlines()) == 21
    assert found.endswith("and 180 more of 180 other kinds")
    assert len(found) < 4000


def test_records_of_strange_shapes():
    """Whatever a line holds, a message comes out of it."""
    for line in (b"{cut", b"[]", b'{"id":7,"guard":[],"outcome":{},"event":"two words","error":{"type":1}}'):
        assert message([Item("lane-1", 3, line)]) == "1 record: lane-1/3"


def test_the_pace_is_slacks():
    """At most one message a second: a full one is followed by a second, one that is not full waits for one."""
    options = made("slack://hooks.slack.com?webhook=/services/x").__class__.OPTIONS
    assert options["linger"].default == 1.0
    assert options["rate"].default == (200, 1.0)


def test_the_whole_url_may_be_the_secret(hook, tmp_path):
    """As Slack shows it, to be pasted into a file; but of the host that the sink names."""
    (tmp_path / "slack").write_text(f"http://127.0.0.1:{hook.port}/services/T0/B0/xyz\n")
    assert list(made(url(hook, f"${{file:{tmp_path}/slack}}")).send(items())) == [ok]
    (tmp_path / "slack").write_text(f"https://evil.example/{SECRET}")
    with pytest.raises(ConfigError, match="of another host") as caught:
        made(url(hook, f"${{file:{tmp_path}/slack}}")).send(items())
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("status, body", [(404, b"no_service"), (403, b"invalid_token"), (410, b"channel_is_archived"),
                                          (400, b"no_team"), (400, b"invalid_token\n")])  # fmt: skip
def test_a_webhook_that_is_gone(status, body):
    """No record is to blame for it."""
    with peer(answer(status, body)) as other:
        found = made(f"slack+http://{other.at}?webhook=/x").send(items(2))
    assert [(each.kind, each.credentials) for each in found] == [("retry", True)] * 2


def test_the_probe(hook):
    """A message that says what it is."""
    assert made(url(hook)).probe() == "it takes a test message"
    assert text(hook) == "A test message of guardrail, for the sink out."
    with peer(answer(404, b"no_service")) as other, pytest.raises(ConfigError, match="HTTP 404"):
        made(f"slack+http://{other.at}?webhook=/x").probe()


def test_urls_that_do_not_say_which_webhook():
    """The path is a secret, so it stands in the option."""
    for each in ("slack://hooks.slack.com", "slack://hooks.slack.com/services/x", "slack://user@hooks.slack.com?webhook=/x"):
        with pytest.raises(ConfigError, match="which webhook"):
            made(each)
