"""The signing key: made once, refused when it is not safe or not the right one, rotated, and adopted when it was lost."""

from __future__ import annotations

import base64
import os
import stat
import threading
from pathlib import Path

import pytest
from fake_calls import make_entry, make_plan

from guardrail import notices, settings
from guardrail.errors import ConfigError
from guardrail.ledger import commit, notes, reader, rotation, seals, segments, signing, standing, writer
from guardrail.ledger.manifest import Manifest
from guardrail.ledger.signing import KeyRefused


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """The folder in which the user's key is kept."""
    return tmp_path / "config" / "guardrail"


def record() -> bool:
    """Make one call and tell whether its record is durable soon."""
    writer.push(make_entry())
    return writer.flush(0.5)


def test_a_key_is_made_on_first_use_and_private(config: Path) -> None:
    """32 bytes in base64, 0600, in a folder of 0700; the second time it is the same one."""
    first = signing.signing_key()
    path = config / "signing.key"
    assert first.path == path
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(config.stat().st_mode) == 0o700
    assert len(base64.b64decode(path.read_text())) == 32
    assert signing.signing_key().public == first.public
    assert repr(first) == f"SigningKey({first.key_id})"
    assert [each.name for each in config.iterdir()] == ["signing.key"]


def test_many_that_make_it_at_once_get_the_same_key() -> None:
    """Whoever is first wins; nobody signs with a key that was replaced."""
    found: list[str] = []
    threads = [threading.Thread(target=lambda: found.append(signing.signing_key().key_id)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len(set(found)) == 1


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o622])
def test_a_key_that_is_open_to_others_is_refused_until_it_is_closed(home: Path, config: Path, mode: int) -> None:
    """Nothing is appended, the text says what to do, reading goes on; after chmod the records come."""
    assert record()
    assert writer.shutdown(5)
    path = config / "signing.key"
    path.chmod(mode)
    assert not record()
    assert any("chmod 600" in text for _, text in notices.counts().values())
    assert len(list(reader.read(home, event="call"))) == 1
    assert ("bad", True) in [(level, "chmod 600" in text) for level, text in standing.standing(home)]
    path.chmod(0o600)
    assert writer.flush(10)
    assert len(list(reader.read(home, event="call"))) == 2


def test_where_audit_is_required_a_refused_key_withholds_the_answer(config: Path) -> None:
    """The one who waits for the record learns why there is none."""
    assert record()
    assert writer.shutdown(5)
    (config / "signing.key").chmod(0o644)
    with pytest.raises(KeyRefused, match="chmod 600"):
        writer.acknowledge(make_entry(make_plan(required=True))).result(5)


@pytest.mark.parametrize("content", ["", "short", base64.b64encode(b"x" * 31).decode(), "!" * 44, "A" * 5_000])
def test_what_is_no_key_is_refused(config: Path, content: str) -> None:
    """A file of another kind is never taken for a key, and never written over."""
    config.mkdir(parents=True)
    path = config / "signing.key"
    path.write_text(content)
    path.chmod(0o600)
    with pytest.raises(KeyRefused, match="no signing key"):
        signing.signing_key()
    assert path.read_text() == content


def test_a_key_that_is_given_is_used_and_never_made(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """GUARDRAIL_SIGNING_KEY_FILE names the file; where there is none, that is said, and the user's own is not used."""
    path = tmp_path / "mounted" / "key"
    monkeypatch.setenv("GUARDRAIL_SIGNING_KEY_FILE", str(path))
    settings.reset()
    with pytest.raises(KeyRefused, match="audit key --new"):
        signing.signing_key()
    made = signing.make(path)
    assert record()
    (lane,) = Manifest(home / "ledger").lanes().values()
    assert lane.key_id == made.key_id


def test_a_changed_key_is_refused_and_can_be_adopted(home: Path, config: Path) -> None:
    """A ledger goes on with another key only when somebody says so, and then it says so itself."""
    assert record()
    assert writer.shutdown(5)
    first = signing.signing_key()
    (config / "signing.key").unlink()
    assert not record()
    assert any("rotate --adopt" in text and first.key_id in text for _, text in notices.counts().values())
    assert not (config / "signing.key").exists()  # none is made where another is expected
    lost, second = rotation.adopt(home / "ledger")
    assert lost == first.key_id
    assert writer.flush(10)
    keys = Manifest(home / "ledger").key_lines()
    assert [(each["by"], each["key_id"]) for each in keys] == [("first", lost), ("adopted", second.key_id)]
    with pytest.raises(ConfigError, match="not lost"):
        rotation.adopt(home / "ledger")


def test_a_rotation_is_signed_by_both_keys(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The manifest holds the old key's signature; the next checkpoint of a running lane carries both, then only the new."""
    monkeypatch.setattr(seals, "EVERY_RECORDS", 1)
    assert record()
    folder = home / "ledger"
    old, new = rotation.rotate(folder)
    assert old.key_id != new.key_id
    line = Manifest(folder).key_lines()[-1]
    ledger_id = str(Manifest(folder).lines()[0]["ledger"])
    said = notes.Signature("", notes.key_hash("", old.public), base64.b64decode(line["signature"]))
    assert line["by"] == "rotated"
    assert notes.verify(rotation.statement(ledger_id, new.key_id).decode(), said, old.public)
    for _ in range(2):
        assert record()
        assert writer.drain(1)
    assert writer.shutdown(5)
    (lane,) = segments.lanes(home)
    found = [
        [
            next(name for name, key in (("old", old), ("new", new)) if notes.verify(note.text(), each, key.public))
            for each in signed
        ]
        for note, signed in notes.parse_all((lane / "checkpoints").read_bytes())
    ]
    assert found[0] == ["old"]
    assert ["old", "new"] in found
    assert found[-1] == ["new"]
    assert found.count(["old", "new"]) == 1
    _, signed = notes.parse_all((folder / "manifest.notes").read_bytes())[-1]
    assert signed[0].key_hash == notes.key_hash(signed[0].name, new.public)
    assert record()  # another lane, begun with the new key
    assert Manifest(folder).lanes()[segments.lanes(home)[-1].name].key_id == new.key_id


@pytest.mark.parametrize("known", [False, True])
def test_a_rotation_that_was_interrupted_is_finished_or_forgotten(home: Path, config: Path, known: bool) -> None:
    """A new key that the manifest names is put in place by whoever needs it; one that it does not name is left out."""
    assert record()
    assert writer.shutdown(5)
    folder = home / "ledger"
    old, new = rotation.rotate(folder)
    path = new.path
    if known:
        path.rename(path.with_name(path.name + ".next"))
        assert record()
        assert path.exists()
    else:
        signing.write(path.with_name(path.name + ".next"), b"n" * 32)
        assert record()
    assert Manifest(folder).lanes()[segments.lanes(home)[-1].name].key_id == new.key_id
    assert signing.read(config / "signing.key").key_id == old.key_id  # the user's other ledgers use it


def test_a_key_beside_the_ledger_is_said(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Within the home, or next to it, linked or not: whoever changes the ledger can then sign it, too."""
    home.mkdir()
    assert signing.beside(home / "keys" / "signing.key", home)
    assert signing.beside(home.parent / "signing.key", home)
    assert not signing.beside(home.parent / "elsewhere" / "signing.key", home)
    link = home.parent / "elsewhere"
    link.symlink_to(home)
    assert signing.beside(link / "signing.key", home)
    monkeypatch.setenv("GUARDRAIL_SIGNING_KEY_FILE", str(home / "key"))
    settings.reset()
    signing.make(home / "key")
    assert any("lies beside the ledger" in text for _, text in standing.standing(home))


def test_where_there_is_no_place_for_a_key_that_is_said(home: Path, config: Path) -> None:
    """The folder cannot be made: no record is taken, and the notice names the setting that helps."""
    config.parent.write_text("a file where the folder belongs")
    assert not record()
    assert any("GUARDRAIL_SIGNING_KEY_FILE" in text for _, text in notices.counts().values())
    assert commit.KEPT_LINES > 1
    config.parent.unlink()
    assert writer.flush(10)
    assert len(list(reader.read(home, event="call"))) == 1


def test_a_key_of_another_user_is_refused(config: Path) -> None:
    """Root could read anything; what belongs to somebody else is still not ours."""
    if os.geteuid() != 0:
        pytest.skip("only root can give a file away")
    key = signing.signing_key()
    os.chown(key.path, 12_345, -1)
    with pytest.raises(KeyRefused, match="belongs to another user"):
        signing.signing_key()
