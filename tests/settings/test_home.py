"""The folder of the embedded store: where it is, when it is made, and what it stands on."""

from __future__ import annotations

import logging
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from guardrail import notices, settings
from guardrail.settings import folder, state

OVERLAY = """\
22 1 0:21 / /proc rw,relatime - proc proc rw
27 1 0:30 / / rw,relatime shared:1 - overlay overlay rw,lowerdir=/a - b
28 27 8:1 / /data rw,relatime shared:2 master:1 - ext4 /dev/sda1 rw
29 27 0:40 / /data/my\\040share rw - nfs4 server:/x rw
30 28 0:41 / /data rw - xfs /dev/sdb1 rw
31 27 0:42 / /dev/shm rw - tmpfs tmpfs rw
32 27 0:43 / /mnt/gluster rw - fuse.glusterfs server rw
short line
"""


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that pytest does not run, as far as it can tell."""
    monkeypatch.setattr(state, "under_pytest", lambda _: False)


@pytest.mark.usefixtures("service")
@pytest.mark.parametrize("marker", ["guardrail.toml", "pyproject.toml", ".git"])
def test_home_is_beside_the_nearest_marker(monkeypatch: pytest.MonkeyPatch, fresh: Path, marker: str) -> None:
    """The nearest parent that looks like a project holds it, wherever below one works."""
    (fresh / "pyproject.toml").touch()
    inner = fresh / "service"
    (inner / "src" / "app").mkdir(parents=True)
    (inner / marker).touch()
    monkeypatch.chdir(inner / "src" / "app")
    assert settings.home(create=False) == inner / ".guardrail"


@pytest.mark.usefixtures("service")
def test_home_stays_when_the_program_moves(monkeypatch: pytest.MonkeyPatch, fresh: Path, tmp_path: Path) -> None:
    """A change of the working directory does not split the ledger in two."""
    (fresh / ".git").mkdir()
    first = settings.home(create=False)
    monkeypatch.chdir(tmp_path)
    assert settings.home() == first


@pytest.mark.usefixtures("service")
def test_home_without_any_project_is_here(monkeypatch: pytest.MonkeyPatch, fresh: Path) -> None:
    """Without a marker up to the root it is in the working directory."""
    monkeypatch.setattr(folder, "_MARKERS", ("guardrail.toml.never",))
    assert settings.home(create=False) == fresh / ".guardrail"


@pytest.mark.usefixtures("service")
def test_home_is_made_on_need_private_and_ignored(fresh: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Reading makes nothing; the first need makes it for its owner only, keeps it out of git, and says so once."""
    (fresh / ".git").mkdir()
    caplog.set_level(logging.INFO, "guardrail")
    path = settings.home(create=False)
    assert not path.exists()
    assert not caplog.records
    assert settings.home() == settings.home() == path
    assert stat.S_IMODE(path.stat().st_mode) == 0o700
    assert (path / ".gitignore").read_text() == "*\n"
    told = [record for record in caplog.records if str(path) in record.getMessage()]
    assert [record.levelno for record in told if "kept in" in record.getMessage()] == [logging.INFO]


@pytest.mark.usefixtures("service")
def test_home_that_was_removed_is_made_again(fresh: Path) -> None:
    """Someone tidies up under a running notebook: the next need makes the folder anew."""
    (fresh / ".git").mkdir()
    path = settings.home()
    (path / ".gitignore").unlink()
    path.rmdir()
    assert settings.home().is_dir()


def test_configured_home_is_used_as_it_is(monkeypatch: pytest.MonkeyPatch, fresh: Path) -> None:
    """A folder that exists gets no .gitignore, since it may be a repository; one that we make does; `~` is the user's home."""
    (fresh / "repo").mkdir()
    settings.configure(home="repo")
    assert settings.home() == fresh / "repo"
    assert list((fresh / "repo").iterdir()) == []
    settings.configure(home=fresh / "new" / "one")
    assert (settings.home() / ".gitignore").exists()
    monkeypatch.setenv("HOME", str(fresh))
    settings.configure(home="~/mine")
    assert settings.home(create=False) == fresh / "mine"


def test_home_that_cannot_be_made_is_an_os_error(fresh: Path) -> None:
    """Whoever keeps records on disk catches OSError for all that a disk can do."""
    (fresh / "file").touch()
    settings.configure(home=fresh / "file")
    with pytest.raises(NotADirectoryError):
        settings.home()
    settings.configure(home=fresh / "file" / "below")
    with pytest.raises(OSError, match="file"):
        settings.home()


def test_pytest_is_known_by_its_own_word() -> None:
    """pytest says of itself that it runs, from the collection of the tests on."""
    assert folder.under_pytest(os.environ)
    assert folder.under_pytest({"PYTEST_VERSION": "8"})
    assert not folder.under_pytest({"PYTEST_ADDOPTS": ""})


def test_home_is_temporary_under_pytest() -> None:
    """A test run leaves the project alone, and every `reset()` starts empty."""
    first = settings.home()
    assert first.is_dir()
    assert first.parent == Path(folder.temporary().parent)
    settings.reset()
    assert settings.home() != first


@pytest.mark.parametrize("forks", [False, True])
def test_temporary_home_is_removed_at_exit(tmp_path: Path, forks: bool) -> None:
    """It goes with the process that chose it, not with a forked child of it."""
    code = (
        "import os, sys\nfrom guardrail import settings\nprint(settings.home(), flush=True)\n"
        "pid = os.fork() if sys.argv[1] == 'True' else -1\n"
        "if pid == 0: sys.exit()\n"
        "if pid > 0: os.waitpid(pid, 0)\n"
        "print(settings.home(create=False).is_dir())\n"
    )
    env = {**os.environ, "TMPDIR": str(tmp_path)}
    ran = subprocess.run([sys.executable, "-c", code, str(forks)], env=env, capture_output=True, text=True, check=True)
    path, there = ran.stdout.split()
    assert there == "True"
    assert Path(path).parent == tmp_path
    assert not Path(path).exists()


def test_temporary_home_of_a_multiprocessing_child_is_removed(tmp_path: Path) -> None:
    """Such a child ends without atexit, and still leaves nothing behind."""
    code = (
        "import multiprocessing\nfrom guardrail import settings\n"
        "if __name__ == '__main__':\n"
        "    child = multiprocessing.get_context('spawn').Process(target=settings.home)\n"
        "    child.start(); child.join(); print(child.exitcode)\n"
    )
    script = tmp_path / "script.py"
    script.write_text(code)
    env = {**os.environ, "TMPDIR": str(tmp_path)}
    ran = subprocess.run([sys.executable, str(script)], env=env, capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "0"
    assert not list(tmp_path.glob("guardrail-*"))


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/opt/app", ("overlay", "/", True, False)),
        ("/data/x", ("xfs", "/data", False, False)),
        ("/data", ("xfs", "/data", False, False)),
        ("/database", ("overlay", "/", True, False)),
        ("/data/my share/g", ("nfs4", "/data/my share", False, True)),
        ("/dev/shm/g", ("tmpfs", "/dev/shm", True, False)),
        ("/mnt/gluster/g", ("fuse.glusterfs", "/mnt/gluster", False, True)),
    ],
)
def test_file_system(tmp_path: Path, path: str, expected: tuple[object, ...]) -> None:
    """The longest mount point counts, the last of equals, with escapes undone; the path need not exist."""
    mounts = tmp_path / "mountinfo"
    mounts.write_text(OVERLAY)
    assert settings.file_system(Path(path), mounts) == expected


def test_file_system_without_a_list(tmp_path: Path) -> None:
    """Where the system keeps no such list nothing is claimed."""
    assert settings.file_system(tmp_path, tmp_path / "none") is None


@pytest.mark.usefixtures("service")
def test_passing_home_is_said_once(monkeypatch: pytest.MonkeyPatch, fresh: Path) -> None:
    """Records in a container without a volume end with it: that is said, once."""
    monkeypatch.setattr(state, "file_system", lambda _: settings.FileSystem("overlay", "/", passing=True, remote=False))
    settings.configure(home=fresh / "g")
    settings.home()
    settings.home()
    ((count, text),) = notices.counts().values()
    assert count == 1
    assert "overlay" in text
    assert "GUARDRAIL_HOME" in text
