"""The store of data keys: one for each person, apart from the ledger, safe between processes, and destroyed for good."""

from __future__ import annotations

import base64
import multiprocessing
import os
import sqlite3
import stat
import threading
from pathlib import Path

import pytest

from guardrail import clock, settings
from guardrail.ledger import subjects
from guardrail.ledger.key_file import FileKeys
from guardrail.ledger.keys import config_folder
from guardrail.ledger.sealing_key import KeysUnavailable


@pytest.fixture
def keys(tmp_path: Path):
    store = FileKeys(config_folder())
    yield store
    store.close()


def make(keys, name, at=None):
    digest = keys.digest(name)
    return keys.obtain({digest: clock.wall() if at is None else at})[digest]


def test_a_subject_has_one_key_and_others_have_others(keys):
    """The same key each time, also for who opens the store anew; 256 bits; found by its id."""
    ann, bob = make(keys, "ann"), make(keys, "bob")
    assert len(ann.secret) == 32 and ann.secret != bob.secret and ann.kid != bob.kid
    assert make(keys, "ann") == ann
    assert make(FileKeys(keys.folder), "ann") == ann
    assert keys.find([ann.kid, "unknown"]) == {ann.kid: ann}
    assert keys.counts() == (2, 0, 0)


def test_files_are_private_and_hold_no_name_and_no_key(keys):
    """0600; the id of the subject and its key stand nowhere in clear."""
    key = make(keys, "ann@bank.example")
    for path in keys.folder.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
        content = path.read_bytes()
        assert b"ann@bank.example" not in content
        assert key.secret not in content and base64.b64encode(key.secret) not in content


def test_a_destroyed_key_is_gone_from_every_byte_of_the_store(keys):
    """Not in the file, not in its journal; only its id stays, and that the subject, by digest, was erased."""
    key = make(keys, "ann")
    (wrapped,) = sqlite3.connect(keys.path).execute("SELECT wrapped FROM key").fetchone()
    assert any(wrapped in path.read_bytes() for path in keys.folder.iterdir())
    grave = keys.destroy(key.subject, clock.wall())
    assert grave.keys == 1 and not grave.told
    assert not any(wrapped in path.read_bytes() or wrapped[12:] in path.read_bytes() for path in keys.folder.iterdir())
    assert keys.find([key.kid])[key.kid].secret is None
    assert keys.kids(key.subject) == [key.kid]
    assert keys.counts() == (0, 1, 1)
    keys.told(key.subject)
    assert keys.counts() == (0, 1, 0)


def test_data_of_before_an_erasure_get_no_key_and_later_data_a_new_one(keys):
    """What comes late from a queue is not brought back to life; what the application sends anew is new."""
    before = clock.wall()
    old = make(keys, "ann", before)
    keys.destroy(old.subject, before + 10)
    assert make(keys, "ann", before + 9) is None
    new = make(keys, "ann", before + 11)
    assert new is not None and new.kid != old.kid and new.secret != old.secret
    assert make(keys, "ann", before + 9) is None
    assert keys.find([old.kid])[old.kid].secret is None


def test_erasing_twice_and_erasing_the_unknown_is_remembered(keys):
    """The count of an erasure that the ledger was not told of yet is kept."""
    key = make(keys, "ann")
    keys.destroy(key.subject, 1.0)
    assert keys.destroy(key.subject, 2.0).keys == 1
    keys.told(key.subject)
    assert keys.destroy(key.subject, 3.0).keys == 0
    assert keys.destroy(keys.digest("nobody"), 1.0).keys == 0
    assert keys.grave(keys.digest("nobody")).at == 1.0


def test_every_erasure_raises_the_epoch_for_other_processes(keys):
    """New keys do not."""
    other = FileKeys(keys.folder)
    ann = make(keys, "ann")
    before = other.epoch()
    make(keys, "bob")
    assert other.epoch() == before
    keys.destroy(ann.subject, clock.wall())
    assert other.epoch() == before + 1
    other.close()


def test_a_further_key_takes_the_place_of_one_that_is_used_up(keys):
    """Both open what they sealed; both go with the subject."""
    first = make(keys, "ann")
    clock.sleep(0.002)
    second = keys.another(first.subject)
    assert make(keys, "ann") == second
    assert keys.find([first.kid])[first.kid] == first
    assert keys.destroy(first.subject, clock.wall()).keys == 2


def _children(folder: str, barrier, queue) -> None:
    store = FileKeys(Path(folder))
    barrier.wait()
    names = [store.digest(f"subject-{number}") for number in range(20)]
    queue.put({name: key.kid for name, key in store.obtain(dict.fromkeys(names, clock.wall())).items()})


def test_processes_that_begin_together_agree_on_every_key(tmp_path: Path):
    """Four make the store, its wrapping key and twenty data keys at once."""
    context = multiprocessing.get_context("spawn")
    barrier, queue = context.Barrier(4), context.Queue()
    started = [context.Process(target=_children, args=(str(config_folder()), barrier, queue)) for _ in range(4)]
    for each in started:
        each.start()
    found = [queue.get(timeout=60) for _ in started]
    for each in started:
        each.join()
    assert len(found[0]) == 20
    assert all(each == found[0] for each in found)


def test_threads_share_one_store(keys):
    """Sixteen threads, one key for each subject."""
    found = []
    threads = [threading.Thread(target=lambda: found.append(make(keys, "ann"))) for _ in range(16)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert len({key.kid for key in found}) == 1


def test_a_forked_child_opens_the_store_anew(keys):
    """It neither uses nor closes what it inherited."""
    mine = subjects.keys()
    digest = mine.digest("ann")
    key = mine.obtain({digest: clock.wall()})[digest]
    pid = os.fork()
    if not pid:
        code = 1
        try:
            code = 0 if subjects.keys() is not mine and subjects.keys().find([key.kid])[key.kid] == key else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert mine.find([key.kid])[key.kid] == key


def test_files_that_others_may_read_are_refused(keys):
    """Wrapping key and store alike, with what to do."""
    make(keys, "ann")
    keys.close()
    for name in ("sealing.key", "subjects.db"):
        path = keys.folder / name
        path.chmod(0o644)
        with pytest.raises(KeysUnavailable, match="chmod 600"):
            make(FileKeys(keys.folder), "ann")
        path.chmod(0o600)
    assert make(FileKeys(keys.folder), "ann") is not None


def test_another_or_a_lost_wrapping_key_is_refused_not_replaced(keys):
    """A new one would only hide that nothing can be read any more."""
    make(keys, "ann")
    keys.close()
    path = keys.folder / "sealing.key"
    kept = path.read_bytes()
    path.write_bytes(base64.b64encode(bytes(32)))
    with pytest.raises(KeysUnavailable, match="another one"):
        make(FileKeys(keys.folder), "ann")
    path.write_bytes(b"short")
    with pytest.raises(KeysUnavailable, match="32 bytes in base64"):
        make(FileKeys(keys.folder), "ann")
    path.unlink()
    with pytest.raises(KeysUnavailable, match="bring it back"):
        make(FileKeys(keys.folder), "ann")
    assert not path.exists()
    path.write_bytes(kept)
    path.chmod(0o600)
    assert make(FileKeys(keys.folder), "ann") is not None


def test_a_wrapping_key_may_be_mounted(keys, tmp_path: Path, monkeypatch):
    """GUARDRAIL_SEALING_KEY_FILE; it is never made there."""
    place = tmp_path / "mounted.key"
    monkeypatch.setenv("GUARDRAIL_SEALING_KEY_FILE", str(place))
    settings.reset()
    with pytest.raises(KeysUnavailable, match="no sealing key"):
        make(keys, "ann")
    place.write_bytes(base64.b64encode(os.urandom(32)) + b"\n")
    place.chmod(0o600)
    assert make(keys, "ann") is not None
    assert not (keys.folder / "sealing.key").exists()


def test_a_damaged_store_is_an_error_that_names_the_file_and_no_one(keys):
    """Also a folder in its place."""
    make(keys, "ann")
    keys.close()
    keys.path.write_bytes(b"x" * 8192)
    with pytest.raises(KeysUnavailable, match="subjects.db cannot be used") as caught:
        make(FileKeys(keys.folder), "ann")
    assert "ann" not in str(caught.value).replace("cannot", "")


def test_nothing_is_made_by_looking(keys):
    """Counting and searching make no file; a digest of someone in an empty store is none that a record has."""
    assert keys.counts() == (0, 0, 0)
    assert keys.find(["x"]) == {} and keys.kids("x") == [] and keys.grave("x") is None and keys.epoch() == 0
    assert subjects.digest("ann") == ""
    assert not keys.path.exists()


def test_an_erasure_survives_a_kill_at_once(keys):
    """It is on disk when `destroy` returns."""
    key = make(keys, "ann")
    keys.close()
    pid = os.fork()
    if not pid:
        FileKeys(keys.folder).destroy(key.subject, clock.wall())
        os.kill(os.getpid(), 9)
    os.waitpid(pid, 0)
    assert FileKeys(keys.folder).find([key.kid])[key.kid].secret is None
