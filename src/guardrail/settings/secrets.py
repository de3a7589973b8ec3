"""Secrets that a setting only refers to: `${file:/run/secrets/token}`, `${env:TOKEN}`, `${keyring:service/user}`.

A reference is followed where the secret is used, and again when it was rotated; nothing but `reveal()` shows it.
"""

from __future__ import annotations

import os
import re
import stat
from typing import Any, Final

from guardrail.errors import ConfigError

REFERENCE: Final = re.compile(r"\$\{(file|env|keyring):([^{}$]+)\}")
_LOOSE: Final = re.compile(r"\$\{[^{}]*\}?")
_SHAPES: Final = {  # of what is referred to
    "file": re.compile(r"/[^\x00-\x1f\x7f]*"),
    "env": re.compile(r"[^\s=\x00-\x1f\x7f]+"),
    "keyring": re.compile(r"[^\x00-\x1f\x7f]+/[^/\x00-\x1f\x7f]+"),
}
_LONGEST: Final = 65_536  # bytes of a mounted secret
_PLEASE: Final = "write ${file:/absolute/path}, ${env:NAME} or ${keyring:service/user}"


class Secret:
    """A text that may hold references and shows itself only by `reveal()`.

    Args:
        text: Plain text, references, or both mixed.
        where: What an error calls the setting.

    Raises:
        ConfigError: A reference is not one of the three kinds.
    """

    __slots__ = ("_seen", "_text", "where")

    def __init__(self, text: str, where: str) -> None:
        if _LOOSE.search(REFERENCE.sub("", text)):
            raise ConfigError(f"{where} has a reference that is none", hint=_PLEASE)
        for kind, target in REFERENCE.findall(text):
            if not _SHAPES[kind].fullmatch(target) or not _encodes(target):
                raise ConfigError(f"{where} has a {kind} reference that is none", hint=_PLEASE)
        self._text = text
        self.where = where
        self._seen: dict[str, tuple[tuple[int, ...], str]] = {}

    @property
    def refers(self) -> bool:
        """Whether it can change while the process runs."""
        return REFERENCE.search(self._text) is not None

    def reveal(self) -> str:
        """Return the secret as it is now. A file is read again when it was replaced.

        Raises:
            ConfigError: What is referred to is not there.
        """
        return REFERENCE.sub(lambda hit: self._follow(hit[1], hit[2]), self._text)

    def forget(self) -> None:
        """Read every file again at the next use, whatever its time says."""
        self._seen.clear()

    def _follow(self, kind: str, target: str) -> str:
        if kind == "env":
            value = os.environ.get(target, "")
            if not value:
                raise ConfigError(
                    f"{self.where} refers to a variable of the environment that is not set",
                    hint="set it for this process, or refer to a file: ${file:/run/secrets/name}",
                )
            return self._cleaned(os.fsencode(value), "variable of the environment")
        if kind == "keyring":
            return self._from_keyring(target)
        return self._from_file(target)

    def _from_file(self, path: str) -> str:
        try:
            handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as problem:
            raise self._unreadable(problem) from None
        try:
            now = os.fstat(handle)
            # The time of the last change of any kind: a file may be written over with the same length and its old date.
            mark = now.st_dev, now.st_ino, now.st_ctime_ns, now.st_mtime_ns, now.st_size
            seen = self._seen.get(path)
            if seen is not None and seen[0] == mark:
                return seen[1]
            if not stat.S_ISREG(now.st_mode):
                raise ConfigError(f"{self.where} refers to something that is no regular file", hint="name the file itself")
            content = _read(handle)
        except OSError as problem:
            raise self._unreadable(problem) from None
        finally:
            os.close(handle)
        found = self._cleaned(content, "file")
        self._seen[path] = mark, found
        return found

    def _cleaned(self, content: bytes, what: str) -> str:
        """Return the text of a secret without what editors add: its last newline, and the mark of UTF-8."""
        found = content[:_LONGEST].decode("utf-8-sig", errors="replace").removesuffix("\n").removesuffix("\r")
        if len(content) > _LONGEST or not found.strip():
            raise ConfigError(
                f"the {what} that {self.where} refers to is empty, or too long for a secret", hint="put the secret alone into it"
            )
        # Not by the error of `decode`: it holds the secret, and who collects errors would find it as the context of ours.
        if "\ufffd" in found:
            raise ConfigError(f"the {what} that {self.where} refers to is not UTF-8", hint="write it anew, as UTF-8")
        return found

    def _unreadable(self, problem: OSError) -> ConfigError:
        return ConfigError(
            f"the file that {self.where} refers to cannot be read: {problem.strerror}",
            hint="see that it is there and that the user of this process may read it",
        )

    def _from_keyring(self, target: str) -> str:
        try:
            import keyring  # noqa: PLC0415 - an extra
        except ImportError:
            raise ConfigError(f'{self.where} needs the extra keyring: pip install "guardrail-sdk[keyring]"') from None
        service, _, user = target.rpartition("/")
        try:
            found = keyring.get_password(service, user)
        except Exception as problem:  # noqa: BLE001 - whatever a backend raises
            raise ConfigError(
                f"the keyring that {self.where} refers to cannot be read ({type(problem).__name__})",
                hint="unlock it, or refer to a file: ${file:/run/secrets/name}",
            ) from None
        if not found:
            raise ConfigError(
                f"the keyring has no entry that {self.where} refers to", hint="add it with `keyring set SERVICE USER`"
            )
        return str(found)

    def __str__(self) -> str:
        """Return stars."""
        return "***"

    def __repr__(self) -> str:
        """Return stars, marked as a secret's."""
        return "Secret(***)"

    def __eq__(self, other: object) -> bool:
        """Two secrets are equal when they are spelled alike."""
        return isinstance(other, Secret) and other._text == self._text

    def __hash__(self) -> int:
        """Hash by spelling, as equality goes."""
        return hash((Secret, self._text))

    def __reduce__(self) -> Any:
        """Refuse: a pickle would hold the secret in plain text."""
        raise TypeError("a secret is never pickled; let the other process read its own settings")


def _encodes(word: str) -> bool:
    try:
        os.fsencode(word)
    except UnicodeEncodeError:
        return False
    return True


def _read(handle: int) -> bytes:
    """Return what a file holds, up to a byte more than a secret may have: a read may give less than was asked for."""
    found = b""
    while len(found) <= _LONGEST:
        piece = os.read(handle, _LONGEST + 1 - len(found))
        if not piece:
            break
        found += piece
    return found
