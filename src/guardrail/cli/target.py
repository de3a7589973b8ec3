"""What `module:function` on a command line names."""

from __future__ import annotations

import functools
import importlib
import sys
from pathlib import Path
from typing import Any, Final

from guardrail.errors import ConfigError

_PLEASE: Final = "write it as module:function, such as loans.model:predict"


def function(target: str) -> Any:
    """Return what `module:function` names; the working directory is looked into as `python -m` does.

    Raises:
        ConfigError: There is no such thing.
    """
    module, colon, path = target.partition(":")
    if not colon or not module or not path:
        raise ConfigError(f"{target} does not name a function", hint=_PLEASE)
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        found = importlib.import_module(module)
    except ModuleNotFoundError as problem:
        if problem.name is None or not f"{module}.".startswith(f"{problem.name}."):
            raise  # the module is there, and something that it needs is not
        raise ConfigError(
            f"there is no module {problem.name}", hint=f"{_PLEASE}, from the folder that the module is in"
        ) from None
    try:
        return functools.reduce(getattr, path.split("."), found)
    except AttributeError:
        raise ConfigError(f"module {module} has no {path}", hint=_PLEASE) from None
