"""Which revision the tables of a store are of, and what this release can work with. Alembic's numbers, on both databases."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from guardrail.store.sqlite import StoreError

if TYPE_CHECKING:
    from alembic.config import Config
    from sqlalchemy import Connection

TABLE: Final = "guardrail_schema"  # in which a database remembers its revision
HEAD: Final = "0004"  # the newest that this release knows
MIGRATE: Final = "run `guardrail store migrate` with GUARDRAIL_DATABASE_URL of a user who may create tables"


def revision(connection: Connection) -> str | None:
    """Return the revision of the tables; None where there are none."""
    if connection.dialect.name == "sqlite":
        there: Any = connection.exec_driver_sql(f"SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = '{TABLE}'").first()  # noqa: S608 - our own table
    else:
        there = connection.exec_driver_sql(f"SELECT to_regclass('{TABLE}')").scalar()
    if there is None:
        return None
    found = connection.exec_driver_sql(f"SELECT version_num FROM {TABLE}").scalar()  # noqa: S608 - our own table
    return None if found is None else str(found)


def prepare(connection: Connection) -> None:
    """Bring an embedded store to what this release has, in the caller's transaction; a newer one's serves this one as well."""
    found = revision(connection)
    if found is None:
        from guardrail.store import tables  # noqa: PLC0415 - with SQLAlchemy

        tables.metadata.create_all(connection)
        connection.exec_driver_sql(f"CREATE TABLE {TABLE} (version_num VARCHAR(32) NOT NULL PRIMARY KEY)")
        connection.exec_driver_sql(f"INSERT INTO {TABLE} VALUES ('{HEAD}')")  # noqa: S608 - our own table
    elif found < HEAD:
        from alembic import command  # noqa: PLC0415 - only a store of an earlier release needs it

        settings = config()
        settings.attributes["connection"] = connection
        command.upgrade(settings, "head")


def check(connection: Connection) -> None:
    """See that a shared database has the tables that this release needs; no process makes them by itself.

    Raises:
        StoreError: It has none, or older ones.
    """
    found = revision(connection)
    if found is None:
        raise StoreError("the database has no tables of guardrail", hint=MIGRATE)
    if found < HEAD:
        raise StoreError(f"the database's tables are of revision {found}, and the review queue needs {HEAD}", hint=MIGRATE)


def config() -> Config:
    """Return what Alembic needs to find the migrations."""
    from alembic.config import Config  # noqa: PLC0415 - for those who migrate

    made = Config()
    made.set_main_option("script_location", str(Path(__file__).with_name("migrations")))
    return made
