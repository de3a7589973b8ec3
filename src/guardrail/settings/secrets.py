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
            if (kind == "file" and not target.startswith("/")) or (kind == "keyring" and "/" not in target):
                raise ConfigError(f"{where} has a {kind} reference that is none", hint=_PLEASE)
        self._text = text
        self.where = where
        self._seen: dict[str, tuple[tuple[int, int, int], str]] = {}

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
            found = os.environ.get(target, "")
            if not found:
                raise ConfigError(f"{self.where} refers to a variable of the environment that is not set")
            return found
        if kind == "keyring":
            return self._from_keyring(target)
        return self._from_file(target)

    def _from_file(self, path: str) -> str:
        try:
            handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            with open(handle, "rb") as file:  # noqa: PTH123 - from a descriptor
                now = os.fstat(handle)
                mark = (now.st_ino, now.st_mtime_ns, now.st_size)
                seen = self._seen.get(path)
                if seen is not None and seen[0] == mark:
                    return seen[1]
                if not stat.S_ISREG(now.st_mode):
                    raise ConfigError(f"{self.where} refers to something that is no regular file")
                content = file.read(_LONGEST + 1)
        except OSError as problem:
            raise ConfigError(f"the file that {self.where} refers to cannot be read: {problem.strerror}") from None
        try:
            found = content.decode().removesuffix("\n").removesuffix("\r")
        except UnicodeDecodeError:
            raise ConfigError(f"the file that {self.where} refers to is not UTF-8") from None
        if len(content) > _LONGEST or not found.strip():
            raise ConfigError(f"the file that {self.where} refers to is empty, or too long for a secret")
        self._seen[path] = mark, found
        return found

    def _from_keyring(self, target: str) -> str:
        try:
            import keyring  # noqa: PLC0415 - an extra
        except ImportError:
            raise ConfigError(f'{self.where} needs the extra keyring: pip install "guardrail-sdk[keyring]"') from None
        service, _, user = target.rpartition("/")
        try:
            found = keyring.get_password(service, user)
        except Exception as problem:  # noqa: BLE001 - whatever a backend raises
            raise ConfigError(f"the keyring that {self.where} refers to cannot be read ({type(problem).__name__})") from None
        if not found:
            raise ConfigError(f"the keyring has no entry that {self.where} refers to")
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
