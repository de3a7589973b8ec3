"""Load over HTTP, against a real server of this machine."""

from __future__ import annotations

import json
import py_compile
import subprocess
import sys
import time

import pytest
from werkzeug import Response

from guardrail.errors import ConfigError
from guardrail.load import http, locust_file
from guardrail.load.http import Endpoint
from guardrail.load.runner import Runner
from guardrail.load.schedule import Step, even


def load(url, *steps, item=lambda _: {"x": 1}, method="POST", headers=None, timeout=5.0):
    target = Endpoint(url, method=method, headers=headers or {}, timeout=timeout)
    return Runner(target, item, gaps=even, in_flight=100, drain=5, budget=1).run(list(steps))


def test_rows_are_bodies_and_answers_are_outcomes(httpserver):
    """Bodies as JSON with the headers given; each status is what it stands for; stages are those of Server-Timing."""
    statuses = iter([200, 202, 422, 504, 503, 500, 302, 200])
    seen = []

    def answer(request):
        seen.append((request.get_json(), request.headers["Authorization"], request.headers["User-Agent"]))
        return Response(
            "{}", next(statuses), headers={"Server-Timing": 'db;desc="a, b";dur=53.5, model;dur=4, total;dur=60, hit'}
        )

    httpserver.expect_request("/predict", method="POST").respond_with_handler(answer)
    (tally,) = load(httpserver.url_for("/predict"), Step(40, 40, 0.2, workers=1), headers={"Authorization": "Bearer hunter2"})
    assert tally.outcomes == {"answered": 3, "deferred": 1, "refused": 2, "late": 1, "failed": 1}
    assert tally.errors == {
        "422 UNPROCESSABLE ENTITY": 1,
        "504 GATEWAY TIMEOUT": 1,
        "503 SERVICE UNAVAILABLE": 1,
        "500 INTERNAL SERVER ERROR": 1,
    }
    assert seen == [({"x": 1}, "Bearer hunter2", "guardrail-load")] * 8
    assert tally.stages["db"].all.sum == pytest.approx(8 * 0.0535)
    assert "total" not in tally.stages


def test_a_row_may_be_a_query(httpserver):
    """With GET it has no body."""
    httpserver.expect_request("/predict", method="GET", query_string="x=1").respond_with_data("{}")
    (tally,) = load(httpserver.url_for("/predict"), Step(20, 20, 0.1), method="get")
    assert tally.outcomes == {"answered": 2}


def test_nobody_there_and_nobody_answering(httpserver):
    """The first is failed, the second late; neither ends the load."""
    httpserver.expect_request("/slow").respond_with_handler(lambda _: time.sleep(0.5) or Response("{}"))
    (slow,) = load(httpserver.url_for("/slow"), Step(20, 20, 0.1), timeout=0.05)
    assert slow.outcomes == {"late": 2}
    (nobody,) = load("http://127.0.0.1:9/", Step(20, 20, 0.1))
    assert nobody.outcomes == {"failed": 2}


@pytest.mark.parametrize(
    ("header", "stages"), [(None, None), ("", None), ("cache;desc=hit", {}), ("a;dur=1.2.3, b;dur=2", {"b": 0.002})]
)
def test_server_timing(header, stages):
    """What tells no duration is no stage."""
    assert http.stages_of(header) == stages


def test_secrets_have_no_place_in_an_address(tmp_path):
    """A password is refused without repeating it; headers come from a file, whose errors name the line alone."""
    for url in ("http://ann:hunter2@example.org/", "ftp://example.org", "predict"):
        with pytest.raises(ConfigError) as raised:
            http.checked_url(url)
        assert "hunter2" not in str(raised.value)
    file = tmp_path / "headers"
    file.write_text("# ours\nAuthorization: Bearer a:b\n\nX-Tenant:  7\n")
    assert http.read_headers(file) == {"Authorization": "Bearer a:b", "X-Tenant": "7"}
    file.write_text("X: 1\nhunter2\n")
    with pytest.raises(ConfigError, match="line 2 of headers") as raised:
        http.read_headers(file)
    assert "hunter2" not in str(raised.value)


STUB = """
import json, sys, types
class FastHttpUser: pass
class LoadTestShape:
    def get_run_time(self): return self.at
stub = types.ModuleType("locust")
stub.FastHttpUser, stub.LoadTestShape, stub.task = FastHttpUser, LoadTestShape, lambda f: f
stub.constant_throughput = lambda rate: rate
sys.modules["locust"] = stub
import importlib.util
spec = importlib.util.spec_from_file_location("made", sys.argv[1])
made = importlib.util.module_from_spec(spec)
spec.loader.exec_module(made)
sent = []
class Client:
    def request(self, method, path, **more): sent.append([method, path, more])
user = made.Caller()
user.client = Client()
for _ in range(4): user.ask()
shape = made.Steps()
ticks = []
for at in (0, 1.9, 2.1, 4.1):
    shape.at = at
    ticks.append(shape.tick())
print(json.dumps([sent, ticks, made.Caller.host, made.Caller.wait_time]))
"""


def locust_run(path):
    done = subprocess.run([sys.executable, "-c", STUB, str(path)], capture_output=True, text=True, timeout=60, check=True)
    return json.loads(done.stdout)


def test_a_locust_file_does_the_same(tmp_path):
    """It compiles; steps are numbers of users; rows come in turn; hostile text stays text; header values are read when it runs."""
    rows = [{"x": 1, "note": "'''\"\"\"\\ \u2028 {0} {host}"}, {"x": 2, "note": ""}]
    headers = tmp_path / "headers"
    headers.write_text("Authorization: Bearer hunter2\n")
    path = tmp_path / "load.py"
    locust_file.write(
        path, 'http://127.0.0.1:1/pre"""dict?a=1', method="post", headers=headers, steps=[Step(5, 5, 2), Step(20, 20, 2)], rows=rows,
        sample=False, weights=None, seed=3,
    )  # fmt: skip
    py_compile.compile(str(path), doraise=True)
    assert "hunter2" not in path.read_text()
    sent, ticks, host, throughput = locust_run(path)
    assert [(method, where, more["json"]) for method, where, more in sent] == [
        ("POST", '/pre"""dict?a=1', row) for row in rows * 2
    ]
    assert sent[0][2]["headers"]["Authorization"] == "Bearer hunter2"
    assert [None if tick is None else tick[0] * throughput for tick in ticks] == [5, 5, 20, None]
    assert host == "http://127.0.0.1:1"


def test_a_locust_file_draws_by_weight(tmp_path):
    """Lists of rows, drawn as often as their weight says."""
    path = tmp_path / "load.py"
    locust_file.write(
        path, "http://h/", method="POST", headers=None, steps=[Step(5, 5, 1, rows=2)], rows=[{"x": 1}, {"x": 2}], sample=False,
        weights=[0, 1], seed=3,
    )  # fmt: skip
    sent, _, _, _ = locust_run(path)
    assert [more["json"] for _, _, more in sent] == [[{"x": 2}] * 2] * 4
    with pytest.raises(ConfigError, match="one file for each"):
        locust_file.write(
            path, "http://h/", method="POST", headers=None, steps=[Step(5, 5, 1, rows=2), Step(5, 5, 1, rows=3)], rows=[1], sample=False,
            weights=None, seed=3,
        )  # fmt: skip
