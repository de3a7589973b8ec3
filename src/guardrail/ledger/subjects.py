"""The keys of data subjects, one for each person, in a store apart from the ledger: `subjects.db` in the user's configuration folder.

Whoever destroys a key has erased all that was sealed under it, wherever copies of it are. That is final and remembered: of a
destroyed key its id stays, and of the subject a keyed digest, never the id itself. Data of before that moment which come late get
no key; data that the application sends later, of its own accord, begin a new one.
"""

from __future__ import annotations

import threading
from typing import Any

from guardrail import lifecycle
from guardrail.ledger.data_keys import Keys
from guardrail.ledger.key_file import FileKeys
from guardrail.ledger.keys import config_folder
from guardrail.ledger.sealing_key import KeysUnavailable

_lock = threading.Lock()
_store: FileKeys | None = None
_inherited: list[Any] = []  # connections of the parent: SQLite forbids a child even to close them, so they stay referenced


def keys() -> Keys:
    """Return the store of data keys that is configured.

    Raises:
        KeysUnavailable: The user has no home folder.
    """
    global _store  # noqa: PLW0603 - one store per process
    try:
        folder = config_folder()
    except RuntimeError:
        raise KeysUnavailable("the user has no home folder for the keys of data subjects; set XDG_CONFIG_HOME") from None
    store = _store
    if store is not None and store.folder == folder:
        return store
    with _lock:
        if _store is None or _store.folder != folder:
            if _store is not None:
                _store.close()
            _store = FileKeys(folder)
        return _store


def digest(subject: str) -> str:
    """Return the digest that records hold for a subject; "" where nothing was ever sealed, so that no record has one.

    Raises:
        KeysUnavailable: The key of the digests cannot be read.
    """
    store = keys()
    return "" if isinstance(store, FileKeys) and not store.exists() else store.digest(subject)


def _close(_seconds: float) -> bool:
    if _store is not None:
        _store.close()
    return True


def _in_child() -> None:
    global _lock, _store  # noqa: PLW0603 - as above
    _lock = threading.Lock()
    if _store is not None:
        _inherited.append(_store.abandon())
        _store = None


lifecycle.after_fork(_in_child)
lifecycle.at_exit(90, _close)
