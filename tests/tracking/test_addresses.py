"""A store that was moved or copied: MLflow finds the files of old runs where they lie now."""

import contextlib
import shutil
import sqlite3
from pathlib import Path

import pytest

from pipeline.store import Storage
from pipeline.tracking import Destination
from pipeline.tracking.addresses import ADDRESSES
from tests.tracking import driver
from tests.tracking.recorded import Recorded


@pytest.fixture(scope="module")
def recorded_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with a recorded flow; tests work on copies."""
    store = tmp_path_factory.mktemp("first place") / "store"
    assert driver.run(str(store), None, timeout_seconds=300) is None
    return store


def opened(store: Path) -> Recorded:
    destination = Destination.of(Storage(str(store)))
    destination.prepare()
    return Recorded(destination.uri)


def read_samples(found: Recorded) -> str:
    """A file of a run, as MLflow hands it out."""
    (run,) = [run for run in found.runs if run.data.tags.get("moinho.stage") == "pretrain"]
    return Path(found.client.download_artifacts(run.info.run_id, "samples.md")).read_text()


def addresses(store: Path) -> set[str]:
    with contextlib.closing(sqlite3.connect(store / "mlflow.db")) as database:
        rows = [database.execute(f"SELECT {column} FROM {table}").fetchall() for table, column in ADDRESSES]
    return {address for found in rows for (address,) in found if address and address.startswith("file:")}


def test_files_are_found_after_a_move_and_new_runs_write_beside_them(
    recorded_store: Path, tmp_path: Path
) -> None:
    first, second = tmp_path / "a" / "store", tmp_path / "b, with a space" / "store"
    shutil.copytree(recorded_store, first)
    opened(first)
    second.parent.mkdir()
    first.rename(second)
    found = opened(second)
    assert "the quick brown fox" in read_samples(found)
    assert all(address.startswith(second.as_uri() + "/") for address in addresses(second))
    assert driver.run(str(second), None, timeout_seconds=300) is None
    assert not first.exists()
    with contextlib.closing(sqlite3.connect(second / "mlflow.db")) as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_a_copy_leaves_the_original_and_its_files_alone(recorded_store: Path, tmp_path: Path) -> None:
    original, copy = tmp_path / "original", tmp_path / "copy"
    shutil.copytree(recorded_store, original)
    opened(original)
    shutil.copytree(original, copy)
    before = {path: path.read_bytes() for path in original.rglob("*") if path.is_file()}
    found = opened(copy)
    (run,) = [run for run in found.runs if run.data.tags.get("moinho.stage") == "pretrain"]
    found.client.log_text(run.info.run_id, "of the copy", "samples.md")
    assert {path: path.read_bytes() for path in original.rglob("*") if path.is_file()} == before
    assert "the quick brown fox" in read_samples(opened(original))


def test_a_database_that_was_copied_alone_still_points_to_its_files(
    recorded_store: Path, tmp_path: Path
) -> None:
    (tmp_path / "elsewhere").mkdir()
    shutil.copy(recorded_store / "mlflow.db", tmp_path / "elsewhere/mlflow.db")
    assert "the quick brown fox" in read_samples(opened(tmp_path / "elsewhere"))


def test_what_others_keep_elsewhere_is_not_touched(recorded_store: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    shutil.copytree(recorded_store, store)
    theirs = "file:///srv/somebody-else/artifacts"
    with contextlib.closing(sqlite3.connect(store / "mlflow.db")) as database:
        columns = "(name, artifact_location, lifecycle_stage)"
        database.execute(f"INSERT INTO experiments {columns} VALUES ('theirs', ?, 'active')", (theirs,))
        database.commit()
    opened(store)
    assert [address for address in addresses(store) if not address.startswith(store.as_uri())] == [theirs]
