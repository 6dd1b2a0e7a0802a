"""What the commands refuse, and in which words."""

from pathlib import Path

import pytest

from flows.commands import models, options, store
from flows.references import UnknownArtifactError, find_artifact
from pipeline.models.model import NotAModelError, load_model
from pipeline.store import Store
from pipeline.tracking.destination import ServedElsewhereError, serve_ui
from tests.store.stages import GrindConfig, grind


def test_a_store_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(options.NoStoreError, match=f"no store at {tmp_path}/none"):
        options.open_store(f"{tmp_path}/none")


def test_a_file_is_no_store(tmp_path: Path) -> None:
    (tmp_path / "sack").touch()
    with pytest.raises(options.NoStoreError, match=r"sack is a file, and a store is a folder"):
        options.open_store(f"{tmp_path}/sack")


def test_an_unknown_artifact_names_the_nearest(tmp_path: Path) -> None:
    home = Store(str(tmp_path))
    home.name("farm/flour", grind(home, GrindConfig()))
    with pytest.raises(UnknownArtifactError, match=r"farm/floor: nothing of .* there is farm/flour"):
        find_artifact(home, "farm/floor")


def test_nothing_is_removed_where_nobody_can_be_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    home = Store(str(tmp_path))
    flour = grind(home, GrindConfig())
    monkeypatch.setattr("sys.stdin", (tmp_path / "artifact").open("w+"))
    with pytest.raises(store.NotConfirmedError, match="--dry-run"):
        store.gc(store=str(tmp_path))
    store.gc(dry_run=True, store=str(tmp_path))
    assert flour.exists()
    store.gc(yes=True, store=str(tmp_path))
    assert list(home.records()) == []


def test_an_empty_beginning_cannot_be_completed() -> None:
    with pytest.raises(models.NothingToCompleteError, match="give a beginning"):
        models.complete("quickstart/base", "  ")


def test_a_folder_that_is_no_model_is_told_what_it_lacks(tmp_path: Path) -> None:
    with pytest.raises(NotAModelError, match=r"config\.json.* not there"):
        load_model(tmp_path)


def test_runs_that_a_server_records_are_not_served_here(tmp_path: Path) -> None:
    with pytest.raises(ServedElsewhereError, match=r"http://127\.0\.0\.1:1: open that address"):
        serve_ui(Store(str(tmp_path)).storage, "http://127.0.0.1:1")
