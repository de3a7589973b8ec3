"""A price service stops answering, and nobody gave its client a timeout: `python -m examples.hung_dependency`.

The guard's budget brings every caller back on time: with the last good price if there is one, else with the list price.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from guardrail import Budget, Fallback, decide, guard_of, guarded, last_good, warm

PRICES = {"apple": 1.20, "pear": 1.50}
LIST_PRICE = 2.00
port = 0


@guarded(
    name="price",
    version="1",
    kind="dependency",
    budget=Budget("300ms", max_abandoned=4),  # calls that hang are left behind; more than four of them are not even begun
    fallback=Fallback(last_good, LIST_PRICE),
)
def price(item: str) -> float:
    """Ask the price service. Without the guard this waits for as long as the service likes."""
    connection = HTTPConnection("127.0.0.1", port)
    connection.request("GET", f"/{item}")
    return float(connection.getresponse().read())


def main() -> None:
    with price_service() as hang:
        warm(price, "apple")
        tell("it answers", "apple")
        hang.set()
        tell("it hangs; there is a last good price", "apple")
        tell("it hangs; nothing is known of pears", "pear")
        for _ in range(4):
            tell("it hangs", "apple")
        print(f"calls left behind, still waiting: {guard_of(price).stats()['abandoned']}")


def tell(state: str, item: str) -> None:
    decision = decide(price, item)
    print(f"{state:<40} {item:<6} {decision.value:.2f}  {decision.outcome:<9} after {decision.timings['total'] * 1e3:4.0f} ms")


@contextmanager
def price_service() -> Iterator[threading.Event]:
    """Run a real HTTP server on this machine; once the event is set, it takes requests and never answers them."""
    global port  # noqa: PLW0603 - where the service is, as a configuration would say
    hang, over = threading.Event(), threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if hang.is_set():
                over.wait()
            body = str(PRICES[self.path[1:]]).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Keep quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    port = server.server_port
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    try:
        yield hang
    finally:
        over.set()
        server.shutdown()
        server.server_close()


if __name__ == "__main__":
    main()
