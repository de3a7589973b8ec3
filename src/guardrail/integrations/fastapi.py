"""FastAPI and Starlette: `install(app)` turns our errors into problem details, shows tickets, and flushes at shutdown."""

from __future__ import annotations

import asyncio
import inspect
import math
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

from guardrail import clock, notices
from guardrail.errors import (
    AccessDenied,
    AuditUnavailable,
    BudgetExceeded,
    CircuitOpen,
    ConfigError,
    Deferred,
    GuardrailError,
    InvalidInput,
    InvalidOutput,
    LimitExceeded,
    NotApproved,
    PartialBatch,
    ReviewUnavailable,
    Stopped,
)
from guardrail.principal import Principal, acting_as
from guardrail.review.case import TicketClosed, TicketNotFound

try:
    from starlette.applications import Starlette
    from starlette.middleware import Middleware
    from starlette.middleware.exceptions import ExceptionMiddleware
    from starlette.requests import HTTPConnection, Request
    from starlette.responses import JSONResponse, Response
    from starlette.routing import Route
    from starlette.types import ASGIApp, Receive, Scope, Send
    from starlette.websockets import WebSocket
except ImportError as problem:
    raise ConfigError("this integration needs the extra fastapi", hint='pip install "guardrail-sdk[fastapi]"') from problem

Who = Callable[[HTTPConnection], "Principal | str | Awaitable[Principal | str | None] | None"]

PROBLEM: Final = "application/problem+json"  # RFC 9457
_BASE: Final = "guardrail.base"  # of the scope: the path under which this application stands
_POLICY_VIOLATION: Final = 1008  # RFC 6455, section 7.4.1
_INTERNAL_ERROR: Final = 1011
_LONGEST_REASON: Final = 120  # bytes of the reason for which a websocket is closed

# The nearest class in an error's family says its status and title.
_STATUS: Final[Mapping[type[GuardrailError], tuple[int, str]]] = {
    Deferred: (202, "A person decides"),
    PartialBatch: (207, "Some rows have no answer"),
    AccessDenied: (403, "Access denied"),
    NotApproved: (403, "The model is not approved"),
    TicketNotFound: (404, "There is no such ticket"),
    TicketClosed: (409, "The ticket is closed"),
    InvalidInput: (422, "The input is not valid"),
    InvalidOutput: (500, "The answer is not valid"),
    Stopped: (503, "Stopped"),
    LimitExceeded: (503, "Too many requests at once"),
    CircuitOpen: (503, "A dependency is failing"),
    ReviewUnavailable: (503, "The review queue is not available"),
    AuditUnavailable: (503, "The audit trail is not available"),
    BudgetExceeded: (504, "Out of time"),
    GuardrailError: (500, "The guard failed"),
}


def install(
    app: Starlette, *, prefix: str | None = "", principal: Who | None = None, flush: clock.Duration = 5, receive: bool = False
) -> None:
    """Make an application speak for its guarded functions. Call it once, where the application is made.

    - Errors of the library become `application/problem+json` (RFC 9457), with the status that the guide lists, from endpoints and
      dependencies of every kind, and close a websocket. Handlers of your own for any of the errors come first; exceptions of
      your functions are left alone.
    - `GET {prefix}/tickets/{id}` tells the state of a ticket and, once it is decided, the answer. Nothing is decided here, and who
      may ask is for the application to say: an id cannot be guessed, and that is all that protects it here.
    - With `receive`, `POST {prefix}/answers` decides a case by a message that is signed with the setting `receive_secret`, as
      `guardrail.review.receive` tells. The signature is all that protects it here: nobody is asked to log in.
    - When the application ends, after its own lifespan, every record so far is made durable.

    Args:
        app: A FastAPI or Starlette application that has not served a request yet.
        prefix: What the path of tickets begins with; None for no such path.
        principal: Says who asks, from the request: a `Principal`, an id, or None for nobody in particular. A plain function that
            does not block, or a coroutine function. It runs inside all your middleware, and may raise an HTTPException.
        flush: The most that flushing takes.
        receive: Whether answers of reviewers are taken by webhook; needs a prefix.

    Raises:
        ConfigError: It is installed already, or too late, or an argument cannot be used.
    """
    if not isinstance(app, Starlette):
        raise ConfigError(f"install() was given a {type(app).__name__}, not an application", hint="write install(app)")
    if app.middleware_stack is not None:
        raise ConfigError("the application serves requests already", hint="call install(app) where the app is made")
    if getattr(app.state, "guardrail", False):
        raise ConfigError("guardrail is installed in this application already", hint="call install(app) once")
    if prefix is not None and (not isinstance(prefix, str) or prefix.strip("/") != prefix[1:]):
        raise ConfigError("prefix is no path", hint='write prefix="/review", or None for no path of tickets')
    if principal is not None and not callable(principal):
        raise ConfigError(f"principal is of type {type(principal).__name__}", hint="write principal=lambda request: ...")
    if receive and prefix is None:
        raise ConfigError("answers are received below a prefix, and there is none", hint='write prefix="" or prefix="/review"')
    seconds = clock.seconds(flush, "flush")
    app.state.guardrail = True
    path = None if prefix is None else f"{prefix}/tickets"
    if GuardrailError not in app.exception_handlers:
        handler: Any = _Handler(path)  # of both kinds at once: for requests and for websockets
        app.add_exception_handler(GuardrailError, handler)
    # Last in the list is innermost: what the application's own middleware finds out is there for `principal`.
    app.user_middleware.append(Middleware(_Entrance, application=app, principal=principal))
    if path is not None:
        _add_ticket_route(app, f"{path}/{{ticket_id}}")
    if receive:
        app.router.routes.append(Route(f"{prefix}/answers", _answer, methods=["POST"], name="guardrail_answer"))
    _flush_at_the_end(app, seconds)


# ── errors ────────────────────────────────────────────────────────────────────────────────────────────────────────────
def problem_of(error: GuardrailError) -> dict[str, Any]:
    """Return the problem details (RFC 9457) of an error: type, title, status and detail, and what is known of guard, policy,
    decision_id, hint and ticket.
    """  # noqa: D205 - one sentence
    status, title = next(_STATUS[kind] for kind in type(error).__mro__ if kind in _STATUS)
    details = {
        "type": f"urn:guardrail:{_words(type(error).__name__)}",
        "title": title,
        "status": status,
        "detail": str(error.args[0]) if error.args else None,
        "guard": error.guard,
        "policy": error.policy,
        "decision_id": error.decision_id,
        "hint": error.hint,
    }
    return {name: value for name, value in details.items() if value is not None}


def _words(name: str) -> str:
    return "".join(f"-{letter.lower()}" if letter.isupper() else letter for letter in name).removeprefix("-")


class _Handler:
    """Answers a request that ended with one of our errors.

    Args:
        tickets: The path below which tickets are shown, None where they are not.
    """

    def __init__(self, tickets: str | None) -> None:
        self._tickets = tickets

    async def __call__(self, connection: HTTPConnection, error: Exception) -> Response | None:
        if not isinstance(error, GuardrailError):
            raise error
        if isinstance(connection, WebSocket):
            await _close(connection, error)
            return None
        problem = problem_of(error)
        headers = {}
        if isinstance(error, Deferred):
            problem["ticket"] = self._ticket(connection, error.ticket)
            if "url" in problem["ticket"]:
                headers["Location"] = problem["ticket"]["url"]
        elif isinstance(error, PartialBatch):
            problem["rows"] = [self._row(connection, at, decision) for at, decision in enumerate(error.batch)]
        elif isinstance(error, LimitExceeded | CircuitOpen) and error.retry_after is not None:
            headers["Retry-After"] = str(max(1, math.ceil(error.retry_after)))
        return JSONResponse(problem, problem["status"], headers, media_type=PROBLEM)

    def _ticket(self, connection: HTTPConnection, ticket: Any) -> dict[str, Any]:
        shown = {"id": ticket.id, "queue": ticket.queue, "due": None if ticket.due is None else ticket.due.isoformat()}
        if self._tickets is not None:
            # Only a path: host and scheme would come from headers that anyone can write.
            shown["url"] = f"{connection.scope.get(_BASE, '')}{self._tickets}/{ticket.id}"
        return {name: value for name, value in shown.items() if value is not None}

    def _row(self, connection: HTTPConnection, at: int, decision: Any) -> dict[str, Any]:
        row = {"row": at, "outcome": decision.outcome.value, "decision_id": decision.id}
        error = decision.error
        if error is None:
            row["value"] = _json(decision.value)
        elif isinstance(error, GuardrailError):
            row["problem"] = problem_of(error)
        else:  # of the user's function: its text may hold anything
            row["problem"] = {"title": type(error).__name__, "status": 500}
        if decision.ticket is not None:
            row["ticket"] = self._ticket(connection, decision.ticket)
        return row


def _json(value: Any) -> Any:
    from guardrail import content  # noqa: PLC0415 - only a partial batch shows values

    try:
        return content.jsonable(value)
    except content.Unencodable:
        return None


async def _close(connection: WebSocket, error: GuardrailError) -> None:
    problem = problem_of(error)
    code = _INTERNAL_ERROR if problem["status"] == 500 else _POLICY_VIOLATION  # noqa: PLR2004 - of HTTP
    await connection.close(code, problem["title"][:_LONGEST_REASON])


# ── who asks ──────────────────────────────────────────────────────────────────────────────────────────────────────────
class _Entrance:
    """Notes where the application stands, and says who asks for the rest of the request.

    Args:
        app: What is inside.
        application: The application, for its handlers of errors.
        principal: Says who asks; may raise what a handler of the application answers.
    """

    def __init__(self, app: ASGIApp, *, application: Starlette, principal: Who | None) -> None:
        self._inside = app
        self._application = application
        self._principal = principal
        self._identified: ASGIApp | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._inside(scope, receive, send)
            return
        scope[_BASE] = scope.get("root_path", "")
        if self._principal is None:
            await self._inside(scope, receive, send)
            return
        if self._identified is None:
            handlers = {key: way for key, way in self._application.exception_handlers.items() if key not in (500, Exception)}
            self._identified = ExceptionMiddleware(self._identify, handlers)
        await self._identified(scope, receive, send)

    async def _identify(self, scope: Scope, receive: Receive, send: Send) -> None:
        who: Any = None if self._principal is None else self._principal(HTTPConnection(scope))
        if inspect.isawaitable(who):
            who = await who
        if who is None:
            await self._inside(scope, receive, send)
            return
        if not isinstance(who, Principal | str):
            raise ConfigError(f"principal returned a {type(who).__name__}", hint="return a Principal, the id of a user, or None")
        with acting_as(who):
            await self._inside(scope, receive, send)


# ── tickets ───────────────────────────────────────────────────────────────────────────────────────────────────────────
def _ticket(ticket_id: str) -> Response:
    """Tell the state of a ticket and, once a person has decided it, the answer."""
    from guardrail import review as queue  # noqa: PLC0415 - the store is loaded by who needs it
    from guardrail.store.engine import StoreError  # noqa: PLC0415

    try:
        shown: dict[str, Any] = {"id": ticket_id, "state": queue.state(ticket_id)}
        with suppress(TicketNotFound, StoreError):  # it waits in the spool, until the store takes it
            ticket, ending = queue.get(ticket_id), queue.ending(ticket_id)
            due = None if ticket.due is None else ticket.due.isoformat()
            shown |= {"queue": ticket.queue, "created": ticket.created.isoformat(), "due": due}
            if ending is not None:
                shown["state"] = ending.state
                if ending.state == "decided" and ending.verdict != "reject":
                    shown["answer"] = ending.value
    except StoreError as problem:
        raise ReviewUnavailable(
            "the review queue cannot be read", policy="review", hint="`guardrail doctor` says what is wrong with the store"
        ) from problem
    return JSONResponse(shown, headers={"Cache-Control": "no-store"})


def _add_ticket_route(app: Starlette, path: str) -> None:
    fastapi = sys.modules.get("fastapi")
    if fastapi is not None and isinstance(app, fastapi.FastAPI):
        documented: Any = app
        documented.add_api_route(
            path, _ticket, methods=["GET"], name="guardrail_ticket", summary="State of a ticket", tags=["review"]
        )
    else:
        app.router.routes.append(Route(path, lambda request: _ticket(request.path_params["ticket_id"]), methods=["GET"]))


# ── answers ───────────────────────────────────────────────────────────────────────────────────────────────────────────
async def _answer(request: Request) -> Response:
    """Decide a case by a signed message of another system."""
    from guardrail.review import receiving  # noqa: PLC0415 - the store is loaded by who needs it
    from guardrail.store.engine import StoreError  # noqa: PLC0415

    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > receiving.MOST_BYTES:
            return JSONResponse({"title": "The message is too long", "status": 413}, 413, media_type=PROBLEM)
    try:
        found = await asyncio.to_thread(receiving.receive, request.headers, bytes(body))
    except StoreError as problem:
        raise ReviewUnavailable(
            "the review queue cannot take an answer now",
            policy="review",
            hint="send it again later; `guardrail doctor` says what is wrong with the store",
        ) from problem
    shown = {"ticket": found.ticket_id, "outcome": found.outcome, "problem": found.problem}
    return JSONResponse({name: text for name, text in shown.items() if text is not None}, found.status)


# ── the end ───────────────────────────────────────────────────────────────────────────────────────────────────────────
def _flush_at_the_end(app: Starlette, seconds: float) -> None:
    inner = app.router.lifespan_context

    @asynccontextmanager
    async def lifespan(app: Any) -> AsyncIterator[Any]:
        from guardrail import process  # noqa: PLC0415 - what it imports is needed by guarded calls only

        try:
            async with inner(app) as state:
                yield state
        finally:
            if not await asyncio.to_thread(process.flush, seconds):
                notices.say("flush", f"not every record was durable {seconds:g} s after the application had ended")

    app.router.lifespan_context = lifespan


__all__ = ["install", "problem_of"]
