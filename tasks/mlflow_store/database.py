"""The database of a store: what is wrong with it is told in a sentence, where MLflow would write pages, or wait."""

import contextlib
import functools
import sqlite3
from pathlib import Path

import mlflow
import sqlalchemy
from sqlalchemy.exc import NoSuchModuleError, SQLAlchemyError

from tasks.core.errors import ServiceError, one_line

LOCKED_SECONDS = 10.0
"""For which a lock of another process is waited for."""
_MADE_SECONDS = 120
"""For which another process that makes the tables is waited for."""
_LOCK = 0x41535341
"""Key of PostgreSQL's advisory lock; any number that nobody else uses."""


@functools.cache
def check_database(database: Path) -> None:
    """Look once whether a database can be read and written to.

    Args:
        database: the file.

    Raises:
        ServiceError: it is locked, cut, no database, or not MLflow's.
    """
    try:
        with contextlib.closing(sqlite3.connect(database, timeout=LOCKED_SECONDS, isolation_level=None)) as store:
            store.execute("select version_num from alembic_version").fetchall()
            store.execute("begin immediate")
            store.execute("rollback")
    except sqlite3.Error as error:
        raise ServiceError(f"MLflow's store {database} can't be used: {_said(error)}.") from error


@functools.cache
def check_server(address: str) -> None:
    """Look once whether a database server answers; MLflow itself would try for minutes.

    Args:
        address: MLFLOW_TRACKING_URI, as of PostgreSQL.

    Raises:
        ServiceError: it does not, or no library for it is installed.
    """
    try:
        engine = sqlalchemy.create_engine(address, poolclass=sqlalchemy.NullPool)
        with engine.connect() as server:
            if not sqlalchemy.inspect(server).has_table("alembic_version"):
                _make_tables(server, address)
    except (ModuleNotFoundError, NoSuchModuleError) as error:
        way_out = "pip install 'assay[postgresql]'" if address.startswith("postgresql") else "install it"
        raise ServiceError(f"MLflow's database {address} needs a library ({one_line(error)}); {way_out}.") from error
    except SQLAlchemyError as error:
        said = one_line(str(error).partition("\n(Background")[0])
        raise ServiceError(
            f"MLflow's database {address} does not answer ({said}); start it, or correct MLFLOW_TRACKING_URI."
        ) from error


def _make_tables(server: sqlalchemy.Connection, address: str) -> None:
    """Let MLflow make its tables, one process at a time: of two that make them at once in PostgreSQL, one fails."""
    if server.dialect.name == "postgresql":
        server.execute(sqlalchemy.text(f"set lock_timeout = '{_MADE_SECONDS}s'"))
        server.execute(sqlalchemy.text(f"select pg_advisory_lock({_LOCK})"))  # until the connection is closed
    mlflow.MlflowClient(address).search_experiments(max_results=1)


def _said(error: sqlite3.Error) -> str:
    words = one_line(error)
    if "locked" in words:
        return f"another process has kept it locked for {LOCKED_SECONDS:g} s; end that one, and try again"
    if "no such table" in words:
        return f"it is no store of MLflow ({words}); name another one with MLFLOW_TRACKING_URI, or move the file away"
    if "readonly" in words:
        return f"it can't be written to ({words}); give yourself the right to, or name another one"
    return f"it is damaged ({words}); restore it from a backup, or move it away and a new one is made"
