"""The store of data keys in one SQLite file, `subjects.db`, each key wrapped under another one in a file beside it."""

from __future__ import annotations

import contextlib
import hashlib
import os
import sqlite3
import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Final, TypeVar

from guardrail import clock, control_file, lifecycle
from guardrail.ledger.data_keys import NOBODY, Counts, DataKey, Grave, Keys
from guardrail.ledger.sealing_key import KEY_BYTES, KeysUnavailable, refuse_open, sealing_key
from guardrail.store import forks, sqlite

T = TypeVar("T")
FILE: Final = "subjects.db"
_SCHEMA: Final = 1
_BUSY_SECONDS: Final = 2.0
_AT_ONCE: Final = 500  # subjects in one statement
_NONCE: Final = 12
_TABLES: Final = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE key (kid TEXT PRIMARY KEY, subject TEXT NOT NULL, at REAL NOT NULL, wrapped BLOB) WITHOUT ROWID;
CREATE INDEX key_subject ON key (subject);
CREATE TABLE grave (subject TEXT PRIMARY KEY, at REAL NOT NULL, keys INTEGER NOT NULL, told INTEGER NOT NULL) WITHOUT ROWID;
"""


class FileKeys(Keys):
    """The store in one SQLite file, for all processes of a user. It makes nothing before something is sealed.

    The journal is kept and overwritten after every erasure, since it holds what the pages were before.

    Args:
        folder: Where the file is.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / FILE
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        self._identity: tuple[int, int] | None = None
        self._key = b""
        self._index = b""
        self._looked: tuple[int, int, int, int] | None = None
        self._epoch = 0

    # ── what is asked for ─────────────────────────────────────────────────────────────────────────────────────────────
    def digest(self, subject: str) -> str:
        """Return the keyed digest that stands for a subject in records; BLAKE2b, 20 bytes."""
        if not self._index:
            self._do(lambda _: None)
        return hashlib.blake2b(subject.encode("utf-8", "surrogatepass"), digest_size=20, key=self._index).hexdigest()

    def obtain(self, subjects: Mapping[str, float]) -> dict[str, DataKey | None]:
        """Return the key of each subject, made where there is none."""
        known = self._do(lambda connection: self._living(connection, subjects))
        missing = [subject for subject, at in subjects.items() if subject not in known]
        if missing:
            known |= self._write(lambda connection: self._made(connection, {each: subjects[each] for each in missing}))
        return {
            subject: None if (key := known[subject]).secret is None or at <= key.after else key
            for subject, at in subjects.items()
        }

    def another(self, subject: str) -> DataKey:
        """Make a further key for a subject."""
        return self._write(
            lambda connection: self._new(connection, subject, self._graves(connection, [subject]).get(subject, 0.0))
        )

    def find(self, kids: Collection[str]) -> dict[str, DataKey]:
        """Return keys by their ids."""
        return (
            self._do(lambda connection: {key.kid: key for key in self._rows(connection, "kid", list(kids))})
            if self.exists()
            else {}
        )

    def kids(self, subject: str) -> list[str]:
        """Return the ids of all keys of a subject."""
        return (
            [key.kid for key in self._do(lambda connection: self._rows(connection, "subject", [subject]))]
            if self.exists()
            else []
        )

    def destroy(self, subject: str, at: float) -> Grave:
        """Destroy all keys of a subject."""
        return self._write(lambda connection: self._buried(connection, subject, at), shred=True)

    def told(self, subject: str) -> None:
        """Note that the ledger has the erasure."""
        self._write(lambda connection: connection.execute("UPDATE grave SET told = 1 WHERE subject = ?", (subject,)))

    def grave(self, subject: str) -> Grave | None:
        """Return what is remembered of an erasure."""
        if not self.exists():
            return None
        query = "SELECT subject, at, keys, told FROM grave WHERE subject = ?"
        row = self._do(lambda connection: connection.execute(query, (subject,)).fetchone())
        return None if row is None else Grave(row[0], row[1], row[2], bool(row[3]))

    def epoch(self) -> int:
        """Return a number that grows with every erasure; one `stat` while nothing has changed."""
        try:
            now = os.stat(self.path)  # noqa: PTH116 - half the cost of Path.stat, and it is polled
        except FileNotFoundError:
            return 0
        seen = (now.st_mtime_ns, now.st_ino, now.st_size, now.st_ctime_ns)
        if seen != self._looked:
            query = "SELECT value FROM meta WHERE name = 'epoch'"
            self._epoch = int(self._do(lambda connection: connection.execute(query).fetchone())[0])
            self._looked = seen
        return self._epoch

    def counts(self) -> Counts:
        """Return how many subjects there are."""
        if not self.exists():
            return Counts(0, 0, 0)
        living = "SELECT count(DISTINCT subject) FROM key WHERE wrapped IS NOT NULL AND subject != ?"
        erased = "SELECT count(*), count(*) FILTER (WHERE NOT told) FROM grave"
        return self._do(
            lambda connection: Counts(connection.execute(living, (NOBODY,)).fetchone()[0], *connection.execute(erased).fetchone())
        )

    def exists(self) -> bool:
        """Return whether anything was ever sealed here."""
        return self.path.exists()

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            connection, self._connection = self._connection, None
            if connection is not None:
                with contextlib.suppress(sqlite3.Error), forks.apart():
                    connection.close()

    def abandon(self) -> sqlite3.Connection | None:
        """In a forked child: return the inherited connection, which must be neither used nor closed."""
        return self._connection

    # ── rows ──────────────────────────────────────────────────────────────────────────────────────────────────────────
    def _living(self, connection: sqlite3.Connection, subjects: Collection[str]) -> dict[str, DataKey]:
        rows = self._rows(connection, "subject", list(subjects))
        return {key.subject: key for key in sorted(rows, key=lambda key: key.kid) if key.secret is not None}

    def _made(self, connection: sqlite3.Connection, subjects: Mapping[str, float]) -> dict[str, DataKey]:
        known = self._living(connection, subjects)  # another process may have been faster
        graves = self._graves(connection, list(subjects))
        for subject, at in subjects.items():
            if subject not in known:
                after = graves.get(subject, 0.0)
                known[subject] = DataKey("", None, subject, after) if at <= after else self._new(connection, subject, after)
        return known

    def _new(self, connection: sqlite3.Connection, subject: str, after: float) -> DataKey:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415 - 50 ms

        at = clock.wall()
        kid = f"{int(at * 1000) & 0xFFFFFFFFFFFF:012x}{os.urandom(6).hex()}"  # the later ones sort last
        secret, nonce = os.urandom(KEY_BYTES), os.urandom(_NONCE)
        wrapped = nonce + AESGCM(self._key).encrypt(nonce, secret, _bound(kid, subject))
        connection.execute("INSERT INTO key VALUES (?, ?, ?, ?)", (kid, subject, at, wrapped))
        return DataKey(kid, secret, subject, after)

    def _rows(self, connection: sqlite3.Connection, column: str, values: list[str]) -> list[DataKey]:
        found: list[DataKey] = []
        for start in range(0, len(values), _AT_ONCE):
            some = values[start : start + _AT_ONCE]
            query = f"SELECT kid, subject, wrapped FROM key WHERE {column} IN ({','.join('?' * len(some))})"  # noqa: S608 - marks only
            rows = connection.execute(query, some).fetchall()
            graves = self._graves(connection, [row[1] for row in rows])
            found += [
                DataKey(kid, self._open_key(kid, subject, wrapped), subject, graves.get(subject, 0.0))
                for kid, subject, wrapped in rows
            ]
        return found

    @staticmethod
    def _graves(connection: sqlite3.Connection, subjects: list[str]) -> dict[str, float]:
        found: dict[str, float] = {}
        for start in range(0, len(subjects), _AT_ONCE):
            some = subjects[start : start + _AT_ONCE]
            marks = ",".join("?" * len(some))
            found.update(connection.execute(f"SELECT subject, at FROM grave WHERE subject IN ({marks})", some))  # noqa: S608 - as above
        return found

    def _buried(self, connection: sqlite3.Connection, subject: str, at: float) -> Grave:
        gone = connection.execute("UPDATE key SET wrapped = NULL WHERE subject = ? AND wrapped IS NOT NULL", (subject,)).rowcount
        before = connection.execute("SELECT at, keys, told FROM grave WHERE subject = ?", (subject,)).fetchone()
        if before is not None:
            at, gone = max(at, before[0]), gone + (0 if before[2] else before[1])  # of one that was never told, all of it
        connection.execute("INSERT OR REPLACE INTO grave VALUES (?, ?, ?, 0)", (subject, at, gone))
        connection.execute("UPDATE meta SET value = value + 1 WHERE name = 'epoch'")
        return Grave(subject, at, gone, told=False)

    def _open_key(self, kid: str, subject: str, wrapped: bytes | None) -> bytes | None:
        if wrapped is None:
            return None
        return _unwrapped(self._key, wrapped, _bound(kid, subject), self.path)

    # ── the file ──────────────────────────────────────────────────────────────────────────────────────────────────────
    def _do(self, what: Callable[[sqlite3.Connection], T]) -> T:
        with self._guarded() as connection:
            return what(connection)

    def _write(self, what: Callable[[sqlite3.Connection], T], *, shred: bool = False) -> T:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self._guarded() as connection, control_file.alone(self._beside(".lock")):
            connection.execute("BEGIN IMMEDIATE")
            try:
                done = what(connection)
                connection.execute("COMMIT")
            except BaseException:
                with contextlib.suppress(sqlite3.Error):
                    connection.execute("ROLLBACK")
                raise
            if shred:
                self._shred()
            return done

    @contextlib.contextmanager
    def _guarded(self) -> Iterator[sqlite3.Connection]:
        """Have the file to oneself in this process, open; whatever goes wrong is told as one kind of error."""
        with self._lock, forks.apart():
            try:
                yield self._opened()
            except KeysUnavailable:
                raise
            except (OSError, RuntimeError, sqlite3.Error) as problem:  # RuntimeError: the user has no home folder
                if isinstance(problem, sqlite3.DatabaseError):
                    connection, self._connection = self._connection, None
                    if connection is not None:
                        connection.close()
                why = getattr(problem, "strerror", None) or getattr(problem, "sqlite_errorname", None) or type(problem).__name__
                raise KeysUnavailable(
                    f"the keys of data subjects in {self.path} cannot be used ({why}); free, mend or bring back that file"
                ) from None

    def _opened(self) -> sqlite3.Connection:
        if self._connection is not None and sqlite.identity(self.path) == self._identity:
            return self._connection
        self.close()
        fresh = not self.path.exists()
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._key = sealing_key(create=fresh)
        sqlite.make_private(self.path)
        refuse_open(self.path.stat(), self.path)
        connection = sqlite3.connect(self.path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False)
        try:
            for pragma in ("secure_delete = ON", "journal_mode = PERSIST", "synchronous = FULL", "trusted_schema = OFF"):
                connection.execute(f"PRAGMA {pragma}").fetchone()
            if connection.execute("PRAGMA user_version").fetchone()[0] == 0:
                with control_file.alone(self._beside(".lock")):
                    self._create(connection)
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            if version != _SCHEMA:
                raise KeysUnavailable(f"{self.path} was written by a newer guardrail-sdk: upgrade this one")  # noqa: TRY301 - closed below
            wrapped = connection.execute("SELECT value FROM meta WHERE name = 'index'").fetchone()[0]
            self._index = _unwrapped(self._key, wrapped, b"index", self.path)
        except BaseException:
            connection.close()
            raise
        lifecycle.arm()
        self._connection, self._identity = connection, sqlite.identity(self.path)
        return connection

    def _create(self, connection: sqlite3.Connection) -> None:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415 - as above

        connection.execute("BEGIN IMMEDIATE")
        if connection.execute("PRAGMA user_version").fetchone()[0] == 0:
            for statement in _TABLES.strip().split(";\n"):
                connection.execute(statement)
            nonce = os.urandom(_NONCE)
            index = nonce + AESGCM(self._key).encrypt(nonce, os.urandom(KEY_BYTES), b"index")
            connection.executemany("INSERT INTO meta VALUES (?, ?)", [("index", index), ("epoch", 0)])
            connection.execute(f"PRAGMA user_version = {_SCHEMA}")
        connection.execute("COMMIT")

    def _shred(self) -> None:
        """Overwrite the journal, which holds the pages as they were before. Nobody else writes while we hold the lock.

        The commit has blanked its head, so that SQLite takes nothing in it for a transaction to be rolled back.
        """
        path = self._beside("-journal")
        with contextlib.suppress(FileNotFoundError):
            handle = os.open(path, os.O_RDWR | os.O_CLOEXEC)
            try:
                os.pwrite(handle, bytes(os.fstat(handle).st_size), 0)
                os.fsync(handle)
            finally:
                os.close(handle)

    def _beside(self, ending: str) -> Path:
        return self.path.with_name(self.path.name + ending)


def _bound(kid: str, subject: str) -> bytes:
    return f"key|{kid}|{subject}".encode()


def _unwrapped(key: bytes, wrapped: bytes, bound: bytes, path: Path) -> bytes:
    from cryptography.exceptions import InvalidTag  # noqa: PLC0415 - as above
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415 - as above

    try:
        return AESGCM(key).decrypt(wrapped[:_NONCE], wrapped[_NONCE:], bound)
    except InvalidTag:
        raise KeysUnavailable(
            f"the sealing key is another one than {path} was written with: bring the right one back, or name it in"
            " GUARDRAIL_SEALING_KEY_FILE"
        ) from None
