"""The public names with their signatures, as they stand in api.txt, so that a change to them shows in the diff."""

import enum
import importlib
import inspect
import sys
from pathlib import Path

FILE = Path(__file__).parents[1] / "api.txt"
MODULES = ("guardrail", "guardrail.errors", "guardrail.review", "guardrail.testing", "guardrail.delivery", "guardrail.ledger")
HEAD = "The public names, and how they are called. Written by `python tests/test_api.py`; compared by the tests.\n"


def text() -> str:
    """Return what belongs into the file."""
    lines = [HEAD]
    told = set()
    for word in MODULES:
        module = importlib.import_module(word)
        lines.append(f"{word}")
        for name in sorted(module.__all__):
            thing = getattr(module, name)
            if id(thing) in told and inspect.isclass(thing):
                continue  # it stands under the name by which it was first met
            told.add(id(thing))
            lines += [f"    {line}" for line in described(name, thing)]
        lines.append("")
    return "\n".join(lines)


def described(name, thing):
    """Yield the lines of one name."""
    if inspect.isclass(thing):
        bases = ", ".join(base.__name__ for base in thing.__bases__ if base is not object)
        yield f"class {name}({bases})" if bases else f"class {name}"
        if issubclass(thing, enum.Enum):
            yield f"    = {', '.join(member.value if isinstance(member.value, str) else member.name for member in thing)}"
            return
        yield from (f"    {line}" for line in members(thing))
    elif callable(thing) and not hasattr(thing, "__origin__"):
        yield f"{name}{signature(thing)}"
    else:
        yield name


def members(cls):
    """Yield how a class is made, and its own public methods and properties."""
    made = vars(cls).get("__init__") or vars(cls).get("__new__")
    if inspect.isfunction(made) and not getattr(cls, "_is_protocol", False):
        yield f"__init__{signature(made)}"
    for word, thing in sorted(vars(cls).items()):
        if word.startswith("_"):
            continue
        thing = thing.__func__ if isinstance(thing, classmethod | staticmethod) else thing
        if isinstance(thing, property):
            yield word
        elif inspect.isfunction(thing):
            yield f"{word}{signature(thing)}"


def signature(thing):
    """Return a signature, the same on every Python."""
    try:
        found = inspect.signature(thing)
    except (TypeError, ValueError):
        return "(...)"
    parts = []
    star = False
    for parameter in found.parameters.values():
        if parameter.kind is parameter.KEYWORD_ONLY and not star and not any(p.startswith("*") for p in parts):
            parts.append("*")
            star = True
        mark = {parameter.VAR_POSITIONAL: "*", parameter.VAR_KEYWORD: "**"}.get(parameter.kind, "")
        plain = parameter.default
        default = (
            ""
            if plain is parameter.empty
            else f"={plain!r}"
            if type(plain) in (str, int, float, bool, type(None), tuple)
            else "=…"
        )
        parts.append(f"{mark}{parameter.name}{default}")
    return f"({', '.join(parts)})"


def test_the_public_names_are_as_written() -> None:
    """A name that goes, comes or changes how it is called is a change of api.txt in the same commit."""
    assert FILE.read_text(encoding="utf-8") == text(), "`python tests/test_api.py` writes api.txt anew"


if __name__ == "__main__":
    FILE.write_text(text(), encoding="utf-8")
    sys.exit()
