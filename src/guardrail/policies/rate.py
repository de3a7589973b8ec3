"""The state of a rate limit: a token bucket, kept as one moment in time (GCRA)."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Final

from guardrail import clock
from guardrail.policies.by_key import ByKey

if TYPE_CHECKING:
    from guardrail.policies.limit import Limit

_ROUNDING: Final = 1e-6  # share of the interval that is taken for nought


class _Bucket:
    __slots__ = ("empty_until",)

    def __init__(self) -> None:
        self.empty_until = 0.0  # when every call granted so far is paid for: GCRA's theoretical arrival time


class Rate:
    """The token buckets of one guard: as many calls at once as the rate names, then one for each interval.

    Source: the generic cell rate algorithm, ITU-T I.371, annex A, in its virtual scheduling form.

    Args:
        option: The rate.
    """

    def __init__(self, option: Limit) -> None:
        count, period = clock.rate(option.rate or "")
        self.text = option.rate
        self.interval = period / count
        self._slack = self.interval * (count - 1)
        self._keys = ByKey(_Bucket, lambda bucket: bucket.empty_until <= clock.now())
        self._all = _Bucket()
        self.refused = 0
        self.after_fork()

    def reset(self) -> None:
        """Fill every bucket again, and forget the counts."""
        self._keys.clear()
        self._all = _Bucket()
        self.refused = 0

    def after_fork(self) -> None:
        """Take fresh locks; what was used up stays used up."""
        # Re-entrant: the finaliser of a call that was dropped while it waited may run under it, and give a token back.
        self._lock = threading.RLock()
        self._keys.fresh_lock()

    def take(self, key: str | None, most: float = 0.0) -> float:
        """Take a token, if it is there within `most` seconds.

        Args:
            key: Whose bucket; None for the common one.
            most: How long the caller would wait for it.

        Returns:
            Seconds until the token is there. It is taken only if they are not more than `most`.
        """
        if key is None:
            with self._lock:
                return self._take(self._all, most)
        with self._keys.lock:
            return self._take(self._keys.find(key), most)

    def _take(self, bucket: _Bucket, most: float) -> float:
        now = clock.now()
        paid = max(bucket.empty_until, now)
        wait = paid - self._slack - now
        if wait <= self.interval * _ROUNDING:
            wait = 0.0
        if wait <= most:
            bucket.empty_until = paid + self.interval
        return wait

    def count_refusal(self) -> None:
        """Count a call that got no token."""
        with self._lock:
            self.refused += 1

    def give_back(self, key: str | None) -> None:
        """Return a token that was not used: the call was refused elsewhere, or its caller went away."""
        if key is None:
            with self._lock:
                self._all.empty_until -= self.interval
        else:
            with self._keys.lock:
                self._keys.find(key).empty_until -= self.interval

    def snapshot(self) -> dict[str, Any]:
        """Return the present state, for `stats()`."""
        with self._lock:
            used = max(0.0, self._all.empty_until - clock.now())
            free = int((self._slack + self.interval - used) / self.interval + _ROUNDING)
        return {"rate": self.text, "free": max(0, free), "refused": self.refused, "keys": len(self._keys)}
