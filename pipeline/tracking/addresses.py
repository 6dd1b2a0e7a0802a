"""Where MLflow's database says its files lie: absolute addresses, mended when the store was moved."""

import contextlib
import logging
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

log = logging.getLogger(__name__)

ADDRESSES = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)
"""Tables and columns of MLflow 3.17 that hold an address of files."""


def mend_addresses(database: Path, files: Path) -> None:
    """Let all that lay in the folder that `files` was before lie in `files`, in one transaction.

    Only addresses below a former place of `files` change: a folder of its name that an experiment was
    given. Nothing changes where the files stayed behind, as when the database alone was copied, or
    where the database may only be read.
    """
    with contextlib.closing(sqlite3.connect(database, timeout=60, isolation_level=None)) as connection:
        if not _former_places(connection, files):
            return
        try:
            with connection:
                connection.execute("BEGIN IMMEDIATE")
                for before in _former_places(connection, files):
                    _replace(connection, before, files.as_uri())
        except sqlite3.OperationalError as error:
            if "readonly" not in str(error):
                raise
            log.warning("%s may only be read, so MLflow does not find the files of older runs", database)


def _replace(connection: sqlite3.Connection, before: str, here: str) -> None:
    for table, column in ADDRESSES:
        connection.execute(
            f"UPDATE {table} SET {column} = ? || substr({column}, ?) "
            f"WHERE {column} = ? OR substr({column}, 1, ?) = ?",
            (here, len(before) + 1, before, len(before) + 1, f"{before}/"),
        )
    log.warning("the store was moved: what lay in %s is looked for in %s", before, here)


def _former_places(connection: sqlite3.Connection, files: Path) -> list[str]:
    """Addresses that `files` had when experiments were made, if its content has come along."""
    rows = connection.execute("SELECT DISTINCT artifact_location FROM experiments").fetchall()
    places = [place for (place,) in rows if place and place.startswith("file:")]
    return [
        place
        for place in places
        if place != files.as_uri()
        and Path(_path(place)).name == files.name
        and _has_come_along(connection, place, files)
    ]


def _has_come_along(connection: sqlite3.Connection, before: str, files: Path) -> bool:
    """Whether any folder that lay there is here, or none is left there either."""
    known = list(_folders(connection, before))
    return any((files / name).exists() for name in known) or not any(
        Path(_path(before), name).exists() for name in known
    )


def _folders(connection: sqlite3.Connection, place: str) -> Iterator[str]:
    """Folders below `place` that runs and models were given: `<run>/artifacts`, `models/<id>/artifacts`."""
    for table, column in (("runs", "artifact_uri"), ("logged_models", "artifact_location")):
        for (address,) in connection.execute(f"SELECT {column} FROM {table}"):
            if address and address.startswith(f"{place}/"):
                yield unquote(address[len(place) + 1 :])


def _path(address: str) -> str:
    return unquote(urlsplit(address).path)
