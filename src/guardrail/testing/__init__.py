"""For tests of guarded functions: a fresh world, a clock in your hand, recorded events, injected faults, forced states."""

from __future__ import annotations

from guardrail.testing.faults import chaos
from guardrail.testing.clock import FakeClock, fake_clock
from guardrail.testing.forcing import force
from guardrail.testing.recording import recorded
from guardrail.testing.conformance import Finding, selftest
from guardrail.testing.world import fresh

__all__ = ["FakeClock", "Finding", "chaos", "fake_clock", "force", "fresh", "recorded", "selftest"]
