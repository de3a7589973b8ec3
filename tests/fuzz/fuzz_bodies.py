"""What a client sends to an application on FastAPI: any body is answered, never with an error of ours."""

from __future__ import annotations

import asyncio
import functools
import json
import os
from collections.abc import Callable
from typing import Any

from guardrail import clock

_SECRET = "a key of its own, of 24 bytes or more"  # noqa: S105 - of the tests
_SEEDS_ANSWER = (
    b'{"type": "review.answer", "data": {"ticket": "TICKET", "person": "anna", "value": "no", "verdict": "accept", "reason": "r", "note": "n", "blind": false}}',
    b'{"type": "review.answer", "data": {"ticket": "x", "person": "anna", "value": [1], "token": "t"}}',
)
_SEEDS_CALL = (b'{"income": 1.5, "purpose": "car", "co": [{"name": "a"}]}', b'{"income": -1, "purpose": "boat", "co": []}')


class _Served:
    """One application, with a guarded endpoint, a route of tickets and one of signed answers."""

    def __init__(self) -> None:
        from typing import Literal  # noqa: PLC0415 - with what it is for

        from fastapi import FastAPI  # noqa: PLC0415 - as above
        from pydantic import BaseModel, Field  # noqa: PLC0415 - as above

        from guardrail import Prediction, Review, decide, guarded, settings  # noqa: PLC0415 - after the environment is set
        from guardrail.integrations.fastapi import install  # noqa: PLC0415 - as above

        os.environ["GUARDRAIL_RECEIVE_SECRET"] = _SECRET
        settings.reset()

        class Person(BaseModel):
            name: str

        class Loan(BaseModel):
            income: float = Field(ge=0)
            purpose: Literal["car", "house"]
            co: list[Person]

        @guarded(name="answered", version="1", confidence=0.9, review=Review("loans", choices=["yes", "no"]))
        def predict(x: Any) -> Prediction[str]:
            return Prediction("yes", 0.5)

        @guarded(name="scored")
        def score(income: float, purpose: Literal["car", "house"], co: list[Any]) -> float:
            return min(income, 1.0)

        self.app = FastAPI()
        install(self.app, prefix="/review", receive=True)
        predict.__globals__.update(Loan=Loan, Person=Person)

        @self.app.post("/typed")
        def typed(loan: Loan) -> Any:
            return score(loan.income, loan.purpose, [each.model_dump() for each in loan.co])

        @self.app.post("/raw")
        def raw(body: dict[str, Any]) -> Any:
            return score(**{name: body.get(name) for name in ("income", "purpose", "co")})

        @self.app.post("/deferred")
        def deferred(body: Any = None) -> Any:
            return predict(body).value

        ticket = decide(predict, 1).ticket
        assert ticket is not None
        self.ticket = ticket.id
        self.loop = asyncio.new_event_loop()
        self._number = 0

    def answer(self, data: bytes) -> None:
        """Post an answer to the ticket, signed as it must be, and one that is not."""
        from guardrail.delivery.sinks.webhook import signature  # noqa: PLC0415 - as above

        body = data.replace(b"TICKET", self.ticket.encode())
        self._number += 1
        name, now = f"m{self._number}", str(int(clock.wall()))
        signed = {"webhook-id": name, "webhook-timestamp": now, "webhook-signature": signature(_SECRET.encode(), name, now, body)}
        self._post("/review/answers", body, signed)
        self._post("/review/answers", body, signed | {"webhook-signature": body[:60].decode("latin-1"), "webhook-id": "x"})

    def call(self, data: bytes) -> None:
        """Post to endpoints whose guarded function has the body, and ask for a ticket called so."""
        for path in ("/typed", "/raw", "/deferred"):
            self._post(path, data, {"content-type": "application/json"})
        self._post("/review/tickets/" + data[:80].decode("utf-8", "replace").replace("/", "_"), b"", {}, method="GET")

    def _post(self, path: str, body: bytes, headers: dict[str, str], method: str = "POST") -> None:
        scope = {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method, "scheme": "http", "path": path, "raw_path": path.encode(),
            "query_string": b"", "root_path": "", "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 80),
            "headers": [(name.encode("latin-1"), text.encode("latin-1")) for name, text in headers.items()],
        }  # fmt: skip
        sent: list[Any] = []
        given = iter([{"type": "http.request", "body": body, "more_body": False}])

        async def receive() -> Any:
            return next(given, {"type": "http.disconnect"})

        async def send(message: Any) -> None:
            sent.append(message)

        self.loop.run_until_complete(self.app(scope, receive, send))
        status = sent[0]["status"]
        shown = b"".join(each.get("body", b"") for each in sent[1:])
        if status >= 500 or not isinstance(json.loads(shown), dict | float | str):  # noqa: PLR2004 - of HTTP
            raise AssertionError(f"{path}: {status}")


@functools.cache
def _served(_: str) -> _Served:
    return _Served()


def _now() -> _Served:
    return _served(os.environ["GUARDRAIL_HOME"])


PARSERS: dict[str, tuple[Callable[[bytes], None], tuple[bytes, ...]]] = {
    "bodies of answers": (lambda data: _now().answer(data), _SEEDS_ANSWER),
    "bodies of calls": (lambda data: _now().call(data), _SEEDS_CALL),
}
