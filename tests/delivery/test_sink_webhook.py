"""Webhooks: signed as Standard Webhooks has it, the same id and body on every try."""

from __future__ import annotations

import base64
import gzip
import hashlib
import hmac

import orjson
import pytest
from web import answer, items, made, peer
from werkzeug import Request, Response

from guardrail import ConfigError, clock, notices
from guardrail.delivery import Item
from guardrail.delivery.sink import ok
from guardrail.delivery.sinks.webhook import identity, signature, signing_key

KEY = "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"  # the one of the specification's example


def verified(request: Request, key: bytes) -> bool:
    """Check a request as the specification tells receivers to: not by our code."""
    name, moment = request.headers["webhook-id"], request.headers["webhook-timestamp"]
    if abs(int(moment) - clock.wall()) > 300:
        return False
    signed = b".".join([name.encode(), moment.encode(), request.get_data()])
    expected = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    versions = [each.split(",", 1) for each in request.headers["webhook-signature"].split(" ")]
    return any(version == "v1" and hmac.compare_digest(given, expected) for version, given in versions)


@pytest.fixture
def hook(httpserver):
    """A receiver that keeps what it is sent."""
    seen: list[Request] = []

    def take(request: Request) -> Response:
        request.get_data()
        seen.append(request)
        return Response(status=204)

    httpserver.expect_request("/in").respond_with_handler(take)
    return f"webhook+http://127.0.0.1:{httpserver.port}/in", seen


def test_the_example_of_the_specification():
    """The published vector: id, timestamp and body under the published key."""
    key = signing_key(f"whsec_{KEY}", "x")
    found = signature(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", b'{"test": 2432232314}')
    assert found == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@pytest.mark.parametrize("secret, key", [(f"whsec_{KEY}", base64.b64decode(KEY)), ("any text", b"any text")])
def test_a_record_is_signed_and_is_the_line_as_stored(hook, secret, key):
    """One request for each record: its own bytes, its own id, a signature that a receiver can check."""
    url, seen = hook
    out = made(f"{url}?secret={secret.replace(' ', '%20')}")
    assert out.caps.items == 1
    (item,) = items()
    assert list(out.send([item])) == [ok]
    (request,) = seen
    assert request.get_data() == item.line
    assert request.headers["webhook-id"] == "lane-1/1" == item.id
    assert request.headers["Content-Type"] == "application/json"
    assert verified(request, key)
    assert not verified(request, b"another key")


def test_another_try_is_the_same_but_for_its_time(hook, monkeypatch):
    """Receivers tell duplicates by the id, and refuse what is old: so a later try has the time of that try."""
    url, seen = hook
    out = made(f"{url}?secret=whsec_{KEY}")
    for moment in (1767323045.9, 1767326645.1):
        monkeypatch.setattr(clock, "wall", lambda moment=moment: moment)
        out.send(items())
        assert verified(seen[-1], base64.b64decode(KEY))
    one, two = seen
    assert one.get_data() == two.get_data()
    assert one.headers["webhook-id"] == two.headers["webhook-id"]
    assert (one.headers["webhook-timestamp"], two.headers["webhook-timestamp"]) == ("1767323045", "1767326645")


@pytest.mark.parametrize("form, kind", [("json", "application/json"), ("ndjson", "application/x-ndjson")])
def test_batches(hook, form, kind):
    """A batch is one request, under an id that no other batch has."""
    url, seen = hook
    out = made(f"{url}?format={form}&gzip=true")
    batch = items(3)
    assert list(out.send(batch)) == [ok] * 3
    (request,) = seen
    body = gzip.decompress(request.get_data())
    assert request.headers["Content-Type"] == kind
    assert "webhook-signature" not in request.headers
    assert [orjson.loads(item.line) for item in batch] == (
        orjson.loads(body) if form == "json" else [orjson.loads(line) for line in body.splitlines()]
    )
    assert request.headers["webhook-id"] == identity(batch)


def test_the_signature_of_a_compressed_request_is_over_what_is_inside(hook):
    """A receiver's server unpacks first."""
    url, seen = hook
    out = made(f"{url}?secret=x&gzip=true")
    out.send(items())
    (request,) = seen
    request._cached_data = gzip.decompress(request.get_data())
    assert verified(request, b"x")


def test_ids_of_batches():
    """The same records have the same id; others between the same ends have another: they are no duplicate."""
    one, two, three = items(3)
    assert identity([one, two, three]) == identity([one, two, three])
    assert len({identity(each) for each in ([one, two, three], [one, three], [two, three], [one], [one, two])}) == 5
    assert identity([one]) == one.id
    assert "." not in identity([one, three])  # the signature puts full stops between


def test_who_we_are_and_the_receivers_own_query(httpserver):
    """A token, or user and password; and what the receiver's URL has behind its question mark."""
    for url, expected in (
        ("webhook+http://{}/in?token=abc&query=%3Fsig%3Dx%2526y%26v%3D2", "Bearer abc"),
        ("webhook+http://us:p%40ss@{}/in?query=sig%3Dx%2526y%26v%3D2", "Basic " + base64.b64encode(b"us:p@ss").decode()),
    ):
        httpserver.expect_oneshot_request(
            "/in", query_string="sig=x%26y&v=2", headers={"Authorization": expected}
        ).respond_with_data()
        assert list(made(url.format(f"127.0.0.1:{httpserver.port}")).send(items())) == [ok]
    httpserver.check_assertions()
    with pytest.raises(ConfigError, match="a token and a password"):
        made("webhook://us:pass@h/in?token=abc")


def test_a_receiver_that_wants_no_more():
    """410: nothing is lost, the sink waits, and the operator is told."""
    with peer(answer(410)) as other:
        (result,) = made(f"webhook+http://{other.at}/in").send(items())
    assert (result.kind, result.credentials) == ("retry", True)
    assert "wants no more" in notices.counts()[None, "sink-out-gone"][1]


def test_a_secret_that_is_none():
    """What follows whsec_ must be base64; the error does not repeat it."""
    for secret in ("whsec_not*base64", "whsec_"):
        with pytest.raises(ConfigError, match="not base64") as caught:
            made(f"webhook+http://127.0.0.1:1/?secret={secret}").send(items())
        assert "not*" not in str(caught.value)


def test_a_line_that_somebody_has_changed(hook):
    """It is passed on: whoever watches should see it. In an array it is a text."""
    url, seen = hook
    broken = Item("lane-1", 9, b'{"cut \xff')
    assert list(made(f"{url}?format=json").send([*items(), broken])) == [ok, ok]
    assert orjson.loads(seen[0].get_data())[1] == '{"cut \ufffd'


def test_the_probe(hook):
    """A labelled record goes round."""
    url, seen = hook
    assert made(f"{url}?secret=x").probe() == "it takes a test record"
    assert orjson.loads(seen[0].get_data())["event"] == "test"
    assert verified(seen[0], b"x")
    with peer(answer(500)) as other, pytest.raises(ConfigError, match="GUARDRAIL_SINK_OUT: HTTP 500"):
        made(f"webhook+http://{other.at}/in").probe()
