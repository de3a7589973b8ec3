"""The sink that is a file: exact bytes, whole lines whatever the disk does, rotation by others."""

from __future__ import annotations

import os
import resource
from pathlib import Path

import orjson
import pytest
from backends import forked, items, kinds, sink

from guardrail.errors import ConfigError
from guardrail.ledger import disk


def text(*batches: list) -> bytes:
    return b"".join(item.line + b"\n" for batch in batches for item in batch)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "out.jsonl"


def test_it_appends_lines_as_they_are(path):
    """In order, behind what is there; the probe is a line that says what it is."""
    path.write_bytes(b"of others\n")
    found = sink(f"file://{path}")
    assert kinds(found.send(items(3, text="ä\u2028"))) == ["ok"] * 3
    assert kinds(found.send(items(2, "b"))) == ["ok"] * 2
    assert "takes a test line" in found.probe()
    found.close()
    whole = path.read_bytes()
    assert whole.startswith(b"of others\n" + text(items(3, text="ä\u2028"), items(2, "b")))
    assert orjson.loads(whole.splitlines()[-1])["event"] == "test"


def test_a_torn_line_is_ended_before_anything_follows(path):
    """What a crash has left is nobody's beginning."""
    path.write_bytes(b'{"seq":1}\n{"se')
    found = sink(f"file://{path}")
    assert kinds(found.send(items(1))) == ["ok"]
    found.close()
    assert path.read_bytes() == b'{"seq":1}\n{"se\n' + text(items(1))


def test_a_full_disk_keeps_nothing_of_a_batch_that_failed(path):
    """Tried again and again, halves of it would gather; when there is room, each line stands there once."""
    found = sink(f"file://{path}")
    assert kinds(found.send(items(1))) == ["ok"]
    whole = path.stat().st_size
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (whole + 150, before[1]))
    try:
        for _ in range(3):
            with pytest.raises(OSError, match="File too large"):
                found.send(items(5, first=2))
            assert path.stat().st_size == whole
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert kinds(found.send(items(5, first=2))) == ["ok"] * 5
    found.close()
    assert path.read_bytes() == text(items(6))


def test_what_another_wrote_meanwhile_is_never_cut_off(path, monkeypatch):
    """A program that appends to the same file keeps its line, whatever fails for us."""
    found = sink(f"file://{path}")
    real = os.write

    def between(handle: int, content: bytes) -> int:
        if os.fstat(handle).st_size:
            raise OSError(28, "No space left on device")
        done = real(handle, bytes(content)[:20])
        with path.open("ab") as other:
            other.write(b"\nof others\n")
        return done

    monkeypatch.setattr(os, "write", between)
    with pytest.raises(OSError, match="No space"):
        found.send(items(2))
    monkeypatch.undo()
    assert path.read_bytes() == text(items(2))[:20] + b"\nof others\n"
    found.close()


@pytest.mark.parametrize(("option", "syncs"), [("", 2), ("?sync=true", 2), ("?sync=false", 0)])
def test_arrived_means_durable_unless_that_is_not_asked_for(path, monkeypatch, option, syncs):
    """Once for each batch: the cursor moves on what was synced."""
    done: list[int] = []
    real = disk.sync
    monkeypatch.setattr(disk, "sync", lambda handle: (done.append(handle), real(handle)))
    found = sink(f"file://{path}{option}")
    for first in (1, 501):
        assert kinds(found.send(items(500, first=first))) == ["ok"] * 500
    found.close()
    assert len(done) == syncs


def test_after_a_sync_that_failed_the_batch_is_written_anew(path, monkeypatch):
    """To the file as opened anew: a second sync of the same handle would succeed without what was lost."""
    found = sink(f"file://{path}")
    handles: list[int] = []

    def fail(handle: int) -> None:
        handles.append(handle)
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(disk, "sync", fail)
    with pytest.raises(OSError, match="Input/output"):
        found.send(items(2))
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(handles[0])
    monkeypatch.undo()
    assert kinds(found.send(items(2))) == ["ok"] * 2
    found.close()
    assert path.read_bytes() == text(items(2))


def test_rotation_by_others_is_followed(path, tmp_path):
    """Moved away, removed, or copied and cut to nothing: the next line stands at the beginning of a file of that name."""
    found = sink(f"file://{path}")
    found.send(items(1))
    path.rename(tmp_path / "out.1")
    found.send(items(1, first=2))
    assert path.read_bytes() == text(items(1, first=2))
    path.unlink()
    found.send(items(1, first=3))
    assert path.read_bytes() == text(items(1, first=3))
    os.truncate(path, 0)
    found.send(items(1, first=4))
    assert path.read_bytes() == text(items(1, first=4))
    assert (tmp_path / "out.1").read_bytes() == text(items(1))
    found.close()


def test_a_link_is_not_followed(path, tmp_path):
    """Who may write to the folder cannot have us write elsewhere, before or in between."""
    (tmp_path / "else").write_bytes(b"")
    path.symlink_to(tmp_path / "else")
    found = sink(f"file://{path}")
    with pytest.raises(OSError, match="symbolic links"):
        found.send(items(1))
    path.unlink()
    assert kinds(found.send(items(1))) == ["ok"]
    path.unlink()
    path.symlink_to(tmp_path / "else")
    with pytest.raises(OSError, match="symbolic links"):
        found.send(items(1))
    assert (tmp_path / "else").read_bytes() == b""
    found.close()


def test_a_forked_child_leaves_the_file_to_its_parent(path):
    """And the parent goes on with the handle that it had."""
    found = sink(f"file://{path}")
    found.send(items(1))
    forked(found)
    assert kinds(found.send(items(1, first=2))) == ["ok"]
    found.close()
    assert path.read_bytes() == text(items(2))


@pytest.mark.parametrize(
    "url", ["file://host/path", "file:", "file:relative", "file:///folder/", "file:///a?sync=maybe", "file:///a?format=json"]
)
def test_a_url_that_is_no_absolute_path_is_refused(url):
    """When the settings are read."""
    with pytest.raises(ConfigError, match="GUARDRAIL_SINK_OUT"):
        sink(url)
