"""Bringing a database to the tables of this version, in one transaction; the same on both kinds."""

from pathlib import Path

from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.runtime.environment import EnvironmentContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

from gateway.database import Database
from gateway.tables import Table
from ltx2.errors import ConfigError

FOLDER = Path(__file__).parent
# Any number that no other program locks on this database: one process migrates at a time.
_LOCK = 0x6C747832


def migrate(database: Database) -> tuple[str | None, str]:
    """The revision before and after. Raises ConfigError for a database of a newer version."""
    config = Config()
    script = ScriptDirectory(str(FOLDER))
    newest = script.get_current_head()
    assert newest is not None
    with database.write() as session:
        connection = session.connection()
        if not database.is_sqlite:
            session.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
        before = revision(connection)
        known = {each.revision for each in script.walk_revisions()}
        if before is not None and before not in known:
            raise ConfigError(
                f"the database is at revision {before}, which this version does not know: it was "
                "used by a newer one"
            )
        if before != newest:
            _upgrade(connection, config, script)
    return before, newest


def revision(connection: Connection) -> str | None:
    """The revision that a database is at; None for one that was never migrated."""
    return MigrationContext.configure(connection).get_current_revision()


def _upgrade(connection: Connection, config: Config, script: ScriptDirectory) -> None:
    def steps(at: object, _context: object) -> object:
        return script._upgrade_revs("head", at)  # pyright: ignore[reportPrivateUsage, reportArgumentType]

    with EnvironmentContext(config, script, fn=steps, destination_rev="head") as environment:
        environment.configure(
            connection=connection,
            target_metadata=Table.metadata,
            render_as_batch=True,
            # The transaction is the caller's: all steps or none.
            transactional_ddl=False,
        )
        environment.run_migrations()
