"""Callers at a constant rate, who keep what they were told: an answer, a refusal with its reason, or a broken connection."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections import Counter
from typing import Any


class Callers:
    """Threads that call until `stop`; a call whose connection breaks is made again, as a client does.

    Args:
        port: Of the service.
        rate: Calls a second, of all together.
        threads: How many callers.
    """

    def __init__(self, port: int, rate: float, threads: int = 16) -> None:
        self.port, self.rate = port, rate
        self.told: list[dict[str, Any]] = []
        self.outcomes: Counter[str] = Counter()
        self.broken = self.unanswered = self.sent = 0
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._call, args=(at, threads), daemon=True) for at in range(threads)]

    def start(self) -> None:
        """Begin."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End, when the calls that are under way have ended."""
        self._stop.set()
        for thread in self._threads:
            thread.join(120)

    def _call(self, at: int, threads: int) -> None:
        number, every = at, threads / self.rate
        due = time.monotonic() + every * at / threads
        while not self._stop.wait(max(0.0, due - time.monotonic())):
            due = max(due + every, time.monotonic() - 1)
            self._one(number)
            number += threads

    def _one(self, number: int) -> None:
        body = json.dumps({"number": f"case-{number}", "amount": float(number)})
        with self._lock:
            self.sent += 1
        for left in reversed(range(20)):
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
            try:
                connection.request("POST", "/predict", body, {"Content-Type": "application/json"})
                answer = connection.getresponse()
                found = json.loads(answer.read())
                with self._lock:
                    self.outcomes[found.get("outcome") or f"HTTP {answer.status}"] += 1
                    self.told.append(found)
                return
            except (OSError, http.client.HTTPException, ValueError):
                with self._lock:
                    self.broken += 1
                time.sleep(0.25)
            finally:
                connection.close()
            if not left:
                with self._lock:
                    self.unanswered += 1
