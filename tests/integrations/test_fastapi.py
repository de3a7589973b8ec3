"""FastAPI and Starlette: what a client sees of each ending, who asks, tickets, and that no record is lost at the end."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import subprocess
import sys
import time
import warnings
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated

import httpx
import pytest
from fastapi import APIRouter, Depends, FastAPI, HTTPException, WebSocket
from pydantic import BaseModel, Field
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Mount, Route
from starlette.websockets import WebSocketDisconnect

from guardrail import (
    AccessDenied,
    AssumptionBroken,
    AuditUnavailable,
    BudgetExceeded,
    CircuitOpen,
    ConfigError,
    Deferred,
    GuardrailError,
    InvalidInput,
    InvalidOutput,
    Limit,
    LimitExceeded,
    NotApproved,
    Prediction,
    Principal,
    Review,
    ReviewUnavailable,
    Stopped,
    decide,
    guarded,
    settings,
)
from guardrail import review as queue
from guardrail.delivery.sinks.webhook import signature
from guardrail.integrations.fastapi import install
from guardrail.ledger import reader
from guardrail.testing import force

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # it would rather have another HTTP client
    from fastapi.testclient import TestClient


class Applicant(BaseModel):
    name: str
    income: float = Field(ge=0)


def client(app, **options):
    return TestClient(app, raise_server_exceptions=False, **options)


@pytest.fixture
def app():
    app = FastAPI()
    install(app)
    return app


def records(**which):
    return list(reader.read(event="call", **which))


# ── errors ────────────────────────────────────────────────────────────────────────────────────────────────────────────
ENDINGS = [
    (AccessDenied("no"), 403, {}),
    (NotApproved("no"), 403, {}),
    (InvalidInput("x: Input should be greater than 0"), 422, {}),
    (InvalidOutput("no"), 500, {}),
    (Stopped("no"), 503, {}),
    (LimitExceeded("no"), 503, {}),
    (LimitExceeded("no", retry_after=0.001), 503, {"retry-after": "1"}),
    (CircuitOpen("no", retry_after=2.1), 503, {"retry-after": "3"}),
    (CircuitOpen("no", retry_after=0), 503, {"retry-after": "1"}),
    (ReviewUnavailable("no"), 503, {}),
    (AuditUnavailable("no"), 503, {}),
    (BudgetExceeded("no"), 504, {}),
    (AssumptionBroken("no"), 500, {}),
    (ConfigError("no", hint="write yes"), 500, {}),
    (GuardrailError(), 500, {}),
]


@pytest.mark.parametrize("error, status, headers", ENDINGS, ids=lambda each: type(each).__name__)
def test_each_ending_has_its_status(error, status, headers):
    """As problem details, from sync and async endpoints, routers and dependencies, in FastAPI and in Starlette."""

    def fails():
        raise error

    async def afails():
        raise error

    async def endpoint(request):
        raise error

    fast, router, plain = FastAPI(), APIRouter(), Starlette(routes=[Route("/async", endpoint)])
    install(fast)
    install(plain)
    fast.get("/sync")(fails)
    fast.get("/async")(afails)
    router.get("/routed")(afails)
    fast.include_router(router, prefix="/v1", dependencies=[])
    for path, dependency in (("/needs", fails), ("/aneeds", afails)):
        fast.get(path, dependencies=[Depends(dependency)])(lambda: 1)
    with client(fast) as fast_client, client(plain) as plain_client:
        answers = [fast_client.get(path) for path in ("/sync", "/async", "/v1/routed", "/needs", "/aneeds")]
        answers.append(plain_client.get("/async"))
    for answer in answers:
        assert answer.status_code == status
        assert answer.headers["content-type"] == "application/problem+json"
        assert {name: answer.headers[name] for name in answer.headers if name in ("retry-after", "location")} == headers
        problem = answer.json()
        assert problem["status"] == status
        assert re.fullmatch(r"urn:guardrail:[a-z-]+", problem["type"])
        assert problem.get("detail") == error.args[0]
        assert problem.get("hint") == error.hint


def test_a_problem_says_who_spoke_and_never_what_was_rejected(app):
    """Guard, policy and decision of the record; the value stays out of text and body."""

    @app.get("/score")
    async def score(text: str):
        return predict(text)

    @guarded(name="score", version="1")
    def predict(limit: int) -> int:
        return limit

    with client(app) as session:
        answer = session.get("/score", params={"text": "hunter2"})
    problem = answer.json()
    (record,) = records()
    assert answer.status_code == 422
    assert "hunter2" not in answer.text
    assert problem == {
        "type": "urn:guardrail:invalid-input",
        "title": "The input is not valid",
        "status": 422,
        "detail": "limit: Input should be a valid integer, unable to parse string as an integer",
        "guard": "score",
        "policy": "validate",
        "decision_id": record["id"],
    }


def test_other_errors_and_other_handlers_are_left_alone():
    """The function's own exception is the application's affair, and so is an error of ours that it handles itself."""
    app = FastAPI()

    @app.exception_handler(BudgetExceeded)
    async def late(request, error):
        return JSONResponse({"late": True}, 418)

    @app.exception_handler(ZeroDivisionError)
    async def own(request, error):
        return JSONResponse({"own": True}, 419)

    install(app)

    @app.get("/{way}")
    @guarded(name="way")
    def fails(way: str) -> int:
        raise {"late": BudgetExceeded, "own": ZeroDivisionError, "other": OSError, "value": InvalidInput}[way]

    with client(app) as session:
        assert [session.get(f"/{way}").status_code for way in ("late", "own", "other", "value")] == [418, 419, 500, 422]


def test_real_refusals(app):
    """A breaker, a limit, a deadline and a kill switch, as a client meets them."""

    @app.get("/score")
    @guarded(name="score", breaker=True, limit=Limit(1), budget="100ms")
    def predict(pause: float) -> float:
        time.sleep(pause)
        return pause

    with client(app) as session:
        assert session.get("/score?pause=0").json() == 0
        assert session.get("/score?pause=1").status_code == 504
        with force(predict, breaker="open"):
            assert session.get("/score?pause=0").json()["type"] == "urn:guardrail:circuit-open"
        with force(predict, limit="full"):
            assert session.get("/score?pause=0").json()["type"] == "urn:guardrail:limit-exceeded"
        with force(predict, mode="killed"):
            assert session.get("/score?pause=0").json()["type"] == "urn:guardrail:stopped"


def test_a_partial_batch_says_what_became_of_each_row(app):
    """Answers that there are, tickets, and refusals, each in its place; no text of the function's own errors."""

    @guarded(name="rows", batch=True, confidence=0.5)
    def predict(rows: list[Applicant]) -> list[Prediction[str]]:
        return [Prediction(row.name, row.income) for row in rows]

    @app.post("/rows")
    async def rows(body: list[dict]):
        return predict(body)

    given = [{"name": "Ann", "income": 0.9}, {"name": "Bob", "income": -1}, {"name": "Cid", "income": 0.1}]
    with client(app) as session:
        answer = session.post("/rows", json=given)
        assert answer.status_code == 207
        problem = answer.json()
        assert problem["type"] == "urn:guardrail:partial-batch"
        ann, bob, cid = problem["rows"]
        assert (ann["row"], ann["outcome"], ann["value"]["value"]) == (0, "answered", "Ann")
        assert (bob["outcome"], bob["problem"]["status"]) == ("refused", 422)
        assert (cid["outcome"], cid["problem"]["status"]) == ("deferred", 202)
        assert session.get(cid["ticket"]["url"]).json()["state"] == "pending"
        assert len({row["decision_id"] for row in problem["rows"]}) == 3


# ── the signature ─────────────────────────────────────────────────────────────────────────────────────────────────────
def test_the_docs_are_those_of_the_function():
    """A guarded endpoint has the schema of a bare one; its body is checked by FastAPI first, as it would be without us."""

    def score(applicant: Applicant, months: Annotated[int, Field(le=60)] = 12) -> Prediction[Applicant]:
        """Say what it is worth."""
        return Prediction(applicant, 0.5)

    async def ascore(applicant: Applicant, months: Annotated[int, Field(le=60)] = 12) -> Prediction[Applicant]:
        """Say what it is worth."""
        return Prediction(applicant, 0.5)

    def documented(*endpoints):
        app = FastAPI()
        install(app, prefix=None)
        for endpoint in endpoints:
            app.post(f"/{endpoint.__name__}")(endpoint)
        return app

    bare, ours = documented(score, ascore), documented(guarded(score), guarded(ascore))
    assert ours.openapi() == bare.openapi()
    assert ours.openapi()["paths"]["/score"]["post"]["description"] == "Say what it is worth."
    good, bad = {"name": "Ann", "income": 1}, {"name": "Ann", "income": -1}
    with client(bare) as one, client(ours) as other:
        for path in ("/score", "/ascore"):
            for body, query in ((good, ""), (good, "?months=7"), (bad, ""), (good, "?months=61"), ({}, ""), (None, "")):
                answers = [session.post(path + query, json=body) for session in (one, other)]
                assert answers[0].status_code == answers[1].status_code == (200 if body == good and "61" not in query else 422)
                assert answers[0].json() == answers[1].json()
        assert other.post("/score", json=good).json() == {
            "value": {"name": "Ann", "income": 1.0}, "confidence": 0.5, "reasons": [],
        }  # fmt: skip


def test_a_guarded_dependency(app):
    """What a dependency returns is the endpoint's argument."""

    @guarded(name="score")
    async def score(income: float) -> float:
        return income / 2

    @app.get("/twice")
    def twice(half: float = Depends(score)) -> float:
        return half * 4

    with client(app) as session:
        assert session.get("/twice?income=3").json() == 6
        assert session.get("/twice?income=x").status_code == 422


# ── tickets ───────────────────────────────────────────────────────────────────────────────────────────────────────────
def deferring(app, **review):
    @app.get("/score")
    @guarded(name="score", confidence=0.9, review=Review(choices=["yes", "no"], sla="1h", **review))
    def predict(secret: str) -> Prediction[str]:
        return Prediction("yes", 0.5)


def test_a_deferred_answer_is_fetched_later(app):
    """202 with a Location; there its state, and once a person has decided, the answer. Nothing else of the case."""
    deferring(app)
    with client(app) as session:
        answer = session.get("/score?secret=hunter2")
        assert answer.status_code == 202
        where, problem = answer.headers["location"], answer.json()
        assert problem["ticket"]["url"] == where == f"/tickets/{problem['ticket']['id']}"
        waiting = session.get(where)
        assert waiting.headers["cache-control"] == "no-store"
        assert set(waiting.json()) == {"id", "queue", "state", "created", "due"}
        assert (waiting.json()["state"], waiting.json()["due"]) == ("pending", problem["ticket"]["due"])
        assert [session.request(verb, where).status_code for verb in ("POST", "PUT", "DELETE", "PATCH")] == [405] * 4
        queue.decide(problem["ticket"]["id"], "no", actor="anna")
        decided = session.get(where)
        assert decided.json() == {**waiting.json(), "state": "decided", "answer": "no"}
        assert "hunter2" not in answer.text + decided.text
        assert session.get("/tickets/nothing").status_code == 404
        assert session.get("/tickets/%00'--").json()["type"] == "urn:guardrail:ticket-not-found"


def test_a_rejected_or_cancelled_ticket_has_no_answer(app):
    """Its state says so."""
    deferring(app)
    with client(app) as session:
        for end, state in (
            (lambda one: queue.decide(one, verdict="reject"), "decided"),
            (lambda one: queue.cancel(one, "gone"), "cancelled"),
        ):
            where = session.get(f"/score?secret={state}").headers["location"]
            end(where.rpartition("/")[2])
            assert "answer" not in session.get(where).json()
            assert session.get(where).json()["state"] == state


def test_where_tickets_are_shown():
    """Under a prefix, under the path of a mounted application or a proxy, or not at all; in the docs, where there are any."""
    inner, outer, hidden, plain = FastAPI(), FastAPI(), FastAPI(), Starlette()
    install(inner, prefix="/review")
    outer.mount("/loans", inner)
    install(outer)
    install(hidden, prefix=None)
    install(plain)
    for app in (inner, outer, hidden):
        deferring(app)

    async def predict(request):
        raise Deferred("later", ticket=ticket)

    plain.router.routes.append(Mount("/v1", routes=[Route("/score", predict)]))
    with client(outer, root_path="/api") as session:
        answer = session.get("/api/loans/score?secret=1")
        where = answer.headers["location"]
        assert where.startswith("/api/loans/review/tickets/")
        assert session.get(where).json()["state"] == "pending"
        ticket = queue.get(where.rpartition("/")[2])
    with client(hidden) as session:
        answer = session.get("/score?secret=2")
        assert (answer.status_code, answer.headers.get("location")) == (202, None)
        assert set(answer.json()["ticket"]) == {"id", "queue", "due"}
        assert session.get(f"/tickets/{answer.json()['ticket']['id']}").status_code == 404
    with client(plain) as session:
        where = session.get("/v1/score").headers["location"]
        assert where == f"/tickets/{ticket.id}"
        assert session.get(where).json()["state"] == "pending"
    assert "/review/tickets/{ticket_id}" in inner.openapi()["paths"]


# ── who asks ──────────────────────────────────────────────────────────────────────────────────────────────────────────
class Authentication:
    """Middleware of the application: finds out who the user is."""

    def __init__(self, app):
        self.app = app

    async def __call__(self, scope, receive, send):
        if scope["type"] == "http":
            scope["user"] = dict(scope["headers"]).get(b"x-user", b"").decode()
        await self.app(scope, receive, send)


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_the_principal_of_a_request_is_in_the_record(kind):
    """Found by the application's own middleware, wherever that was added; of sync and async endpoints, each request its own."""

    def who(request):
        if request.user == "nobody":
            raise HTTPException(401, "who are you?")
        if request.user == "refused":
            raise AccessDenied("not you", policy="access")
        return Principal(request.user, roles=["clerk"]) if request.user else None

    async def awho(request):
        await asyncio.sleep(0)
        return who(request)

    app = FastAPI()
    install(app, principal=who if kind == "sync" else awho)
    app.add_middleware(Authentication)

    @guarded(name="score")
    def predict(x: int) -> int:
        return x

    @app.get("/sync")
    def endpoint(x: int):
        return predict(x)

    @app.get("/async")
    async def aendpoint(x: int):
        await asyncio.sleep(0.01)
        return predict(x)

    def ask(x):
        return session.get(f"/{'async' if x % 2 else 'sync'}?x={x}", headers={"x-user": f"user{x}"}).json()

    with client(app) as session:
        with ThreadPoolExecutor(10) as pool:
            assert list(pool.map(ask, range(40))) == list(range(40))
        assert session.get("/sync?x=99").json() == 99
        answer = session.get("/sync?x=1", headers={"x-user": "nobody"})
        assert (answer.status_code, answer.json()) == (401, {"detail": "who are you?"})
        answer = session.get("/sync?x=1", headers={"x-user": "refused"})
        assert (answer.status_code, answer.json()["detail"]) == (403, "not you")
    found = {record["output"]["value"]: record.get("actor", {}).get("id") for record in records()}
    assert found == {**{x: f"user{x}" for x in range(40)}, 99: None}


def test_a_principal_that_is_none():
    """A wrong type is a ConfigError at the request, answered as such."""
    app = FastAPI()
    install(app, principal=lambda request: 7)
    app.get("/")(lambda: 1)
    with client(app) as session:
        answer = session.get("/")
    assert (answer.status_code, answer.json()["detail"]) == (500, "principal returned a int")


def test_a_websocket_is_closed(app):
    """There is no status to answer with: a code and a reason."""

    @app.websocket("/ws")
    async def talk(socket: WebSocket, x: int):
        await socket.accept()
        await socket.send_json(predict(x))
        raise InvalidOutput("no")

    @guarded(name="score")
    def predict(x: Annotated[int, Field(gt=0)]) -> int:
        return x

    with client(app) as session:
        with session.websocket_connect("/ws?x=1") as socket:
            assert socket.receive_json() == 1
            with pytest.raises(WebSocketDisconnect) as closed:
                socket.receive_json()
            assert (closed.value.code, closed.value.reason) == (1011, "The answer is not valid")
        with session.websocket_connect("/ws?x=0") as socket, pytest.raises(WebSocketDisconnect) as closed:
            socket.receive_json()
        assert (closed.value.code, closed.value.reason) == (1008, "The input is not valid")


# ── beginning and end ─────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("first", [True, False])
def test_the_end_of_the_application_flushes(home: Path, first):
    """After its own lifespan, whose state and last words are kept; with a lifespan of a router too."""
    told = []

    @guarded(name="score")
    def predict(x: int) -> int:
        return x

    @asynccontextmanager
    async def lifespan(app):
        told.append("up")
        yield {"model": 3}
        predict(99)
        told.append("down")

    @asynccontextmanager
    async def routed(app):
        told.append("router up")
        yield
        told.append("router down")

    app, router = FastAPI(lifespan=lifespan), APIRouter(lifespan=routed)
    if first:
        install(app)
    app.include_router(router)
    if not first:
        install(app)

    @app.get("/")
    async def score(request: Annotated[int, Depends(lambda: 1)]):
        return predict(request)

    with client(app) as session:
        assert session.get("/").json() == 1
        assert session.app_state["model"] == 3
    assert sorted(told) == ["down", "router down", "router up", "up"]
    lines = b"".join(path.read_bytes() for path in home.rglob("*.jsonl"))
    assert lines.count(b'"event":"call"') == 2


def test_an_end_with_an_error_flushes_too(home: Path):
    """What the application's own shutdown raises is raised on."""

    @guarded(name="score")
    def predict(x: int) -> int:
        return x

    @asynccontextmanager
    async def lifespan(app):
        predict(1)
        yield
        raise OSError("the database is gone")

    app = Starlette(lifespan=lifespan)
    install(app)
    with pytest.raises(OSError, match="the database is gone"), client(app):
        pass
    assert b"".join(path.read_bytes() for path in home.rglob("*.jsonl")).count(b'"event":"call"') == 1


def test_misuse_is_refused():
    """When it is installed, with what to write instead."""
    app = FastAPI()
    for wrong in ({"prefix": "review"}, {"prefix": "/review/"}, {"prefix": 7}, {"principal": "ann"}, {"flush": "soon"}):
        with pytest.raises(ConfigError):
            install(app, **wrong)
    install(app)
    with pytest.raises(ConfigError, match="already"):
        install(app)
    with pytest.raises(ConfigError, match="not an application"):
        install(APIRouter())
    late = FastAPI()
    with client(late) as session:
        session.get("/")
    with pytest.raises(ConfigError, match="serves requests already"):
        install(late)


def test_the_extra_that_is_missing_is_named():
    """With the distribution's own name."""
    program = "import sys; sys.modules['starlette'] = None\nimport guardrail.integrations.fastapi"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert "guardrail-sdk[fastapi]" in done.stderr


# ── real servers ──────────────────────────────────────────────────────────────────────────────────────────────────────
SERVICE = """
import os, time
from fastapi import FastAPI
from guardrail import Prediction, guarded
from guardrail.integrations.fastapi import install

app = FastAPI()
install(app)

@guarded(name="score", version="1", cache="1h", confidence=0.5, budget="5s")
def predict(x: int) -> Prediction[int]:
    time.sleep(0.002)
    return Prediction(x * 2, 0.1 if x % 10 == 9 else 0.9)

@guarded(name="ascore", version="1", limit=64, budget="5s")
async def apredict(x: int) -> int:
    return x * 3

@app.get("/sync")
def sync(x: int):
    return {"answer": predict(x).value, "pid": os.getpid()}

@app.get("/async")
async def later(x: int):
    return {"answer": await apredict(x), "pid": os.getpid()}

if os.environ.get("WARM"):
    assert predict(1000).value == 2000  # in the master, before it forks
"""


class Server:
    """A server in a process of its own, ended by its id."""

    def __init__(self, command, folder: Path, **environment):
        (folder / "service.py").write_text(SERVICE)
        self.log = folder / "log"
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        given = [part.format(port=self.port) for part in command]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", *given], cwd=folder, stdout=log, stderr=log, env={**os.environ, **environment}
            )
        self.url = f"http://127.0.0.1:{self.port}"

    def __enter__(self):
        until = time.monotonic() + 40
        while time.monotonic() < until and self.process.poll() is None:
            try:
                httpx.get(f"{self.url}/openapi.json", timeout=5)
            except httpx.HTTPError:
                time.sleep(0.05)
            else:
                return self
        pytest.fail(self.log.read_text()[-2000:])

    def __exit__(self, *exc):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise

    def load(self, threads: int, each: int) -> Counter:
        """Ask from many threads at once, each with a connection of its own; check every answer; return (path, status, pid) counts."""

        def ask(first: int):
            with httpx.Client(base_url=self.url, timeout=20) as session:
                for x in range(first, first + each):
                    path, factor = ("/sync", 2) if x % 2 else ("/async", 3)
                    answer = session.get(path, params={"x": x})
                    found = answer.json()
                    if answer.status_code == 200:
                        assert found["answer"] == x * factor
                    else:
                        assert (path, x % 10, answer.status_code, answer.headers["location"]) == (
                            "/sync", 9, 202, f"/tickets/{found['ticket']['id']}",
                        )  # fmt: skip
                    yield path, answer.status_code, found.get("pid")

        with ThreadPoolExecutor(threads) as pool:
            return Counter(seen for many in pool.map(lambda at: list(ask(at * each)), range(threads)) for seen in many)


def test_uvicorn_under_load(tmp_path, home):
    """Twenty threads at once: every answer is right, every call has its record, and the server ends when it is told to."""
    with Server(["uvicorn", "service:app", "--port", "{port}", "--log-level", "warning"], tmp_path) as server:
        seen = server.load(20, 20)
    assert server.process.returncode in (0, -signal.SIGTERM)
    assert sum(seen.values()) == 400
    assert sum(count for (_, status, _), count in seen.items() if status == 202) == 40
    outcomes = Counter((record["guard"], record["outcome"]) for record in reader.read(home, event="call"))
    assert outcomes == {("score", "answered"): 160, ("score", "deferred"): 40, ("ascore", "answered"): 200}
    assert queue.open_count() == 40


def test_gunicorn_with_preload(tmp_path, home):
    """A call in the master before the fork; then each worker writes a lane of its own, and the end flushes all of them."""
    command = [
        "gunicorn", "service:app", "--preload", "-w", "2", "-k", "uvicorn.workers.UvicornWorker", "-b", "127.0.0.1:{port}",
    ]  # fmt: skip
    asked = 0
    with Server(command, tmp_path, WARM="1") as server:
        pids: set[int] = set()
        until = time.monotonic() + 20
        while len(pids) < 2 and time.monotonic() < until:
            seen = server.load(8, 10)
            asked += sum(seen.values())
            pids |= {pid for _, _, pid in seen if pid is not None}
    assert server.process.returncode == 0, server.log.read_text()[-2000:]
    assert len(pids) == 2
    found = list(reader.read(home, event="call"))
    assert {record["pid"] for record in found} == {*pids, server.process.pid}
    assert len(found) == len({record["id"] for record in found}) == asked + 1
    lanes = {path for path in home.rglob("*.jsonl") if b'"event":"call"' in path.read_bytes()}
    assert len(lanes) == 3


# ── answers by webhook ────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("kind", [FastAPI, Starlette])
def test_answers_are_received_by_post(kind, monkeypatch):
    """A signed message decides; one that is not is refused; nothing is decided by GET, and nothing without being asked for."""
    monkeypatch.setenv("GUARDRAIL_RECEIVE_SECRET", "a key of its own, of 24 bytes or more")
    settings.reset()

    @guarded(name="answered", version="1", confidence=0.9, review=Review("loans", choices=["yes", "no"]))
    def predict(x: int) -> Prediction[str]:
        return Prediction("yes", 0.5)

    ticket = decide(predict, 1).ticket
    body = f'{{"type": "review.answer", "data": {{"ticket": "{ticket.id}", "person": "anna", "value": "no"}}}}'.encode()
    now = str(int(time.time()))
    signed = {
        "webhook-id": "m1", "webhook-timestamp": now, "webhook-signature": signature(b"a key of its own, of 24 bytes or more", "m1", now, body),
    }  # fmt: skip
    app = kind()
    install(app, prefix="/review", receive=True)
    with client(app) as web:
        assert web.get("/review/answers").status_code == 405
        assert web.post("/review/answers", content=body).status_code == 403
        assert web.post("/review/answers", content=body + b" ", headers=signed).status_code == 403
        assert web.post("/review/answers", content=b"x" * (1 << 20) + b"x", headers=signed).status_code == 413
        assert queue.get(ticket.id).state == "pending"
        taken = web.post("/review/answers", content=body, headers=signed)
        assert (taken.status_code, taken.json()) == (200, {"ticket": ticket.id, "outcome": "decided"})
        assert web.post("/review/answers", content=body, headers=signed).json()["outcome"] == "repeated"
    without = kind()
    install(without)
    assert client(without).post("/answers", content=body, headers=signed).status_code == 404
    with pytest.raises(ConfigError, match="prefix"):
        install(kind(), prefix=None, receive=True)
