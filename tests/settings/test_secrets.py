"""References to secrets: followed where they are used, read again when rotated, and seen nowhere, however hostile what they lead to."""

from __future__ import annotations

import copy
import json
import logging
import os
import pickle
import subprocess
import sys
import threading
import traceback
from pathlib import Path

import keyring
import keyring.backend
import keyring.errors
import orjson
import pytest

from guardrail.errors import ConfigError
from guardrail.settings.secrets import Secret

CANARY = "c4n4ry-s3cr3t"
WHERE = "GUARDRAIL_SINK_X: token"


def refused(make) -> ConfigError:
    """The error of a secret that is not to be had; it names the setting, and holds nothing of what was read."""
    with pytest.raises(ConfigError) as caught:
        make()
    problem = caught.value
    assert WHERE in str(problem)
    told = "".join(traceback.format_exception(problem)) + repr(problem) + repr(problem.args)
    # Who collects errors follows the context too, whatever a traceback leaves out.
    assert problem.__context__ is None or not isinstance(problem.__context__, UnicodeError)
    assert CANARY not in told.replace("CANARY", "")
    return problem


def mounted(folder: Path, content: bytes) -> Secret:
    path = folder / "token"
    path.write_bytes(content)
    return Secret(f"${{file:{path}}}", WHERE)


# ── following ─────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_a_text_without_references_is_itself():
    """Whatever dollars and braces stand in it."""
    for plain in ("", "swordfish", "a$b", "{a}", "$", "pa$$word{}", "a}b"):
        secret = Secret(plain, WHERE)
        assert (secret.reveal(), secret.refers) == (plain, False)


def test_references_and_plain_text_are_mixed(tmp_path, monkeypatch):
    """In their order, each followed by itself."""
    monkeypatch.setenv("TOKEN", "one")
    (tmp_path / "two").write_text("two\n")
    secret = Secret(f"<${{env:TOKEN}}|${{file:{tmp_path / 'two'}}}|${{env:TOKEN}}>", WHERE)
    assert (secret.reveal(), secret.refers) == ("<one|two|one>", True)


def test_what_a_secret_says_is_not_followed_further(tmp_path, monkeypatch):
    """A secret that looks like a reference is a secret: who writes one file cannot read another."""
    (tmp_path / "other").write_text(CANARY)
    for nested in (f"${{file:{tmp_path / 'other'}}}", r"\g<0>\1", "${env:HOME}"):
        monkeypatch.setenv("TOKEN", nested)
        assert Secret("a ${env:TOKEN} b", WHERE).reveal() == f"a {nested} b"


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"word", "word"),
        (b"word\n", "word"),
        (b"word\r\n", "word"),
        (b"word\n\n", "word\n"),
        (b" word ", " word "),
        (b"\xef\xbb\xbfword\r\n", "word"),
        ("pässwörd".encode(), "pässwörd"),
        (b"x" * 65_536, "x" * 65_536),
    ],
    ids=["plain", "newline", "windows", "two newlines", "blanks", "byte order mark", "not ascii", "longest"],
)
def test_a_file_is_read_without_its_last_newline(tmp_path, content, found):
    """Which an editor adds, as it does the mark of UTF-8 on Windows; blanks may belong to a secret."""
    assert mounted(tmp_path, content).reveal() == found


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "empty"),
        (b"\n", "empty"),
        (b" \r\n", "empty"),
        (b"\xef\xbb\xbf\n", "empty"),
        (b"x" * 65_537, "too long"),
        ("ä".encode() * 40_000, "too long"),
        (CANARY.encode() + b"\xff", "UTF-8"),
    ],
    ids=["nothing", "newline", "blanks", "mark alone", "too long", "too long in the middle of a letter", "not UTF-8"],
)
def test_a_file_that_holds_no_secret_is_refused(tmp_path, content, told):
    """With the reason, and without what is in it."""
    assert told in str(refused(mounted(tmp_path, content).reveal))


def test_what_is_no_file_is_refused_at_once_and_left_closed(tmp_path):
    """A missing one, a folder, a pipe that nobody writes to, a device that never ends, a link to itself."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    places = [tmp_path / "none", tmp_path, tmp_path / "pipe", Path("/dev/zero"), tmp_path / "loop"]
    for place in places:
        secret = Secret(f"${{file:{place}}}", WHERE)
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(3):
            assert str(place) not in str(refused(secret.reveal)) or str(place) == "/"
        assert len(os.listdir("/proc/self/fd")) == before, place


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_we_may_not_read_is_refused(tmp_path):
    """With the system's words."""
    secret = mounted(tmp_path, b"word")
    (tmp_path / "token").chmod(0)
    assert "Permission denied" in str(refused(secret.reveal))


# ── rotation ──────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_a_file_that_was_replaced_is_read_again(tmp_path):
    """By rename, and as Kubernetes does it, by turning a link to a folder."""
    secret = mounted(tmp_path, b"one")
    assert secret.reveal() == "one"
    (tmp_path / "new").write_text("two")
    (tmp_path / "new").rename(tmp_path / "token")
    assert secret.reveal() == "two"

    for word in ("three", "seven"):
        (tmp_path / word).mkdir()
        (tmp_path / word / "token").write_text(word)
        os.utime(tmp_path / word / "token", ns=(1, 1))
    (tmp_path / "data").symlink_to(tmp_path / "three")
    secret = Secret(f"${{file:{tmp_path}/data/token}}", WHERE)
    assert secret.reveal() == "three"
    (tmp_path / "turned").symlink_to(tmp_path / "seven")
    (tmp_path / "turned").rename(tmp_path / "data")
    assert secret.reveal() == "seven"


def test_a_file_that_was_written_over_with_its_old_time_is_read_again(tmp_path):
    """As `cp -p` and `rsync -t` do: the same place, the same length, the same time of change."""
    secret = mounted(tmp_path, b"one")
    path = tmp_path / "token"
    os.utime(path, ns=(10**18, 10**18))
    assert secret.reveal() == "one"
    changed = path.stat().st_ctime_ns
    while path.stat().st_ctime_ns == changed:  # until the file system's clock has ticked
        path.write_bytes(b"two")
        os.utime(path, ns=(10**18, 10**18))
    assert secret.reveal() == "two"


def test_a_file_that_has_gone_is_not_remembered(tmp_path):
    """A secret that was taken away is not used on."""
    secret = mounted(tmp_path, b"one")
    assert secret.reveal() == "one"
    (tmp_path / "token").unlink()
    refused(secret.reveal)
    (tmp_path / "token").write_text("two")
    assert secret.reveal() == "two"


def test_forgetting_reads_again_whatever_the_time_says(tmp_path, monkeypatch):
    """Where a file system tells no times, the other side's refusal does."""
    secret = mounted(tmp_path, b"one")
    real = os.fstat
    stopped = real(os.open(tmp_path / "token", os.O_RDONLY))
    monkeypatch.setattr(os, "fstat", lambda handle: stopped)
    assert secret.reveal() == "one"
    (tmp_path / "token").write_bytes(b"two")
    assert secret.reveal() == "one"
    secret.forget()
    assert secret.reveal() == "two"


def test_a_variable_is_looked_up_at_each_use(monkeypatch):
    """Set later, changed, unset."""
    secret = Secret("${env:TOKEN_OF_MINE}", WHERE)
    refused(secret.reveal)
    for value in ("one", "two"):
        monkeypatch.setenv("TOKEN_OF_MINE", value)
        assert secret.reveal() == value
    monkeypatch.delenv("TOKEN_OF_MINE")
    refused(secret.reveal)


def test_a_variable_is_as_clean_as_a_file(monkeypatch):
    """Its last newline goes, as of a mounted secret; nothing, blanks and what is not UTF-8 are refused."""
    monkeypatch.setenv("TOKEN", "word\n")
    assert Secret("${env:TOKEN}", WHERE).reveal() == "word"
    for value in ("", "  ", "\n", CANARY + "\udcff"):
        monkeypatch.setenv("TOKEN", value)
        refused(Secret("${env:TOKEN}", WHERE).reveal)


def test_many_threads_see_whole_secrets_while_it_is_replaced(tmp_path):
    """The old one or the new one, never a mixture, an empty text or an error."""
    secret = mounted(tmp_path, b"a" * 100)
    seen: set[str] = set()
    wrong: list[BaseException] = []
    done = threading.Event()

    def read() -> None:
        try:
            while not done.is_set():
                seen.add(secret.reveal())
        except BaseException as problem:
            wrong.append(problem)

    readers = [threading.Thread(target=read) for _ in range(3)]
    for each in readers:
        each.start()
    for turn in range(50):
        (tmp_path / "new").write_text("ab"[turn % 2] * 100)
        (tmp_path / "new").rename(tmp_path / "token")
    last = secret.reveal()
    done.set()
    for each in readers:
        each.join(10)
    assert wrong == []
    assert seen <= {"a" * 100, "b" * 100}
    assert last == "b" * 100


# ── the keyring ───────────────────────────────────────────────────────────────────────────────────────────────────────
class Ring(keyring.backend.KeyringBackend):
    priority = 1
    held: dict[tuple[str, str], str] = {}
    locked = False

    def get_password(self, service: str, username: str) -> str | None:
        if self.locked:
            raise keyring.errors.KeyringLocked(CANARY)
        return self.held.get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        self.held[service, username] = password

    def delete_password(self, service: str, username: str) -> None:
        del self.held[service, username]


@pytest.fixture
def ring():
    before = keyring.get_keyring()
    found = Ring()
    found.held = {("bank/mail", "ann"): "word"}
    keyring.set_keyring(found)
    yield found
    keyring.set_keyring(before)


def test_the_keyring_is_asked_at_each_use(ring):
    """The user is what stands behind the last slash."""
    secret = Secret("${keyring:bank/mail/ann}", WHERE)
    assert (secret.reveal(), secret.refers) == ("word", True)
    ring.held["bank/mail", "ann"] = "other"
    assert secret.reveal() == "other"


def test_a_keyring_that_does_not_give_is_told(ring):
    """No entry, an empty one, a locked one, and that without the backend's own words."""
    assert "no entry" in str(refused(Secret("${keyring:bank/bob}", WHERE).reveal))
    ring.held["bank", "eve"] = ""
    assert "no entry" in str(refused(Secret("${keyring:bank/eve}", WHERE).reveal))
    ring.locked = True
    assert "KeyringLocked" in str(refused(Secret("${keyring:bank/mail/ann}", WHERE).reveal))


def test_without_the_extra_the_keyring_says_so(monkeypatch):
    """What to install."""
    monkeypatch.setitem(sys.modules, "keyring", None)
    assert "guardrail-sdk[keyring]" in str(refused(Secret("${keyring:bank/ann}", WHERE).reveal))


# ── what is no reference ──────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    "text",
    [
        "${file:relative/path}", "${file:}", "${file:~/token}", "${env:}", "${env:A=B}", "${env:A B}", "${keyring:service}",
        "${keyring:/user}", "${keyring:service/}", "${FILE:/x}", "${vault:x}", "${HOME}", "${}", "${", "${file:/x", "${env:${env:X}}",
        "${ env:X}", "$${file:/x}{env:X}", "a${", "a ${env:X} ${y}", "${file:/a\0b}", "${file:/a\nb}", "${file:/\ud800}",
    ],
)  # fmt: skip
def test_what_looks_like_a_reference_and_is_none_is_refused_at_once(text):
    """When the settings are read, and without what was written: it may be a secret with a dollar in it."""
    problem = refused(lambda: Secret(text, WHERE))
    assert "${file:/absolute/path}" in str(problem)


# ── showing nothing ───────────────────────────────────────────────────────────────────────────────────────────────────
def test_nothing_but_reveal_shows_it(tmp_path, caplog):
    """Neither plain ones nor what was followed: text, format, logs, JSON, attributes, a dictionary of them."""
    for secret in (Secret(CANARY, WHERE), mounted(tmp_path, CANARY.encode())):
        assert secret.reveal() == CANARY
        with caplog.at_level(logging.DEBUG):
            logging.getLogger("mine").warning("%s %r %s", secret, secret, {"token": secret})
        shown = [
            str(secret), repr(secret), f"{secret}", f"{secret!r}", repr([secret]), ascii(secret),
            json.dumps({"token": secret}, default=str), orjson.dumps({"token": secret}, default=str).decode(), caplog.text,
        ]  # fmt: skip
        assert CANARY not in "".join(shown)
        assert not hasattr(secret, "__dict__")
        with pytest.raises(TypeError, match="(?i)format") as caught:
            f"{secret:>20}"
        assert CANARY not in str(caught.value)
        with pytest.raises(TypeError):
            json.dumps(secret)


def test_it_goes_into_no_pickle_and_no_copy():
    """By whatever protocol."""
    secret = Secret(CANARY, WHERE)
    for leave in (copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="never pickled"):
            leave(secret)
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        with pytest.raises(TypeError) as caught:
            pickle.dumps({"token": secret}, protocol)
        assert CANARY not in str(caught.value)


def test_secrets_that_are_spelled_alike_are_equal():
    """And nothing else is: not the text itself, which would be a way to guess it by."""
    one, two = Secret(CANARY, WHERE), Secret(CANARY, "elsewhere")
    assert one == two
    assert len({one, two, Secret("other", WHERE)}) == 2
    assert one != CANARY


def test_a_traceback_that_nobody_catches_shows_nothing(tmp_path):
    """The last words of a process."""
    (tmp_path / "token").write_bytes(CANARY.encode() + b"\xff")
    code = f"from guardrail.settings.secrets import Secret\nSecret('${{file:{tmp_path}/token}}', 'the token').reveal()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "ConfigError" in done.stderr
    assert CANARY not in done.stdout + done.stderr
