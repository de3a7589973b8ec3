"""The key of input digests: one for a user, private, made once."""

from __future__ import annotations

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from guardrail.ledger import keys


def test_the_key_is_made_once_and_is_private(tmp_path: Path) -> None:
    """32 random bytes, readable by the owner only, the same at every later look."""
    first = keys.digest_key(tmp_path / "c")
    assert len(first) == 32
    assert keys.digest_key(tmp_path / "c") == first
    assert stat.S_IMODE((tmp_path / "c" / "digest.key").stat().st_mode) == 0o600
    assert [each.name for each in (tmp_path / "c").iterdir()] == ["digest.key"]
    assert keys.digest_key(tmp_path / "d") != first


def test_many_that_make_it_at_once_agree(tmp_path: Path) -> None:
    """Processes that start together end up with one key."""
    with ThreadPoolExecutor(16) as pool:
        found = set(pool.map(lambda _: keys.digest_key(tmp_path / "c"), range(64)))
    assert len(found) == 1


def test_it_lives_in_the_users_own_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """XDG_CONFIG_HOME is honoured if it is absolute; else it is ~/.config, never the ledger's folder."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert keys.config_folder() == tmp_path / "guardrail"
    monkeypatch.setenv("XDG_CONFIG_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert keys.config_folder() == tmp_path / ".config" / "guardrail"


@pytest.mark.parametrize("content", [b"", b"short", b"x" * 33])
def test_a_file_that_is_no_key_is_refused(tmp_path: Path, content: bytes) -> None:
    """A truncated or foreign file is an error, never silently a weak key."""
    (tmp_path / "digest.key").write_bytes(content)
    with pytest.raises(OSError, match="not a key"):
        keys.digest_key(tmp_path)


def test_a_link_in_its_place_is_not_followed(tmp_path: Path) -> None:
    """Nobody can slip in a key that they know by a link."""
    (tmp_path / "known").write_bytes(b"k" * 32)
    (tmp_path / "digest.key").symlink_to(tmp_path / "known")
    with pytest.raises(OSError):
        keys.digest_key(tmp_path)
