"""The page of all commands, made from the commands themselves."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

_HEAD: Final = """# Commands

Made from the commands themselves: `--help` behind any of them says the same. Exit codes: 0 all is well; 1 something is wrong; 2 wrong
use or a wrong setting; [`audit verify`](verification.md) has more. Wherever there is `--json`, that is for scripts.
"""


def markdown() -> str:
    """Return the page."""
    from typer.main import get_command

    from guardrail.cli.app import build

    return "\n".join((_HEAD, *_lines(get_command(build()), "guardrail"))).rstrip() + "\n"


def _lines(command: Any, name: str) -> Iterator[str]:
    children = getattr(command, "commands", {})
    if not children or command.invoke_without_command:
        yield f"## {name}\n"
        yield from _one(command, name)
    for word, child in children.items():
        yield from _lines(child, f"{name} {word}")


def _one(command: Any, name: str) -> Iterator[str]:
    given = [each for each in command.params if each.name != "help"]
    arguments = [each for each in given if each.param_type_name == "argument"]
    options = [each for each in given if each.param_type_name == "option"]
    words = [name, *(["[OPTIONS]"] if options else []), *(_placed(each) for each in arguments)]
    yield f"```text\n{' '.join(words)}\n```\n"
    yield f"{_plain(command.help)}\n"
    if given:
        yield "| | |\n|---|---|"
        yield from (f"| `{_placed(each)}` | {_told(each)} |" for each in arguments)
        yield from (f"| {_written(each)} | {_told(each)} |" for each in options)
        yield ""


def _placed(argument: Any) -> str:
    word = argument.metavar or argument.name.upper()
    word = f"{word}..." if argument.nargs == -1 else word
    return word if argument.required or word.startswith("[") else f"[{word}]"


def _written(option: Any) -> str:
    value = "" if option.is_flag or option.count else f" {option.metavar or option.name.upper()}"
    return ", ".join(f"`{word}{value}`" for word in (*option.opts, *option.secondary_opts)).replace("|", "\\|")


def _told(parameter: Any) -> str:
    default = parameter.default
    text = _plain(parameter.help).replace("\n", " ")
    shown = default is not None and not callable(default) and default not in (False, (), [], "", ...)
    return f"{text} Default: `{getattr(default, 'value', default)}`." if shown and not parameter.required else text


def _plain(text: str | None) -> str:
    words = " ".join((text or "").split())
    return re.sub(r"\w*<\w+>", r"`\g<0>`", words).replace("|", "\\|").replace("[", "\\[")
