"""Every error that the library raises says what to do, and none repeats what it refused: read from the source, not from luck."""

from __future__ import annotations

import ast
import functools
import re
from pathlib import Path

import guardrail

SRC = Path(guardrail.__file__).parent
# An instruction in the text itself: what it must be, or what to do.
TELLS = re.compile(
    r"\b(must|has to|set|write|give|say|bring|free|name|chmod|chown|upgrade|rotate|install)\b|pip install|`guardrail|guardrail audit"
)
# Texts whose hint is made elsewhere, or where there is nothing to do: each with the reason.
SAID_ELSEWHERE = {
    "cli/text.py": "an error of the operating system, told as it is",
    "delivery/answers.py": "what the receiver answered, with what to do about it",
    "delivery/http.py": "as above",
    "delivery/connection.py": "an address that is never called, whatever one writes",
    "delivery/sinks/apprise.py": "what the service answered",
    "delivery/sinks/otlp.py": "as above",
    "delivery/sinks/smtp.py": "as above",
    "delivery/sinks/splunk.py": "as above",
    "delivery/sinks/syslog.py": "as above",
    "review/votes.py": "another person's claim: there is nothing to do but wait for it",
    "store/sqlite.py": "what the operating system or SQLite answered",
}
REFUSED = {
    "value",
    "answer",
    "secret",
    "password",
    "url",
    "content",
    "args",
    "kwargs",
    "row",
}  # what is, or holds, the user's own


@functools.cache
def _raised() -> list[tuple[Path, ast.Call]]:
    """Return every place that makes an exception of ours, with its file."""
    calls: list[tuple[Path, str, ast.Call]] = []
    bases: dict[str, set[str]] = {}
    for path in sorted(SRC.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                bases[node.name] = {each.id for each in node.bases if isinstance(each, ast.Name)}
            elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                calls.append((path.relative_to(SRC), node.func.id, node))
    family = {"GuardrailError"}
    while more := {name for name, over in bases.items() if over & family} - family:
        family |= more
    return [(path, node) for path, name, node in calls if name in family]


def _words(node: ast.AST) -> str:
    return " ".join(each.value for each in ast.walk(node) if isinstance(each, ast.Constant) and isinstance(each.value, str))


def test_every_error_says_what_to_do() -> None:
    """It has a hint, or its text holds the instruction; the few others are named with the reason."""
    silent = {
        f"{path}:{node.lineno} {_words(node)}": path.as_posix()
        for path, node in _raised()
        if node.args and not any(word.arg == "hint" for word in node.keywords)
        and not TELLS.search(" ".join(map(_words, node.args)))
    }  # fmt: skip
    assert [text for text, path in silent.items() if path not in SAID_ELSEWHERE] == []
    assert set(SAID_ELSEWHERE) - set(silent.values()) == set(), "an exception that no longer is one"


def test_no_error_repeats_what_it_refused() -> None:
    """A message is made of names, types and numbers of ours; never of the value itself."""
    told = [
        f"{path}:{node.lineno} {part.value.id}"
        for path, node in _raised()
        for part in ast.walk(node)
        if isinstance(part, ast.FormattedValue) and isinstance(part.value, ast.Name) and part.value.id in REFUSED
    ]
    assert told == []
