"""What every record of a process repeats: application, kind of process, host, process id and version of the library."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path
from typing import Any, Final

from guardrail.ledger.text import NAME_LIMIT, text

_SERVERS: Final = (
    "aiohttp.web", "bentoml", "celery", "django", "fastapi", "flask", "grpc", "gunicorn", "hypercorn", "mlserver", "ray.serve",
    "starlette", "tornado.web", "uvicorn",
)  # fmt: skip
_testing = False


def surroundings(service: str | None) -> dict[str, Any]:
    """Return what every record of this process repeats: service, origin, host, pid and version of the library."""
    found: dict[str, Any] = {"service": text(service, NAME_LIMIT)} if service else {}
    found["origin"] = origin()
    found["host"] = text(socket.gethostname(), NAME_LIMIT)
    found["pid"] = os.getpid()
    found["sdk"] = sdk_version()
    return found


def is_a_test() -> None:
    """Have every record of this process say that it comes of a test. To be called before the first guarded call."""
    global _testing  # noqa: PLW0603 - one process, one kind
    _testing = True


def origin() -> str:
    """Return what kind of process this is: "test", "notebook", "service" or "batch" (a script that serves nobody)."""
    loaded = sys.modules
    if _testing:
        return "test"
    if "PYTEST_VERSION" in os.environ or "PYTEST_CURRENT_TEST" in os.environ:
        return "test"
    if "ipykernel.kernelapp" in loaded:
        return "notebook"
    return "service" if any(name in loaded for name in _SERVERS) else "batch"


def boot_id() -> str:
    """Return what this start of the machine is called, "" where the system does not say (random(4))."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


def sdk_version() -> str:
    """Return the version of this library."""
    from importlib.metadata import PackageNotFoundError, version  # noqa: PLC0415 - 38 ms, on the ledger's thread only

    try:
        return version("guardrail-sdk")
    except PackageNotFoundError:  # run from a checkout that is not installed
        return "0"
