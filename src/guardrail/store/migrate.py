"""Makes and changes the tables of a shared database, for `guardrail store migrate`. No process ever does it by itself."""

from __future__ import annotations

from typing import Final, NamedTuple

from guardrail.errors import ConfigError
from guardrail.store import schema
from guardrail.store.schema import TABLE

_LOCK: Final = 0x677561726D696772  # "guarmigr"; two who migrate at once come one after the other
_SECONDS: Final = 10
_LEAST: Final = 130_000  # PostgreSQL 13


class Migrated(NamedTuple):
    """What a migration did.

    Attributes:
        before: The revision that the database had, None for one without tables.
        after: The one that it has.
    """

    before: str | None
    after: str


def migrate(url: str) -> Migrated:
    """Bring the tables of a database to what this release has; of a newer one's nothing is touched.

    Args:
        url: As libpq takes it. Its user must be allowed to create tables.

    Raises:
        ConfigError: The database cannot be used.
    """
    import psycopg  # noqa: PLC0415 - an extra
    from alembic import command  # noqa: PLC0415 - for those who migrate
    from alembic.runtime.migration import MigrationContext  # noqa: PLC0415 - as above
    from alembic.script import ScriptDirectory  # noqa: PLC0415 - as above
    from sqlalchemy import create_engine  # noqa: PLC0415 - as above
    from sqlalchemy.exc import DBAPIError  # noqa: PLC0415 - as above
    from sqlalchemy.pool import NullPool  # noqa: PLC0415 - as above

    config = schema.config()
    known = {each.revision for each in ScriptDirectory.from_config(config).walk_revisions()}
    engine = create_engine(
        "postgresql+psycopg://", creator=lambda: psycopg.connect(url, connect_timeout=_SECONDS, application_name="guardrail migrate"),
        poolclass=NullPool,
    )  # fmt: skip
    try:
        with engine.begin() as connection:
            connection.exec_driver_sql("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
            _check(connection.connection.dbapi_connection)
            context = MigrationContext.configure(connection, opts={"version_table": TABLE})
            before = context.get_current_revision()
            if before is not None and before not in known and before > max(known):
                return Migrated(before, before)  # a newer release has been here: its tables serve this one as well
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
            after = context.get_current_revision()
    except (psycopg.Error, DBAPIError) as problem:
        original = problem.orig if isinstance(problem, DBAPIError) else problem
        code = getattr(original, "sqlstate", None)
        what = f"answers {code} ({type(original).__name__})" if code else "cannot be reached, or its URL is not what libpq takes"
        raise ConfigError(
            f"the database was not migrated: PostgreSQL {what}",
            hint="see that the server is up, and that the user may create tables",
        ) from None
    finally:
        engine.dispose()
    return Migrated(before, str(after))


def _check(raw: object) -> None:
    info = raw.info  # type: ignore[attr-defined]  # psycopg's own connection
    if info.server_version < _LEAST:
        raise ConfigError("the server is older than PostgreSQL 13", hint="use a newer one")
    if info.parameter_status("server_encoding") != "UTF8":
        raise ConfigError("the database is not encoded in UTF8", hint="make one with ENCODING 'UTF8'")
