"""Where and how a load was made: machine, versions, command line without secrets."""

from __future__ import annotations

import os
import platform
import shlex
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from guardrail import clock
from guardrail.settings.values import masked


def machine() -> dict[str, str]:
    """Return what a reader has to know about the machine to compare figures."""
    from guardrail.doctor import version  # noqa: PLC0415 - once, for a report

    load = f"{os.getloadavg()[0]:.2f}" if hasattr(os, "getloadavg") else "unknown"
    return {
        "when": datetime.fromtimestamp(clock.wall()).astimezone().isoformat(sep=" ", timespec="seconds"),
        "machine": f"{_processor()}, {_usable()} of {os.cpu_count() or '?'} processors usable",
        "load before": f"{load} over the last minute",
        "memory": _memory(),
        "system": f"{platform.system()} {platform.release()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}, {sys.getswitchinterval() * 1e3:g} ms switch interval",
        "guardrail-sdk": version(),
    }


def command_line(words: Sequence[str]) -> str:
    """Return a command line as one would type it, with what may be secret in its URLs replaced by stars."""
    shown = ["guardrail"]
    for word in words:
        option, equals, value = word.partition("=")
        if option.startswith("--") and equals and "://" in value:
            shown.append(f"{option}={masked(value)}")
        else:
            shown.append(masked(word) if "://" in word else word)
    return shlex.join(shown)


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _usable() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _memory() -> str:
    try:
        return f"{os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / 2**30:.1f} GiB"
    except (AttributeError, OSError, ValueError):
        return "unknown"
