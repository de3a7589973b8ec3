"""References to secrets: followed where they are used, read again when rotated, and seen nowhere."""

from __future__ import annotations

import copy
import os
import pickle
import sys
import types
from pathlib import Path

import pytest

from guardrail import ConfigError
from guardrail.settings.secrets import Secret


def test_a_text_without_references_is_the_secret() -> None:
    """And stays hidden in every other form."""
    secret = Secret("hunter2", "W")
    assert secret.reveal() == "hunter2"
    assert not secret.refers
    assert "hunter2" not in f"{secret} {secret!r} {[secret]}"
    assert secret == Secret("hunter2", "elsewhere")
    assert secret != Secret("other", "W")
    assert secret != "hunter2"
    assert len({secret, Secret("hunter2", "W")}) == 1


def test_references_may_stand_among_other_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All kinds, any number of them."""
    (tmp_path / "a").write_text("one\n")
    monkeypatch.setenv("B", "two")
    assert Secret(f"x${{file:{tmp_path}/a}}y${{env:B}}z", "W").reveal() == "xoneytwoz"


def test_a_file_that_was_replaced_is_read_again(tmp_path: Path) -> None:
    """As mounted secrets are rotated: another file in the place of the first, or another content."""
    path = tmp_path / "a"
    path.write_text("old")
    secret = Secret(f"${{file:{path}}}", "W")
    assert secret.refers
    assert secret.reveal() == "old"
    (tmp_path / "b").write_text("new")
    (tmp_path / "b").replace(path)
    assert secret.reveal() == "new"
    was = path.stat()
    path.write_text("odd")
    os.utime(path, ns=(was.st_atime_ns, was.st_mtime_ns))  # same file, length and date: the system notes the change all the same
    assert secret.reveal() == "odd"
    secret.forget()
    assert secret.reveal() == "odd"


@pytest.mark.parametrize(("content", "read"), [("a\n", "a"), ("a\r\n", "a"), ("a\n\n", "a\n"), (" a ", " a ")])
def test_only_the_last_line_break_is_left_out(tmp_path: Path, content: str, read: str) -> None:
    """Whatever else a secret holds is the secret."""
    (tmp_path / "a").write_bytes(content.encode())
    assert Secret(f"${{file:{tmp_path}/a}}", "W").reveal() == read


@pytest.mark.parametrize(
    "text", ["${file:relative}", "${vault:x}", "${}", "${env:}", "${keyring:x}", "a${", "${file:/a", "${env:A${env:B}}"]
)
def test_a_reference_that_is_none_is_refused_at_once(text: str) -> None:
    """The text is not repeated."""
    with pytest.raises(ConfigError) as caught:
        Secret(f"{text} hunter2", "W")
    assert "W has a" in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_what_cannot_be_read_is_told_without_the_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Missing, empty, too long, no text, no file, a pipe that nobody writes."""
    monkeypatch.delenv("A", raising=False)
    (tmp_path / "empty").write_text("\n")
    (tmp_path / "long").write_text("x" * 70_000)
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    os.mkfifo(tmp_path / "pipe")
    for name, said in {
        "missing": "No such file", "empty": "empty", "long": "too long", "binary": "UTF-8", "pipe": "no regular file", ".": "no regular file",
    }.items():  # fmt: skip
        with pytest.raises(ConfigError, match=f"W refers to.*({said}|cannot be read)"):
            Secret(f"${{file:{tmp_path}/{name}}}", "W").reveal()
    with pytest.raises(ConfigError, match="not set"):
        Secret("${env:A}", "W").reveal()


def test_a_keyring_is_asked_and_its_absence_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """By service and user; without the extra the error names it."""
    asked = []
    ring = types.ModuleType("keyring")
    ring.get_password = lambda service, user: asked.append((service, user)) or "hunter2"  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "keyring", ring)
    assert Secret("${keyring:a/service/ann}", "W").reveal() == "hunter2"
    assert asked == [("a/service", "ann")]
    ring.get_password = lambda service, user: None  # type: ignore[attr-defined]
    with pytest.raises(ConfigError, match="no entry"):
        Secret("${keyring:s/ann}", "W").reveal()
    monkeypatch.setitem(sys.modules, "keyring", None)
    with pytest.raises(ConfigError, match=r"guardrail-sdk\[keyring\]"):
        Secret("${keyring:s/ann}", "W").reveal()


def test_a_secret_is_neither_pickled_nor_copied() -> None:
    """A pickle would hold it in plain text."""
    for leave in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="never pickled"):
            leave(Secret("hunter2", "W"))
