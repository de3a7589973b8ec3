"""The three places settings come from, read into one shape: the environment, `configure()` and guardrail.toml."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal, NamedTuple

from guardrail.errors import ConfigError
from guardrail.settings.guards import address, known
from guardrail.settings.sinks import sink_name
from guardrail.settings.table import FAMILIES, PREFIX, TABLE, variable
from guardrail.settings.values import nearest, printable

Origin = Literal["environment", "configure()", "guardrail.toml", "default"]

_MAX_SECRET: Final = 65_536  # bytes of a mounted secret
_MAX_TOML: Final = 1_048_576
_FORM: Final = f"write {PREFIX}GUARD__<NAME>__<OPTION>, with two underscores on both sides of the name"


class Given(NamedTuple):
    """One value as it was found: not parsed yet."""

    value: object
    where: str
    origin: Origin


class GuardKey(NamedTuple):
    """Which option of which guard; `exact` names are compared as they are, others as `guards.address` spells them."""

    guard: str
    option: str
    exact: bool


@dataclass(slots=True)
class Source:
    """Everything that one place says."""

    plain: dict[str, Given] = field(default_factory=dict)
    sinks: dict[str, Given] = field(default_factory=dict)
    routes: dict[str, Given] = field(default_factory=dict)
    anchors: dict[str, Given] = field(default_factory=dict)
    guards: dict[GuardKey, Given] = field(default_factory=dict)


# -- environment -------------------------------------------------------------------------------------------------------


def from_environment(environ: Mapping[str, str]) -> Source:
    """Read every `GUARDRAIL_*` variable that is not empty; `X_FILE` names a file that holds the value of `X`.

    Raises:
        ConfigError: A name is unknown, a variable is given twice, or a file cannot be read.
    """
    source = Source()
    spelled: dict[tuple[str, str], str] = {}
    for name in sorted(environ):
        if not name.startswith(PREFIX) or not environ[name].strip():
            continue
        rest = name.removeprefix(PREFIX)
        in_file = rest.endswith("_FILE") and _exists(rest.removesuffix("_FILE"))
        key = _place(rest.removesuffix("_FILE") if in_file else rest, name)
        if key in spelled:
            raise ConfigError(f"{printable(spelled[key])} and {printable(name)} are both set", hint="unset one of them")
        spelled[key] = name
        given = Given(_secret(environ[name], name) if in_file else environ[name], printable(name), "environment")
        _put(source, key, given)
    return source


def _exists(rest: str) -> bool:
    """Tell whether a name without its `_FILE` is itself the name of a setting."""
    try:
        _place(rest, rest)
    except ConfigError:
        return False
    return True


def _place(rest: str, name: str) -> tuple[str, str]:
    """Return the kind of a setting and its name within the kind; for a guard `ADDRESS__option`."""
    shown = printable(name)
    if rest.lower() in TABLE and rest.isupper():
        return "plain", rest.lower()
    for kind in ("SINK", "ROUTE", "ANCHOR"):
        if rest.startswith(f"{kind}_"):
            return f"{kind.lower()}s", sink_name(rest.removeprefix(f"{kind}_"), shown)
    if rest.startswith("GUARD_"):
        guard, two, option = rest.removeprefix("GUARD__").rpartition("__")
        addressed = address(guard)
        if not rest.startswith("GUARD__") or not two or not addressed:
            raise ConfigError(f"{shown} does not say which option of which guard", hint=_FORM)
        known(option.lower(), shown)
        return "guards", f"{addressed}__{option.lower()}"
    every = [variable(each) for each in TABLE] + [PREFIX + family.variable for family in FAMILIES]
    raise ConfigError(f"{shown} is not a setting", hint=nearest(name, every, PREFIX))


def _put(source: Source, key: tuple[str, str], given: Given) -> None:
    kind, name = key
    if kind == "guards":
        guard, _, option = name.rpartition("__")
        source.guards[GuardKey(guard, option, exact=False)] = given
    else:
        {"plain": source.plain, "sinks": source.sinks, "routes": source.routes, "anchors": source.anchors}[kind][name] = given


def _secret(path: str, name: str) -> str:
    """Read a mounted secret, without its last line break."""
    shown = printable(name)
    try:
        content = _read(path, _MAX_SECRET)
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        raise ConfigError(
            f"the file that {shown} names cannot be read: {why}",
            hint="see that it is there and that the user of this process may read it",
        ) from None
    try:
        value = content.decode()
    except UnicodeDecodeError:
        raise ConfigError(f"the file that {shown} names is not UTF-8", hint="write it anew, as UTF-8") from None
    value = value.removesuffix("\n").removesuffix("\r")
    if not value.strip():
        raise ConfigError(f"the file that {shown} names is empty", hint="write the value into it, or unset the variable")
    return value


def _read(path: str | Path, limit: int) -> bytes:
    """Read a regular file that is not too big; a pipe or device could block for ever or never end."""
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(handle, "rb") as file:  # noqa: PTH123 - from a descriptor
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise ValueError("it is not a regular file")
        content = file.read(limit + 1)
    if len(content) > limit:
        raise ValueError(f"it is longer than {limit} bytes")
    return content


# -- configure() and guardrail.toml ------------------------------------------------------------------------------------


def from_configure(settings: Mapping[str, object]) -> Source:
    """Read what `configure(**settings)` was given.

    Raises:
        ConfigError: A name is unknown, or a group is not a mapping.
    """
    return _from_mapping(settings, "configure()", "configure({}=…)", guards_name="guards")


def from_toml(path: Path) -> Source:
    """Read a guardrail.toml.

    Raises:
        ConfigError: It cannot be read or is not TOML, a name is unknown, or a group is not a table.
    """
    import tomllib  # noqa: PLC0415 - only who has such a file pays for it

    try:
        content = tomllib.loads(_read(path, _MAX_TOML).decode())
    except tomllib.TOMLDecodeError as error:
        at = re.search(r"\(at [^()]*\)$", str(error))
        raise ConfigError(
            f"{path} is not valid TOML {at[0] if at else ''}".rstrip(),
            hint="mend it there; texts stand in quotes, and a group begins with [name]",
        ) from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path} is not UTF-8", hint="write it anew, as UTF-8") from None
    except RecursionError:
        raise ConfigError(
            f"{path} is nested too deeply", hint='its groups are [sinks], [routes], [anchors] and [guard."NAME"]'
        ) from None
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"{path} cannot be read: {error.strerror if isinstance(error, OSError) else error}",
            hint="see that it is a file and that the user of this process may read it",
        ) from None
    for name in ("home", "signing_key_file", "sealing_key_file"):
        spelled = content.get(name)
        if isinstance(spelled, str) and spelled.strip() and not spelled.strip().startswith("~"):
            content[name] = str(path.parent / spelled.strip())
    return _from_mapping(content, "guardrail.toml", "guardrail.toml: {}", guards_name="guard")


def _from_mapping(settings: Mapping[str, object], origin: Origin, where: str, *, guards_name: str) -> Source:
    source = Source()
    groups = {"sinks": source.sinks, "routes": source.routes, "anchors": source.anchors}
    for name, value in settings.items():
        if value is None or (isinstance(value, str) and not value.strip()):
            continue
        at = where.format(printable(name))
        if name in TABLE:
            source.plain[name] = Given(value, at, origin)
        elif name in groups:
            for each, inner in _group(value, at).items():
                groups[name][sink_name(each, at)] = Given(inner, f"{at} {printable(each)}", origin)
        elif name == guards_name:
            for guard, options in _group(value, at).items():
                for option, inner in _group(options, f"{at} {printable(guard)}").items():
                    here = f"{at} {printable(guard)} {printable(option)}"
                    known(option, here)
                    source.guards[GuardKey(guard, option, exact=True)] = Given(inner, here, origin)
        else:
            raise ConfigError(f"{at} is not a setting", hint=nearest(name, [*TABLE, *groups, guards_name]))
    return source


def _group(value: object, where: str) -> dict[str, object]:
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise ConfigError(f"{where} must be a mapping from names to values")
    return dict(value)
