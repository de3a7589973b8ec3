"""The credit bureau, seen from here: a dependency that is slow or down now and then, so that it has a guard of its own."""

from __future__ import annotations

from urllib.parse import quote
from urllib.request import ProxyHandler, build_opener

from examples.lending.data import CreditHistory
from guardrail import Breaker, Budget, Limit, Retry, guarded, remaining

url = "http://127.0.0.1:8990"  # the stand-in says where it really is
_http = build_opener(ProxyHandler({}))  # the stand-in is on this machine, whatever proxy there is


@guarded(
    name="credit-bureau",
    version="2",
    kind="dependency",
    owner="data-feeds@bank.example",
    budget=Budget("400ms", attempt="150ms"),
    retry=Retry(3, wait="10ms"),
    breaker=Breaker("credit-bureau", failure_rate=0.5, min_calls=10, open_for="5s"),
    limit=Limit(16, wait="50ms"),
    cache="1h",
)
def credit_history(loan_id: str) -> CreditHistory:
    """Ask the bureau. An HTTP 5xx, a lost connection or a timeout is tried again while the caller's deadline allows it."""
    with _http.open(f"{url}/history/{quote(loan_id)}", timeout=remaining()) as reply:
        return CreditHistory.model_validate_json(reply.read())
