"""README and docs: every example runs and prints what it says, every link leads somewhere, every name in them exists."""

import ast
import builtins
import contextlib
import inspect
import io
import os
import re
import shlex
import subprocess
import sys
import textwrap
import tomllib
import types
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

import pytest

import guardrail
from guardrail import errors, registry
from guardrail.cli import reference
from guardrail.cli.app import build
from guardrail.decision import Outcome
from guardrail.delivery import retry, schemes, trust
from guardrail.delivery.address import COMMON
from guardrail.ledger import schema
from guardrail.policies.options import Frozen
from guardrail.policies.review import TRIGGERS
from guardrail.settings.table import FAMILIES, PREFIX, TABLE
from guardrail.spec import CHECKS, LATER

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.rglob("*.md"))]
POLICIES = sorted((DOCS / "policies").glob("*.md"))
SECTIONS = ["Usage", "Defaults", "What it records", "Pitfalls", "Open or closed"]
FENCE = re.compile(r"^( *)```(.*?)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
SAYS = re.compile(r"# → (.*)")


def title(page):
    return str(page.relative_to(ROOT))


OURS = [page for page in PAGES if page.name not in ("gauntlet.md", "beside.md")]  # those two speak of other libraries' options
every_page = pytest.mark.parametrize("page", PAGES, ids=title)


every_page_of_ours = pytest.mark.parametrize("page", OURS, ids=title)


class Block(NamedTuple):
    info: str
    code: str
    line: int


def blocks(page):
    text = page.read_text(encoding="utf-8")
    return [Block(m[2].strip(), textwrap.dedent(m[3]), text.count("\n", 0, m.start(3))) for m in FENCE.finditer(text)]


def prose(page):
    return FENCE.sub("", page.read_text(encoding="utf-8"))


def inline(page):
    """The texts between single backticks."""
    return re.findall(r"`([^`\n]+)`", prose(page))


def tables(page):
    """Each table as its rows, the heading first, cells stripped; a cell may hold an escaped pipe."""
    found = []
    for lines in re.findall(r"(?:^\|.*\|$\n?)+", prose(page), re.MULTILINE):
        rows = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines.splitlines()]
        found.append([rows[0], *rows[2:]])
    return found


def bare(cell):
    return cell.strip("`* ")


# ── examples ──────────────────────────────────────────────────────────────────────────────────────────────────────────
def run(block, page, module):
    """Run a block and compare what it prints with its arrows, but for the width of gaps; "…" in them stands for anything."""
    source = "\n" * block.line + block.code
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(source, str(page), "exec", dont_inherit=True), module.__dict__)  # what a reader would run
    said = SAYS.findall(block.code)
    if said:
        said, lines = ([" ".join(line.split()) for line in each] for each in (said, printed.getvalue().splitlines()))
        fits = len(lines) == len(said) and all(
            re.fullmatch(re.escape(want).replace("…", ".*"), line) for want, line in zip(said, lines, strict=True)
        )
        assert fits, f"{title(page)}:{block.line + 1} says it prints\n{said}\nand prints\n{lines}"


@every_page
def test_every_example_runs_and_prints_what_it_says(page, tmp_path, monkeypatch):
    """The blocks of a page, one after the other, as a reader would run them: in one namespace, in a fresh home."""
    module = types.ModuleType("__main__")
    monkeypatch.setitem(sys.modules, "__main__", module)
    monkeypatch.chdir(tmp_path)
    for block in blocks(page):
        if block.info == "python":
            run(block, page, module)
    for guard in registry.guards():
        guard.reset()


@every_page
def test_examples_that_are_not_run_say_why(page):
    """They are valid Python all the same; no other word may stand behind the language."""
    for block in blocks(page):
        language, _, more = block.info.partition(" ")
        assert language in ("python", "console", "text", "toml", "json", "make", "ini", "sql"), block
        if language == "python" and more not in ("", "pytest"):
            assert re.fullmatch(r"no-run: \S.+", more), block
            ast.parse(block.code)


@pytest.mark.parametrize("page", [page for page in PAGES if any(b.info == "python pytest" for b in blocks(page))], ids=title)
def test_tests_in_the_docs_pass(page, tmp_path):
    """Blocks marked `pytest` are one test module, run in a process of its own, without this suite's fixtures."""
    code = "\n\n".join(block.code for block in blocks(page) if block.info == "python pytest")
    (tmp_path / "test_page.py").write_text(code, encoding="utf-8")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("GUARDRAIL_", "OTEL_", "PYTEST_"))}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error", "test_page.py"]
    done = subprocess.run(
        command,
        cwd=tmp_path,
        env=environment | {"XDG_CONFIG_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert f"{code.count('def test_')} passed" in done.stdout


# ── commands ──────────────────────────────────────────────────────────────────────────────────────────────────────────
def commands():
    from typer.main import get_command

    return get_command(build())


def check_command(words):
    """Follow the words of a command line down the tree of commands, and look its options up."""
    found = commands()
    options = {"--version", "--help", "-h"}
    while words and words[0] in getattr(found, "commands", {}):
        found = found.commands[words.pop(0)]
        options = {opt for parameter in found.params for opt in (*parameter.opts, *parameter.secondary_opts)}
    assert not getattr(found, "commands", None) or not words or words[0].startswith("-"), f"no command {words}"
    for word in words:
        if word.startswith("-") and word != "--":
            assert word.partition("=")[0] in options, f"{found.name} has no {word}"


@every_page
def test_every_command_exists(page):
    """In console blocks and in the text: guardrail's commands and options, make's targets, extras, examples."""
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    extras = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"])
    lines = [text for text in inline(page) if re.match(r"(guardrail|make|pip install|python -m) ", text)]
    for block in blocks(page):
        if block.info == "console":
            lines += [line[2:].partition("  #")[0] for line in block.code.splitlines() if line.startswith("$ ")]
    for line in lines:
        words = shlex.split(line)
        while words and re.fullmatch(r"[A-Z_]+=\S+", words[0]):
            del words[0]
        program, *rest = words
        if program == "guardrail":
            check_command(rest)
        elif program == "make":
            assert {word for word in rest if "=" not in word} <= targets, line
        elif program == "pip":
            for asked in re.findall(r"guardrail-sdk\[(.*?)\]", line):
                assert set(asked.split(",")) <= extras, line
            assert "install guardrail" not in line.replace("guardrail-sdk", ""), "the name on the index is guardrail-sdk"
        elif rest[:1] == ["-m"]:
            place = ROOT / rest[1].replace(".", "/")
            assert place.with_suffix(".py").exists() or (place / "__main__.py").exists() or rest[1] == "pytest", line


# ── links ─────────────────────────────────────────────────────────────────────────────────────────────────────────────
def anchors(page):
    heads = re.findall(r"^#+ (.*)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", re.sub(r"\[(.*?)\]\(.*?\)", r"\1", head).lower()).replace(" ", "-") for head in heads}


@every_page
def test_every_link_leads_somewhere(page):
    """To a file of the repository, and to a heading where it names one."""
    for target in re.findall(r"\[[^\]]*\]\(([^)\s]+)\)", prose(page)):
        if target.startswith(("http://", "https://", "mailto:")):
            continue
        place, _, anchor = target.partition("#")
        found = (page.parent / place).resolve() if place else page
        assert found.exists(), f"{title(page)} links to {target}"
        assert found.is_relative_to(ROOT)
        if anchor:
            assert anchor in anchors(found), f"{title(page)} links to {target}"


def test_the_index_leads_to_every_page():
    """Nothing in docs/ is out of reach: from the index, or from the page that tells of all sinks."""
    linked = {
        (DOCS / target).resolve()
        for page in ("index.md", "sinks.md")
        for target in re.findall(r"\]\(([^)#\s]+\.md)", prose(DOCS / page))
    }
    assert {page for page in PAGES if page.is_relative_to(DOCS)} - {DOCS / "index.md"} <= linked


def test_the_site_is_built_without_a_warning(tmp_path):
    """Every page is in the navigation, and every link and heading that is linked to is there."""
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--quiet", "--strict", "--site-dir", str(tmp_path)],
        cwd=ROOT,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    readme = (tmp_path / "readme" / "index.html").read_text(encoding="utf-8")
    assert 'href="../policies/cache/"' in readme
    assert "https://fonts." not in readme


def test_the_page_of_commands_is_that_of_the_commands():
    """It is made anew by `python -c "from guardrail.cli import reference; print(reference.markdown(), end='')"`."""
    assert (DOCS / "cli.md").read_text(encoding="utf-8") == reference.markdown()


@pytest.mark.parametrize("kind", sorted({each.place for each in schemes.SCHEMES.values()}))
def test_the_page_of_a_sink_lists_its_options(kind):
    """All that it has besides those of every sink, and no others."""
    module, _, name = kind.partition(":")
    options = {word for word, option in getattr(import_module(module), name).OPTIONS.items() if option is not None}
    text = (DOCS / "sinks" / f"{module.rpartition('.')[2]}.md").read_text(encoding="utf-8")
    table = text.partition("| option | default | meaning |\n")[2].partition("\n\n")[0]
    listed = {word for line in table.splitlines()[1:] for word in re.findall(r"`(\w+)`", line.split("|")[1])}
    assert listed == options


def test_the_page_of_all_sinks_lists_every_scheme_and_common_option():
    """With the extra that it needs."""
    text = (DOCS / "sinks.md").read_text(encoding="utf-8")
    cells = re.findall(r"^\| (`\w+`(?:, `\w+`)*) \|", text, re.MULTILINE)
    assert {word for cell in cells for word in re.findall(r"\w+", cell)} == {*COMMON, *trust.OPTIONS, "proxy"}
    for scheme, known in schemes.SCHEMES.items():
        line = next(
            line
            for line in text.splitlines()
            if line.startswith("|") and f"(sinks/{known.place.split(':')[0].split('.')[-1]}.md)" in line
        )
        assert f"`{scheme}:`" in line or scheme.endswith("+http"), scheme
        assert known.extra is None or f"`{known.extra[0]}`" in line, scheme


# ── names ─────────────────────────────────────────────────────────────────────────────────────────────────────────────
OBJECTS = {name: getattr(guardrail, name) for name in guardrail.__all__ if inspect.isclass(getattr(guardrail, name))}
OPTION_OBJECTS = {name: kind for name, kind in OBJECTS.items() if issubclass(kind, Frozen)}


def parameters(thing):
    try:
        return inspect.signature(thing).parameters
    except (TypeError, ValueError):
        return {}


def sink_options(scheme):
    module, _, name = scheme.place.partition(":")
    return getattr(import_module(module), name).OPTIONS


def known_keywords():
    from guardrail import review as queue
    from guardrail import testing
    from guardrail.integrations.fastapi import install

    things = [install, *(getattr(guardrail, name) for name in guardrail.__all__)]
    things += [getattr(module, name) for module in (testing, queue) for name in module.__all__]
    things += [getattr(queue.Queue, name) for name in ("list", "show", "decide", "cancel")]
    return {
        *CHECKS,
        *LATER,
        *TABLE,
        "sinks",
        "routes",
        "guards",
        "anchors",
        *COMMON,
        *parameters(retry),
        *(name for each in schemes.SCHEMES.values() for name in sink_options(each)),
        *(name for thing in things for name in parameters(thing)),
    }


@every_page_of_ours
def test_every_option_that_is_named_exists(page):
    """`word=` in the text is an option, a parameter or a setting; a variable is one of the table's; an attribute is there."""
    known = known_keywords()
    for text in inline(page):
        if re.match(r"[A-Z_]+=|curl |https?:|GUARDRAIL_", text) or "://" in text:
            continue
        for word in re.findall(r"(?<![\w.\-])([a-z_]+)=(?![=])", text):
            assert word in known, f"{title(page)} names {word}= in `{text}`"
    variables = {PREFIX + name.upper() for name in TABLE}
    families = [PREFIX + re.sub(r"<\w+>", "[A-Z0-9_<>…]+", family.variable) for family in FAMILIES]
    for variable in re.findall(r"GUARDRAIL_[A-Z0-9_<>…]+", page.read_text(encoding="utf-8")):
        name = variable if variable in variables else variable.removesuffix("_FILE")
        assert name in (*variables, PREFIX, "GUARDRAIL_*") or any(re.fullmatch(each, name) for each in families), variable


@every_page_of_ours
def test_every_name_of_the_library_exists(page):
    """`from guardrail…` is run by the examples; in the text, `guardrail.x.y` and `Name(` are looked up too."""
    source = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "src").rglob("*.py"))
    for text in inline(page):
        dotted = re.fullmatch(r"(guardrail(?:\.[a-z_]+)+)(?:\(.*\))?", text)
        if dotted and not text.endswith((".toml", ".example")):
            module, _, name = dotted[1].rpartition(".")
            assert f'"{dotted[1]}"' in source or hasattr(__import__(module, fromlist=[name]), name), text
        called = re.match(r"([A-Z]\w+)\(", text)
        if called:
            assert called[1] in guardrail.__all__ or hasattr(builtins, called[1]) or f"class {called[1]}" in source, text


@pytest.mark.parametrize("name", OPTION_OBJECTS)
def test_defaults_in_the_docs_are_the_defaults(name):
    """The table of an option object names its parameters in their order, with the defaults that they have."""
    found = [(page, table) for page in PAGES for table in tables(page) if bare(table[0][0]) == name]
    assert len(found) == 1, f"one table whose first heading is `{name}`"
    page, (_, *rows) = found[0]
    told = {bare(row[0]): bare(row[1]) for row in rows}
    real = {parameter.name: parameter for parameter in parameters(OPTION_OBJECTS[name]).values()}
    assert list(told) == list(real), title(page)
    for parameter in real.values():
        if parameter.default is parameter.empty:
            assert told[parameter.name] == "required"
        else:
            assert ast.literal_eval(told[parameter.name]) == parameter.default, f"{title(page)}: {parameter.name}"


def test_the_readme_tells_of_every_option():
    """All that exist, none that do not."""
    told = next(table for table in tables(ROOT / "README.md") if table[0][0] == "option")
    names = {word for row in told[1:] for word in re.findall(r"`(\w+)`", row[0])}
    assert names == set(CHECKS)


def test_the_endings_name_every_outcome_and_every_trigger():
    """The one table of how a call ends leaves none out."""
    page = DOCS / "endings.md"
    words = set(inline(page))
    assert {outcome.value for outcome in Outcome} <= words
    assert set(TRIGGERS) <= words


def test_the_errors_are_all_drawn():
    """Each class stands in the tree, and its line says what it is besides."""
    tree = next(block.code for block in blocks(DOCS / "errors.md") if block.info == "text")
    for name in errors.__all__:
        line = re.search(rf"^.*\b{name}\b.*$", tree, re.MULTILINE)
        assert line, name
        for base in getattr(errors, name).__bases__:
            ours = issubclass(base, errors.GuardrailError) or base is Exception
            assert ours or base.__name__ in line[0], name


def test_the_fields_of_a_record_are_all_told():
    """Every field that a line may have."""
    told = {word for table in tables(DOCS / "records.md") for row in table[1:] for word in re.findall(r"`(\w+)`", row[0])}
    assert set(schema.ORDER) | {"late", "truncated"} <= told


@pytest.mark.parametrize("page", POLICIES, ids=title)
def test_every_policy_page_has_the_same_shape(page):
    """Usage, defaults, records, pitfalls, and whether it fails open or closed."""
    assert re.findall(r"^## (.*)$", prose(page), re.MULTILINE) == SECTIONS
    assert any(block.info == "python" for block in blocks(page))


def test_there_is_a_page_for_every_policy():
    """By the names of the options."""
    pages = {page.stem for page in POLICIES}
    assert pages == {
        "validation", "budget", "retry", "cache", "breaker", "limit", "confidence", "fallback", "review", "audit", "modes",
    }  # fmt: skip
