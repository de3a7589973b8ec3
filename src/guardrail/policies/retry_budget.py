"""The state of retries: tokens that failures use up and successes earn, so that an outage is not multiplied."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Final

from guardrail import clock
from guardrail.call import Call

if TYPE_CHECKING:
    from guardrail.policies.retry import Retry

TOKENS: Final = 10  # of a full budget; the usual maxTokens of gRPC
_MEMORY: Final = 0.2  # weight of the newest attempt in the average duration


class RetryBudget:
    """The tokens of one guard's retries, shared by all its calls: a retry is allowed while more than half are left.

    Each retryable failure costs one, each success gives `Retry.budget` back. There are 10, and twice the attempts where
    that is more, so that one caller's retries work from the first call. Source: gRPC proposal A6, "gRPC Retry Design",
    section "Throttling Retry Attempts and Hedged RPCs".

    Args:
        option: How many attempts, and what a success earns.
    """

    def __init__(self, option: Retry) -> None:
        self.most = float(max(TOKENS, 2 * option.attempts))
        self.earned = option.budget
        self.reset()
        self.after_fork()

    def reset(self) -> None:
        """Begin anew with all tokens."""
        self.tokens = self.most
        self.short = False  # read without the lock on the path of every success
        self.typical = 0.0  # seconds that an attempt takes, sampled while tokens are short
        self.retries = 0
        self.suppressed = 0

    def after_fork(self) -> None:
        """Take a fresh lock: another thread may have held the inherited one."""
        self._lock = threading.Lock()

    def spend(self) -> bool:
        """Pay for a retryable failure, and return whether a retry is still allowed."""
        with self._lock:
            self.tokens = max(0.0, self.tokens - 1)
            self.short = True
            return self.tokens > self.most / 2

    def earn(self, call: Call) -> None:
        """Take note of a success."""
        took = clock.now() - call.start
        with self._lock:
            self.tokens = min(self.most, self.tokens + self.earned)
            self.short = self.tokens < self.most
            if call.attempts == 1:
                self.typical += (took - self.typical) * (_MEMORY if self.typical else 1.0)

    def count(self, reason: str | None) -> None:
        """Count a retry (None), or one that there was no token for."""
        with self._lock:
            if reason is None:
                self.retries += 1
            elif reason == "retry_budget":
                self.suppressed += 1

    def snapshot(self) -> dict[str, Any]:
        """Return the present state, for `stats()`."""
        return {
            "tokens": round(self.tokens, 3),
            "most": self.most,
            "retries": self.retries,
            "suppressed": self.suppressed,
        }
