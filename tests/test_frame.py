"""The house as a whole: its public names, what importing it costs and does, the wheel, and which room may know which."""

from __future__ import annotations

import ast
import inspect
import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import guardrail
import guardrail.testing

ROOT = Path(__file__).parent.parent
SRC = ROOT / "src"
PUBLIC = [
    "AccessDenied",
    "AllowNaN",
    "AssumptionBroken",
    "Audit",
    "AuditUnavailable",
    "Batch",
    "Breaker",
    "Budget",
    "BudgetExceeded",
    "BusinessId",
    "Cache",
    "CircuitOpen",
    "Confidence",
    "ConfigError",
    "Decision",
    "Decorator",
    "Deferred",
    "Duration",
    "Fallback",
    "Guard",
    "GuardrailError",
    "InvalidInput",
    "InvalidOutput",
    "Level",
    "Limit",
    "LimitExceeded",
    "ModeName",
    "NoThreshold",
    "NotApproved",
    "Options",
    "Outcome",
    "Owner",
    "PII",
    "PartialBatch",
    "Prediction",
    "Principal",
    "Refused",
    "Retry",
    "Review",
    "ReviewUnavailable",
    "Rows",
    "Secret",
    "Stage",
    "Stopped",
    "Subject",
    "Threshold",
    "Ticket",
    "Trigger",
    "UNSET",
    "acting_as",
    "appeal",
    "audited",
    "batch",
    "budgeted",
    "cached",
    "calibrate",
    "check_deadline",
    "circuit_broken",
    "confident",
    "configure",
    "decide",
    "feedback",
    "flush",
    "guard_of",
    "guarded",
    "last_decision",
    "last_good",
    "limited",
    "override",
    "remaining",
    "retried",
    "shutdown",
    "stage",
    "validated",
    "warm",
    "with_options",
]

HEAVY = ("cachetools", "opentelemetry", "orjson", "pydantic", "rich", "sqlalchemy", "structlog", "tenacity", "typer")
# Modules about one package: nothing of ours imports them, but inside a function.
FOR_ONE_PACKAGE = {"integrations/fastapi.py", "store/redis_connections.py"}
OPTIONAL = {
    "IPython", "cloudpickle", "fastapi", "httpx", "joblib", "numpy", "pandas", "polars", "pyarrow", "redis", "requests",
    "sklearn", "starlette",
}  # fmt: skip

# Which rooms a room must never import, wherever in its files it does so. What stands under TYPE_CHECKING does not count.
TOP = {
    "afterwards",
    "batches.batch",
    "batches.runs",
    "compiler",
    "decorator",
    "doubt",
    "figures",
    "guard",
    "guard_upkeep",
    "process",
    "using",
}
BELOW = TOP | {"drivers", "plan", "policies"}
NEVER = {
    **dict.fromkeys(
        ("clock", "errors", "lifecycle", "notices", "asks", "shape", "markers", "call", "principal", "stages"),
        BELOW | {"ledger", "store"},
    ),
    **dict.fromkeys(("content", "settings", "store", "control", "delivery", "ledger", "review", "telemetry"), BELOW),
    "policies": TOP | {"drivers", "plan"},
    "drivers": TOP,
}
ONLY_THEMSELVES = {"cli", "integrations", "testing"}  # who else imports one of these
EXCEPTED = {("cli", "testing")}  # `guardrail selftest`


# ── names ─────────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_public_names():
    """What users import is a decision, not an accident."""
    assert sorted(guardrail.__all__) == PUBLIC
    assert set(guardrail.__all__) <= set(dir(guardrail))


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_name_is_there_and_says_what_it_is(name):
    """It loads at first use, and `help()` has something to show."""
    value = getattr(guardrail, name)
    if name not in ("UNSET", "last_good", "Duration", "ModeName", "Trigger"):  # values and aliases, told where they are used
        assert inspect.getdoc(value)
        assert value.__doc__, "its own, not its parent's"


def test_a_name_that_does_not_exist():
    """A typo is an AttributeError, an import of it an ImportError."""
    with pytest.raises(AttributeError, match="'guarde'"):
        guardrail.guarde
    with pytest.raises(ImportError):
        exec("from guardrail import guarde", {})


def test_names_for_tests():
    """`guardrail.testing` has its own short list."""
    assert sorted(guardrail.testing.__all__) == [
        "CANARY",
        "FakeClock",
        "Finding",
        "HttpPeer",
        "Peer",
        "Report",
        "SINK_CHECKS",
        "chaos",
        "check_sink",
        "fake_clock",
        "force",
        "fresh",
        "recorded",
        "selftest",
    ]
    for name in guardrail.testing.__all__:
        assert getattr(guardrail.testing, name).__doc__
    with pytest.raises(AttributeError, match="'fresch'"):
        guardrail.testing.fresch


# ── what importing it does ────────────────────────────────────────────────────────────────────────────────────────────
WATCHED = """
import sys, os, json, _thread
did = []
def noting(start):
    def noted(*args, **kwargs):
        did.append(["thread", repr(args)])
        return start(*args, **kwargs)
    return noted
for name in ("start_new_thread", "start_joinable_thread"):
    if hasattr(_thread, name):
        noted = noting(getattr(_thread, name))
        setattr(_thread, name, noted)
        if "threading" in sys.modules:
            setattr(sys.modules["threading"], f"_{name}", noted)
def hook(event, args):
    if event == "open":
        path, mode, flags = args
        if isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT) and path != os.devnull:
            did.append(["file", str(path)])
    elif event.split(".")[0] == "socket" or event in ("os.mkdir", "os.remove", "os.rename", "subprocess.Popen", "os.fork"):
        did.append([event, repr(args)])
sys.addaudithook(hook)
"""
REPORT = f"""
print(json.dumps([did, [name for name in {HEAVY!r} if name in sys.modules]]))
"""


def _watched(code: str, tmp_path: Path) -> tuple[list[list[str]], list[str]]:
    """Run code in a new process; return what it did to the world, and which heavy packages are loaded at its end."""
    env = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    ran = subprocess.run(
        [sys.executable, "-c", f"{WATCHED}{code}{REPORT}"], env=env, cwd=tmp_path, capture_output=True, text=True, check=True
    )
    did, heavy = json.loads(ran.stdout)
    return did, heavy


def test_the_watch_sees_what_it_is_to_see(tmp_path):
    """Threads, files, sockets and packages are noticed, or the tests below would prove nothing."""
    code = """
import socket, threading, orjson
threading.Thread(target=print, args=("",), kwargs={"end": ""}).start()
open("a", "w").close()
socket.socket().close()
"""
    did, heavy = _watched(code, tmp_path)
    assert {what for what, _ in did} == {"thread", "file", "socket.__new__"}
    assert heavy == ["orjson"]


@pytest.mark.parametrize(
    "code",
    ["import guardrail", "from guardrail import guarded", "import guardrail.testing.plugin"],
    ids=["package", "decorator", "plugin"],
)
def test_importing_is_light_and_does_nothing(code, tmp_path):
    """No heavy package, thread, file or socket; the same for the fixtures that every start of pytest loads."""
    assert _watched(code, tmp_path) == ([], [])


def test_decorating_does_nothing_to_the_world(tmp_path):
    """No thread, file or socket exists before the first guarded call."""
    code = """
from guardrail import guarded, cached
@guarded(name="loans", version="1", budget="1s", cache="1m", retry=2, breaker=True, limit=4, confidence=0.8, review="credit")
def predict(x: int) -> tuple[str, float]:
    return "a", 0.9
@cached("1m")
async def later(x: int) -> int:
    return x
"""
    did, _ = _watched(code, tmp_path)
    assert did == []
    assert list(tmp_path.iterdir()) == []


def test_pytest_starts_without_loading_the_library(tmp_path):
    """The plugin that pytest finds by itself brings the two small packages around it, and nothing of the library."""
    (tmp_path / "test_it.py").write_text(
        "import sys\n"
        "def test_it():\n"
        "    ours = {name for name in sys.modules if name.startswith('guardrail')}\n"
        "    assert ours == {'guardrail', 'guardrail.testing', 'guardrail.testing.plugin'}, ours\n"
    )
    subprocess.run([sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)], cwd=tmp_path, check=True)


# ── the wheel ─────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_the_wheel_holds_the_whole_package(tmp_path):
    """It builds; every module is in it, and the mark that its types may be used; nothing else is."""
    pytest.importorskip("hatchling")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    (wheel,) = tmp_path.glob("guardrail_sdk-*-py3-none-any.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        (points,) = (archive.read(name).decode() for name in names if name.endswith("entry_points.txt"))
    modules = {str(path.relative_to(SRC)) for path in (SRC / "guardrail").rglob("*.py")}
    assert {name for name in names if "dist-info" not in name} == modules | {"guardrail/py.typed"}
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert "guardrail = guardrail.cli:main" in points
    assert "guardrail = guardrail.testing.plugin" in points


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_the_wheel_works_in_an_empty_environment(tmp_path):
    """With what it says it needs and nothing else: it is imported, the command runs, and the self-test finds nothing wrong."""
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "venv")], check=True)
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "GUARDRAIL_"))}
    programs = tmp_path / "venv" / "bin"
    subprocess.run(["sh", ROOT / "deploy" / "install.sh", programs / "python", wheel], cwd=tmp_path, env=clean, check=True)
    for command in (["python", "-c", "import guardrail"], ["guardrail", "--version"], ["guardrail", "selftest"]):
        done = subprocess.run(
            [programs / command[0], *command[1:]], cwd=tmp_path, env=clean, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr


# ── rooms ─────────────────────────────────────────────────────────────────────────────────────────────────────────────
class _Imports(ast.NodeVisitor):
    """What a module imports at run time: names of modules, and whether it does so as it is imported itself."""

    def __init__(self, tree: ast.Module) -> None:
        self.found: list[tuple[str, bool, int]] = []
        self.outside = True
        self.visit(tree)

    def visit_If(self, node: ast.If) -> None:
        if isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            for each in node.orelse:
                self.visit(each)
        else:
            self.generic_visit(node)

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        outside, self.outside = self.outside, False
        self.generic_visit(node)
        self.outside = outside

    visit_AsyncFunctionDef = visit_FunctionDef

    def visit_Import(self, node: ast.Import) -> None:
        self.found += [(alias.name, self.outside, node.lineno) for alias in node.names]

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        assert node.level == 0, "relative imports hide which room they reach into"
        module = node.module or ""
        names = [f"{module}.{alias.name}" for alias in node.names] if module == "guardrail" else [module]
        self.found += [(name, self.outside, node.lineno) for name in names]


def _imports() -> Iterator[tuple[Path, str, bool, int]]:
    for path in sorted((SRC / "guardrail").rglob("*.py")):
        for name, outside, line in _Imports(ast.parse(path.read_text(encoding="utf-8"))).found:
            yield path.relative_to(SRC / "guardrail"), name, outside, line


def _room(path: Path) -> str:
    return path.parts[0].removesuffix(".py")


def test_rooms_import_only_what_lies_below_them():
    """Arrows point one way: what records, stores and sends knows nothing of what runs; policies are sans-IO."""
    wrong = []
    for path, name, _, line in _imports():
        parts = name.split(".")
        room, reached = _room(path), parts[1] if parts[0] == "guardrail" and len(parts) > 1 else None
        forbidden = NEVER.get(room, set())
        if (
            reached in forbidden
            or ".".join(parts[1:3]) in forbidden
            or (reached in ONLY_THEMSELVES and reached != room and (room, reached) not in EXCEPTED and room != "__init__")
        ):
            wrong.append(f"{path}:{line} imports {name}")
    assert wrong == []
    assert {_room(path) for path, *_ in _imports()} >= set(NEVER) - {"asks", "shape"}, "the rule names a room that is not there"


def test_optional_packages_are_imported_where_they_are_needed():
    """What not everybody has installed is imported inside a function, at first use; or in a module that itself is."""
    wrong = [
        f"{path}:{line} imports {name}"
        for path, name, outside, line in _imports()
        if outside
        and (
            (name.split(".")[0] in OPTIONAL and path.as_posix() not in FOR_ONE_PACKAGE)
            or name.replace(".", "/").removeprefix("guardrail/") + ".py" in FOR_ONE_PACKAGE
        )
    ]
    assert wrong == []


def test_no_file_speaks_of_this_machine():
    """Paths of whoever wrote a file are in none of them."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if listed.returncode:
        pytest.skip("this is no checkout")
    homes = {str(path).encode() + b"/" for path in (ROOT, ROOT.parent, Path.home()) if len(path.parts) > 1}
    found = []
    for name in listed.stdout.decode().split("\0"):
        path = ROOT / name
        if name and path.is_file():
            content = path.read_bytes()
            found += [f"{name} holds {home.decode()}" for home in homes if home in content]
    assert found == []
