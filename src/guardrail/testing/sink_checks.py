"""The conformance kit for sinks: what the courier relies on, tried against a peer that misbehaves to order."""

from __future__ import annotations

import contextlib
import traceback
from collections.abc import Callable, Collection, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

from guardrail.delivery.sink import Caps, Item, Sink
from guardrail.errors import ConfigError
from guardrail.settings.values import nearest
from guardrail.testing.peers import CANARY
from guardrail.testing.sink_trial import PRIVATE, Check, How, NotOffered, Peer, Report, Trial, must

RETRY_AFTER: Final = 7.0  # seconds that a peer asks for with "429"


def check_sink(
    make: Callable[[str], Any],
    peer: Peer,
    *,
    patience: float = 4.0,
    only: Collection[str] = (),
    inapplicable: Mapping[str, str] = MappingProxyType({}),
) -> Report:
    """Try whether a sink keeps to what the courier relies on.

    Args:
        make: Makes the sink for a URL; it is called several times.
        peer: The other side, such as a `guardrail.testing.HttpPeer`. It is left running.
        patience: Seconds in which every call of the sink must come back: the timeout of the peer's URL, and what a busy machine
            adds to it.
        only: Which checks to make, out of `guardrail.testing.SINK_CHECKS`; all of them where none is named.
        inapplicable: Checks that mean nothing for this kind of sink, each with why: what has no network has no certificates.
            They are not made, and reported as "not applicable" with that reason.

    Returns:
        What came of each check. What the peer cannot do is "not offered", never passed.

    Raises:
        ConfigError: There is no such check, or what does not apply has no reason.
    """
    for name in (*only, *inapplicable):
        if name not in SINK_CHECKS:
            raise ConfigError("check_sink is to make a check that there is not", hint=nearest(name, SINK_CHECKS))
    for name, why in inapplicable.items():
        if not why.strip():
            raise ConfigError(f"check_sink is not told why {name!r} does not apply", hint='write inapplicable={"…": "why"}')
    everything = not only or not _LAST.isdisjoint(only)  # what was shown anywhere is known when all else was done
    trial = Trial(make, peer, patience)
    found = [
        Check(name, "not applicable", inapplicable[name]) if name in inapplicable else _made(name, check, trial)
        for name, check in _CHECKS
        if everything or name in only
    ]
    with contextlib.suppress(Exception):
        peer.behave("ok")
        trial.bounded(trial.sink.close)
    return Report(tuple(check for check in found if not only or check.name in only))


def _made(name: str, check: Callable[[Trial], None], trial: Trial) -> Check:
    try:
        with trial.watched():
            trial.peer.behave("ok")
            check(trial)
    except NotOffered as lack:
        return Check(name, "not offered", str(lack))
    except AssertionError as wrong:
        return Check(name, "failed", str(wrong))
    except Exception as problem:  # noqa: BLE001 - a sink may raise anything; that is a finding as well
        trial.shown += traceback.format_exception(problem)
        return Check(name, "failed", f"it met an unexpected {type(problem).__name__}")
    return Check(name, "passed", "")


# ── what it is ────────────────────────────────────────────────────────────────────────────────────────────────────────
def _opens_nothing(trial: Trial) -> None:
    got = len(trial.peer.received())
    trial.bounded(trial.made().close)
    must(not trial.opened, f"its constructor opens {', '.join(trial.opened)}")
    must(len(trial.peer.received()) == got, "its constructor already sends something")


def _shape(trial: Trial) -> None:
    must(isinstance(trial.sink, Sink), "it lacks one of caps, send, probe and close")
    caps = trial.sink.caps
    must(isinstance(caps, Caps), "its caps are no Caps")
    must(min(caps.items, caps.size, caps.item_size) > 0, "its caps leave no room for a record")


def _one_result_for_each(trial: Trial) -> None:
    _delivered(trial, trial.items(3))


def _nothing_for_nothing(trial: Trial) -> None:
    got = len(trial.peer.received())
    results = list(trial.bounded(lambda: trial.sink.send([])))
    must(not results, f"it gives {len(results)} results for no items")
    must(len(trial.peer.received()) == got, "it sends something where there is nothing to be sent")


# ── what arrives ──────────────────────────────────────────────────────────────────────────────────────────────────────
def _order(trial: Trial) -> None:
    batch = trial.items(5)
    got = len(trial.peer.received())
    _delivered(trial, batch)
    bodies = trial.since(got)
    places = []
    for item in batch:
        at = next((at for at, body in enumerate(bodies) if trial.peer.holds(body, item)), None)
        if at is None:
            raise AssertionError("an item that it calls arrived did not arrive")
        places.append((at, bodies[at].find(item.line)))
    must(places == sorted(places), "items arrive in another order")


def _same_on_every_try(trial: Trial) -> None:
    batch = trial.items(1)
    got = len(trial.peer.received())
    failing = trial.peer.behave("500")
    trial.send(batch)
    trial.peer.behave("ok")
    _delivered(trial, batch)
    tries = [body for body in trial.since(got) if trial.peer.holds(body, batch[0])]
    must(bool(tries), "an item that it calls arrived did not arrive")
    must(len(tries) > 1 or not failing, "a second try sends nothing")
    must(len(set(tries)) == 1, "a second try has another body, so nobody can tell duplicates")


def _close_and_go_on(trial: Trial) -> None:
    trial.bounded(trial.sink.close)
    trial.bounded(trial.sink.close)
    _delivered(trial, trial.items(1))
    trial.bounded(trial.made().close)


def _away_and_back(trial: Trial) -> None:
    trial.peer.stop()
    try:
        results = trial.send(trial.items(2))
        must(all(each.kind == "retry" for each in results), "while its peer is away, an item is not 'retry'")
    finally:
        trial.peer.start()
    _delivered(trial, trial.items(1))


def _probe(trial: Trial) -> None:
    said = trial.bounded(trial.sink.probe)
    must(isinstance(said, str) and bool(said), "probe does not say what it proved")
    trial.shown.append(said)
    trial.peer.stop()
    try:
        trial.bounded(trial.sink.probe)
    except AssertionError:
        raise
    except Exception as problem:  # noqa: BLE001 - it should raise something
        trial.shown += traceback.format_exception(problem)
        return
    finally:
        trial.peer.start()
    raise AssertionError("probe says that all is well while its peer is away")


# ── what fails ────────────────────────────────────────────────────────────────────────────────────────────────────────
def _sends_once(trial: Trial) -> None:
    trial.behave("500")
    got = len(trial.peer.received())
    results = trial.send(trial.items(1))
    sent = len(trial.since(got))
    must(sent <= 1, f"it tries {sent} times by itself: the courier does that, with pauses, a breaker and a bound")
    must(results[0].kind == "retry", f"a failure of the peer is {results[0].kind!r}, not 'retry'")


def _too_many_requests(trial: Trial) -> None:
    trial.behave("429")
    (result,) = trial.send(trial.items(1))
    must(result.kind == "retry", f"429 is {result.kind!r}, not 'retry'")
    must(result.after is not None and result.after > RETRY_AFTER - 2.0, f"Retry-After says 7 s, and it says {result.after}")


def _partial_failure(trial: Trial) -> None:
    if trial.peer.behave("partial"):
        results = trial.send(trial.items(3))
        must(results[1].kind in {"retry", "reject"}, "an item that its peer refused counts as arrived")
        must(results[0].kind == "ok", "an item that its peer took, before one that it refused, does not count as arrived")
        return
    trial.behave("second")
    batch = trial.items(3)
    got = len(trial.peer.received())
    results = trial.send(batch)
    bodies = trial.since(got)
    if len(bodies) < 2:  # noqa: PLR2004 - then there is no part
        raise NotOffered("the peer cannot do 'partial', and a batch is sent as one request")
    for item, result in zip(batch, results, strict=True):
        taken = trial.peer.holds(bodies[0], item)
        must(taken or result.kind == "retry", f"an item on a connection that broke is {result.kind!r}, not 'retry'")
        must(
            not taken or result.kind == "ok", "an item that its peer took, before the connection broke, does not count as arrived"
        )


def _reset(trial: Trial) -> None:
    trial.behave("reset")
    (result,) = trial.send(trial.items(1))
    must(result.kind == "retry", f"a connection that is cut in the middle is {result.kind!r}, not 'retry'")


def _slow(trial: Trial) -> None:
    _endless(trial, "slow")


def _drip(trial: Trial) -> None:
    _endless(trial, "drip")


def _endless(trial: Trial, how: How) -> None:
    trial.behave(how)
    sink = trial.made()  # its URL may be another now
    trial.peer.behave("ok")
    trial.send(trial.items(1), by=sink)  # so that it has its connection; whether that works in a short time is not the question
    trial.behave(how)
    (result,) = trial.send(trial.items(1), by=sink)
    must(result.kind == "retry", f"no answer in time is {result.kind!r}, not 'retry'")
    trial.bounded(sink.close)


def _too_long(trial: Trial) -> None:
    trial.behave("413")
    (result,) = trial.send(trial.items(1, filler=1_000))
    must(result.kind == "reject", f"an item that its peer finds too long is {result.kind!r}: it would hold up all others")
    batch = trial.items(2)
    got = len(trial.peer.received())
    results = trial.send(batch)
    together = any(all(item.line in body for item in batch) for body in trial.since(got))
    must(
        not together or all(each.kind == "retry" for each in results),
        "a batch of several that its peer finds too long is not 'retry': in smaller parts it would arrive",
    )


def _credentials(trial: Trial) -> None:
    hows: tuple[How, ...] = ("401", "403")
    able: list[How] = [how for how in hows if trial.peer.behave(how)]
    if not able:
        raise NotOffered("the peer cannot do '401'")
    for how in able:
        trial.behave(how)
        (result,) = trial.send(trial.items(1))
        must(result.kind == "retry", f"credentials that have expired are {result.kind!r}: all records would become dead letters")
        must(result.credentials, "it does not say credentials=True, so that nobody reads the secret again")
    trial.behave("ok")
    _delivered(trial, trial.items(1))


def _unknown_certificate(trial: Trial) -> None:
    trial.behave("certificate")
    got = len(trial.peer.received())
    sink = trial.made()  # for another URL, where it speaks TLS
    (result,) = trial.send(trial.items(1), by=sink)
    must(not trial.since(got), "it sends records to somebody whose certificate nobody knows")
    must(result.kind == "retry", f"a certificate that nobody knows is {result.kind!r}, not 'retry'")
    trial.bounded(sink.close)


# ── what it shows ─────────────────────────────────────────────────────────────────────────────────────────────────────
def _secrets(trial: Trial) -> None:
    if CANARY not in trial.peer.url:
        raise NotOffered("the peer's URL holds no CANARY")
    shown = [text for text in trial.shown if CANARY in text]
    must(not shown, "its secret stands in what it shows: an error, a reason, a log line, its repr or its output")


def _nothing_private(trial: Trial) -> None:
    shown = [text for text in trial.shown if PRIVATE in text]
    must(not shown, "a part of a record stands in what it shows: an error, a reason, a log line, its repr or its output")


def _delivered(trial: Trial, batch: Sequence[Item]) -> None:
    results = trial.send(batch)
    if all(each.kind == "retry" for each in results):
        results = trial.send(batch)  # a connection that its peer closed meanwhile may be noticed only now
    must(all(each.kind == "ok" for each in results), "it does not take what its peer takes")


_CHECKS: Final[tuple[tuple[str, Callable[[Trial], None]], ...]] = (
    ("its constructor opens nothing", _opens_nothing),
    ("its shape", _shape),
    ("one result for each item", _one_result_for_each),
    ("an empty batch", _nothing_for_nothing),
    ("order", _order),
    ("the same body on every try", _same_on_every_try),
    ("it sends once", _sends_once),
    ("429 with Retry-After", _too_many_requests),
    ("partial failure", _partial_failure),
    ("reset in the middle", _reset),
    ("a slow peer", _slow),
    ("an answer that drips", _drip),
    ("an item that is too long", _too_long),
    ("expired credentials", _credentials),
    ("an unknown certificate", _unknown_certificate),
    ("away and back", _away_and_back),
    ("close, and go on", _close_and_go_on),
    ("probe", _probe),
    ("secrets are never shown", _secrets),
    ("records are never shown", _nothing_private),
)
_LAST: Final = frozenset({"secrets are never shown", "records are never shown"})
SINK_CHECKS: Final = tuple(name for name, _ in _CHECKS)
