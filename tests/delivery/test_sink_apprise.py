"""Apprise against its own JSON service: what is told, and that its URL, which is a secret, is in no line."""

from __future__ import annotations

import logging
import threading
import time
from urllib.parse import quote

import pytest
from messages import CANARY, items, kinds, sink
from werkzeug import Request, Response

from guardrail.errors import ConfigError


@pytest.mark.filterwarnings("ignore:.*imghdr:DeprecationWarning")  # Apprise's own
def test_apprise_tells_people(httpserver, caplog, capfd):
    """Through its own JSON service; False is tried again, and its URL is in no line that is logged."""
    httpserver.expect_request("/hook").respond_with_json({})
    url = (
        f"json://ann:{CANARY}@{httpserver.host}:{httpserver.port}/hook".replace(":", "%3A")
        .replace("@", "%40")
        .replace("/", "%2F")
    )
    found = sink(f"apprise:?url={url}")
    with caplog.at_level(logging.DEBUG):
        assert kinds(found.send(items(2))) == ["ok"] * 2
        request, _ = httpserver.log[0]
        assert request.json["title"] == "guardrail: 2 refused"
        assert request.json["type"] == "warning"
        assert "01a2-1" in request.json["message"]
        assert "measles" not in request.get_data(as_text=True)
        assert "takes a test message" in found.probe()
        httpserver.clear()
        httpserver.expect_request("/hook").respond_with_data("no", status=500)
        results = found.send(items(2))
        assert kinds(results) == ["retry"] * 2
    out, problem = capfd.readouterr()
    assert CANARY not in caplog.text + out + problem + repr(results) + repr(vars(found))


@pytest.mark.filterwarnings("ignore:.*imghdr:DeprecationWarning")
def test_apprise_without_a_url_that_it_knows(monkeypatch):
    """Told without the URL."""
    found = sink(f"apprise:?url=nosuch%3A%2F%2F{CANARY}")
    with pytest.raises(ConfigError, match="no URL that Apprise knows") as caught:
        found.send(items(1))
    assert CANARY not in str(caught.value)


def service(httpserver, path: str, more: str = "") -> str:
    return "apprise:?url=" + quote(f"json://{httpserver.host}:{httpserver.port}{path}", safe="") + more


@pytest.mark.filterwarnings("ignore:.*imghdr:DeprecationWarning")
def test_nothing_below_apprise_logs_a_path_that_is_a_secret(httpserver, caplog, capfd):
    """As the library for HTTP does; what others log meanwhile is kept."""
    caplog.set_level(1)
    others = threading.Thread(target=lambda: None)

    def answer(_: Request) -> Response:
        nonlocal others
        others = threading.Thread(target=logging.getLogger("urllib3.connectionpool").warning, args=("somebody else's",))
        others.start()
        others.join()
        return Response("{}")

    httpserver.expect_request(f"/services/{CANARY}").respond_with_handler(answer)
    found = sink(service(httpserver, f"/services/{CANARY}"))
    assert kinds(found.send(items(1))) == ["ok"]
    httpserver.clear()
    assert kinds(found.send(items(1))) == ["retry"]  # 500: nobody expects it
    httpserver.stop()
    assert kinds(found.send(items(1))) == ["retry"]
    httpserver.start()
    out, problem = capfd.readouterr()
    # The server's own lines are not ours: it logs in this process.
    ours = [line for line in caplog.text.splitlines() if "werkzeug" not in line]
    assert CANARY not in "\n".join(ours) + out + problem
    assert "somebody else's" in caplog.text
    logging.getLogger("apprise").warning("said by the application")
    assert "said by the application" in caplog.text


@pytest.mark.filterwarnings("ignore:.*imghdr:DeprecationWarning")
def test_a_service_that_does_not_answer_is_left_in_time(httpserver):
    """In the sink's own, not in Apprise's."""
    over = threading.Event()

    def answer(_: Request) -> Response:
        over.wait(20)
        return Response("{}")

    httpserver.expect_request("/hook").respond_with_handler(answer)
    begun = time.monotonic()
    assert kinds(sink(service(httpserver, "/hook", "&timeout=0.2s")).send(items(1))) == ["retry"]
    took = time.monotonic() - begun
    over.set()
    assert took < 3  # Apprise's own would be 4
    while not httpserver.log:  # the late answer belongs to this test, not to the next one's log
        time.sleep(0.01)


@pytest.mark.filterwarnings("ignore:.*imghdr:DeprecationWarning")
def test_two_services_are_two_sinks(httpserver):
    """Otherwise the one that works would get a message again as long as the other fails."""
    url = service(httpserver, "/first-of-two") + quote(f", json://{httpserver.host}:{httpserver.port}/{CANARY}", safe="")
    with pytest.raises(ConfigError, match="more than one URL") as caught:
        sink(url).send(items(1))
    assert CANARY not in str(caught.value)
    # Only what came to these two: a message that another test gave up may reach the server late.
    assert not {request.path for request, _ in httpserver.log} & {"/first-of-two", f"/{CANARY}"}


@pytest.mark.filterwarnings("ignore:.*imghdr:DeprecationWarning")
def test_a_probe_that_fails_says_so(httpserver):
    """Without the URL; a secret that is not there is told at once."""
    with pytest.raises(ConfigError, match="did not take the message") as caught:
        sink(service(httpserver, f"/{CANARY}")).probe()
    assert CANARY not in str(caught.value)
    with pytest.raises(ConfigError, match="not set"):
        sink("apprise:?url=${env:NO_SUCH_VARIABLE}").probe()


@pytest.mark.filterwarnings("ignore:.*imghdr:DeprecationWarning")
@pytest.mark.parametrize(
    ("outcomes", "kind"), [(["ok"], "info"), (["ok", "stale"], "warning"), (["stale", "failed", "ok"], "failure")]
)
def test_a_message_is_as_bad_as_its_worst_record(httpserver, outcomes, kind):
    """Whatever stands before and behind it."""
    httpserver.expect_request("/hook").respond_with_json({})
    batch = [items(1, first=at, outcome=outcome)[0] for at, outcome in enumerate(outcomes)]
    assert kinds(sink(service(httpserver, "/hook")).send(batch)) == ["ok"] * len(batch)
    assert httpserver.log[0][0].json["type"] == kind


def test_an_empty_batch_is_nothing():
    """Apprise is not even imported."""
    assert sink("apprise:?url=nosuch%3A").send([]) == []


@pytest.mark.parametrize("url", ["apprise:", "apprise://h?url=x"])
def test_a_url_that_says_too_little_is_refused_at_the_start(url):
    """Before the first record."""
    with pytest.raises(ConfigError, match="GUARDRAIL_SINK_OUT"):
        sink(url)
