"""The frame of the command line: help, version, errors, hostile text."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from typer.testing import Result

from guardrail.cli import text

Run = Callable[..., Result]
COMMAND = [sys.executable, "-c", "from guardrail.cli import main; main()"]


def test_help_lists_every_command(run: Run) -> None:
    """Everything the command can do is found from its help, which is also shown where no command is given."""
    shown = run("--help").output
    for command in ("mode", "kill", "revive", "doctor", "settings", "review", "tail", "show", "would", "selftest", "load"):
        assert f" {command} " in shown
    assert run().output.rstrip() == shown.rstrip()


def test_version(run: Run) -> None:
    """Which release this is, and on which Python."""
    shown = run("--version")
    assert shown.exit_code == 0
    assert shown.output.startswith("guardrail-sdk ")
    assert sys.version.split()[0] in shown.output


def test_help_imports_nothing_heavy() -> None:
    """Help needs no database, validation or tracing library."""
    code = (
        "import sys\nsys.argv = ['guardrail', '--help']\nfrom guardrail.cli import main\n"
        "try: main()\nexcept SystemExit: pass\n"
        "print([name for name in ('pydantic', 'sqlalchemy', 'opentelemetry', 'cryptography', 'numpy') if name in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.splitlines()[-1] == "[]"


def test_wrong_setting_is_one_red_line(monkeypatch: pytest.MonkeyPatch, run: Run) -> None:
    """A mistake in the settings is told without a traceback, with exit code 2."""
    monkeypatch.setenv("GUARDRAIL_MOOD", "hunter2")
    ran = run("mode")
    assert ran.exit_code == 2
    assert ran.stderr == "error: GUARDRAIL_MOOD is not a setting (did you mean GUARDRAIL_MODE?)\n"
    assert ran.stdout == ""


def test_trouble_with_the_disk_is_one_red_line(home: Path, run: Run) -> None:
    """What the disk refuses is no bug of ours: one line, exit code 1."""
    home.rmdir()
    home.write_text("a file")
    ran = run("kill", "loan", "--reason", "x")
    assert ran.exit_code == 1
    assert ran.stderr == f"error: Not a directory: {home}\n"


def test_command_of_a_process(home: Path) -> None:
    """The installed command: without a terminal, without input, with a hostile encoding; codes and streams are right."""
    env = {**os.environ, "GUARDRAIL_HOME": str(home), "PYTHONIOENCODING": "ascii"}

    def ran(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*COMMAND, *words], env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)

    assert ran("mode").stdout == "nothing is switched: every guard runs in its configured mode\n"
    killed = ran("kill", "pr\u00eat:pr\u00e9dit", "--reason", "f\u00fcr heute \u2603", "--by", "ann")
    assert (killed.returncode, killed.stderr) == (0, "")
    listed = ran("mode", "--json")
    assert json.loads(listed.stdout)[0]["guard"] == "pr\u00eat:pr\u00e9dit"
    assert ran("kill").returncode == 2
    assert ran("kill").stdout == ""
    assert ran("nonsense").returncode == 2


def test_reader_that_goes_away_is_no_traceback(home: Path) -> None:
    """`guardrail settings | head -1` ends quietly."""
    shell = f"{' '.join([sys.executable, '-c', repr('from guardrail.cli import main; main()')])} settings --markdown | head -c 10"
    ran = subprocess.run(["/bin/sh", "-c", shell], capture_output=True, text=True, timeout=60, check=True)
    assert ran.stdout == "# Settings"
    assert "Traceback" not in ran.stderr


@pytest.mark.parametrize(
    ("hostile", "harmless"),
    [
        ("plain", "plain"),
        (None, "None"),
        ("a\nb\tc\r\x85", "a b c  "),
        ("\x1b]0;title\x07\x1b[2J", "\ufffd]0;title\ufffd\ufffd[2J"),
        ("user\u202etxt.exe", "user\ufffdtxt.exe"),
        ("zero\u200bwidth\ufeff", "zero\ufffdwidth\ufffd"),
        ("\udcff", "\ufffd"),
        ("[red]no[/red] [/] [link=https://x]y[/link]", "[red]no[/red] [/] [link=https://x]y[/link]"),
        ("ends \\", "ends \\ "),
        ("no\u00a0break", "no break"),
        ("\\[red]", "\\[red]"),
        (":smile:", ":smile:"),
        ("Größe ½ 漢字 😀", "Größe ½ 漢字 😀"),
    ],
)
def test_clean(hostile: object, harmless: str) -> None:
    """What rich prints of a cleaned text is the text, without anything that steers a terminal."""
    assert printed(text.clean(hostile)) == harmless


@given(st.text(max_size=200))
def test_clean_leaves_nothing_that_steers_a_terminal(hostile: str) -> None:
    """Whatever is in a record: one line, printable, encodable, and no markup takes effect."""
    shown = printed(f"<{text.clean(hostile)}>")
    assert shown.isprintable()
    assert shown.replace(" >", ">") == f"<{text.plain(hostile)}>".replace(" >", ">")
    shown.encode()


def printed(markup: str) -> str:
    """Return what a terminal would get, with colours on."""
    out = io.StringIO()
    Console(file=out, emoji=False, highlight=False, force_terminal=True, width=10_000).print(markup, soft_wrap=True, end="")
    return out.getvalue()
