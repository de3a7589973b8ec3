"""For tests of guarded functions: a fresh world, a clock in your hand, recorded events, injected faults, forced states."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from guardrail.testing.clock import FakeClock, fake_clock
    from guardrail.testing.conformance import Finding, selftest
    from guardrail.testing.faults import chaos
    from guardrail.testing.forcing import force
    from guardrail.testing.peers import CANARY, HttpPeer
    from guardrail.testing.recording import recorded
    from guardrail.testing.sink_checks import SINK_CHECKS, check_sink
    from guardrail.testing.sink_trial import Peer, Report
    from guardrail.testing.world import fresh

# Each is loaded at first use: pytest imports this package at every start, for the fixtures beside it.
_HOMES = {
    "CANARY": "peers",
    "FakeClock": "clock",
    "Finding": "conformance",
    "HttpPeer": "peers",
    "Peer": "sink_trial",
    "Report": "sink_trial",
    "SINK_CHECKS": "sink_checks",
    "chaos": "faults",
    "check_sink": "sink_checks",
    "fake_clock": "clock",
    "force": "forcing",
    "fresh": "world",
    "recorded": "recording",
    "selftest": "conformance",
}

__all__ = [
    "CANARY", "SINK_CHECKS", "FakeClock", "Finding", "HttpPeer", "Peer", "Report", "chaos", "check_sink", "fake_clock", "force",
    "fresh", "recorded", "selftest",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    module = _HOMES.get(name)
    if module is None:
        raise AttributeError(f"module 'guardrail.testing' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"guardrail.testing.{module}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
