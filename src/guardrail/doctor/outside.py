"""What is elsewhere: the shared cache and the sinks, each asked with a test."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from typing import Final

from guardrail import settings
from guardrail.doctor.finding import Finding, reason
from guardrail.doctor.installation import DISTRIBUTION
from guardrail.errors import ConfigError

_CACHE_SECONDS: Final = 2.0


def cache() -> Iterator[Finding]:
    """Yield what is found of the shared cache."""
    now = settings.current()
    if now.cache_url is None:
        return
    try:
        import redis  # noqa: PLC0415 - an extra
    except ImportError:
        yield Finding("bad", "cache", f'needs the extra redis: pip install "{DISTRIBUTION}[redis]"')
        return
    key, value = f"{now.service}:guardrail:doctor:{secrets.token_hex(8)}", secrets.token_bytes(8)
    try:
        url = now.cache_url.reveal()
        with redis.Redis.from_url(url, socket_timeout=_CACHE_SECONDS, socket_connect_timeout=_CACHE_SECONDS) as client:
            client.ping()
            client.set(key, value, px=10_000)
            same = client.get(key) == value
            client.delete(key)
    except Exception as error:  # noqa: BLE001 - whatever the client raises; its text may hold the URL
        yield Finding("bad", "cache", f"{now.cache_url} does not answer: {type(error).__name__}")
        return
    if same:
        yield Finding("ok", "cache", f"{now.cache_url} keeps and gives back a test key")
    else:
        yield Finding("bad", "cache", f"{now.cache_url} did not give back the test key; is it out of memory?")


def sinks(*, stdout: bool) -> Iterator[Finding]:
    """Yield what is found of the sinks."""
    from guardrail.delivery.replay import probe  # noqa: PLC0415 - as above
    from guardrail.delivery.status import lags  # noqa: PLC0415

    known = settings.current().sinks
    for name, sink in known.items():
        where = sink.address.shown()
        if sink.address.scheme == "stdout" and not stdout:
            yield Finding("ok", "sinks", f"{name}: {where} takes lines")
            continue
        try:
            said = probe(sink)
        except (OSError, ConfigError) as error:
            yield Finding("bad", "sinks", f"{name}: {where} does not take a test record: {reason(error)}")
        except Exception as error:  # noqa: BLE001 - whatever a client raises; its text may hold what is secret
            yield Finding("bad", "sinks", f"{name}: {where} does not take a test record: {type(error).__name__}")
        else:
            yield Finding("ok", "sinks", f"{name}: {where}: {said}")
    for name, lag in lags(settings.home(create=False)).items() if known else ():
        if lag.state.problem:
            yield Finding(
                "bad", "sinks", f"{name}: delivery fails ({lag.state.problem}); {lag.behind:,} records wait in the ledger"
            )
        if lag.dead:
            yield Finding("warn", "sinks", f"{name}: {lag.dead:,} dead letters; `guardrail sink dead {name}` lists them")
