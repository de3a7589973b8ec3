"""What concerns the process as a whole: its settings, and that everything is written before it goes."""

from __future__ import annotations

import sys
from typing import Any

from guardrail import clock, lifecycle
from guardrail.ledger import writer


def configure(**settings: Any) -> None:
    """Set settings for this process, over `guardrail.toml` and below the environment. May be called again.

    Args:
        settings: By the names of the variables in lower case: `configure(service="loans", mode="observe")`.

    Raises:
        ConfigError: A name or value is wrong; names the nearest.
    """
    from guardrail import registry  # noqa: PLC0415
    from guardrail import settings as table  # noqa: PLC0415

    table.on_change(registry.reconfigure)
    table.configure(**settings)


def flush(timeout: clock.Duration = 5) -> bool:
    """Wait until every record so far is durable and with the sinks, and telemetry is handed on.

    Args:
        timeout: The most that it takes.

    Returns:
        Whether all of it was done in time.
    """
    seconds = clock.seconds(timeout, "timeout of flush", zero=True)
    until = clock.now() + seconds
    done = writer.flush(seconds)
    couriers = sys.modules.get("guardrail.delivery.couriers")  # loaded by the first record of a process that has sinks
    if couriers is not None:
        done = couriers.flush(max(0.0, until - clock.now())) and done
    provider = sys.modules.get("guardrail.telemetry.provider")
    return done if provider is None else provider.flush(max(0.0, until - clock.now())) and done


def shutdown(timeout: clock.Duration = 5) -> bool:
    """Flush, then stop what runs in the background; a later guarded call starts it again.

    Args:
        timeout: The most that it takes.

    Returns:
        Whether all of it was done in time.
    """
    return lifecycle.finish_all(clock.seconds(timeout, "timeout of shutdown", zero=True))
