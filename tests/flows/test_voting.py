"""`moinho votes` as a user types it, and which models the page shows."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from flows.cli import app
from flows.people import found_models, shown
from flows.references import UnknownArtifactError, find_model_folder
from pipeline.alignment.align import DpoModel
from pipeline.alignment.ballots import BallotBox, BallotError, gather_votes
from pipeline.alignment.forms import read_votes
from pipeline.chat.limits import Limits
from pipeline.models.model import MODEL_FOLDER
from pipeline.store import Attempt, Made, Store
from tests.chat.test_ballots import ballot
from tests.evaluation.stand_ins import NoConfig, SmallModel
from tests.road import moinho


@pytest.fixture
def voted(store: Store) -> Store:
    box = BallotBox(store.storage, "road")
    box.put(ballot(1))
    box.put(ballot(2, voter="bia", vote="b"))
    box.put(ballot(3, voter="bia", vote="tie"))
    BallotBox(store.storage, "mill").put(ballot(4))
    return store


def test_boxes_are_listed_with_their_votes_and_voters(voted: Store) -> None:
    told = moinho("votes", store=Path(voted.storage.root))
    assert told.returncode == 0, told.stderr
    assert [line.split() for line in told.stdout.splitlines()] == [
        ["box", "votes", "voters"],
        ["mill", "1", "1"],
        ["road", "3", "2"],
    ]
    told = moinho("votes", "--json", store=Path(voted.storage.root))
    assert json.loads(told.stdout) == [
        {"box": "mill", "votes": 1, "voters": 1},
        {"box": "road", "votes": 3, "voters": 2},
    ]


def test_the_votes_of_a_box_are_printed_as_a_file_of_preferences(voted: Store) -> None:
    told = CliRunner().invoke(app, ["votes", "road", "--store", voted.storage.root])
    assert told.exit_code == 0, told.output
    votes, _ = read_votes(enumerate(map(json.loads, told.stdout.splitlines()), 1), "votes.jsonl")
    assert [(vote.voter, vote.margin) for vote in votes] == [("ana", 1), ("bia", -1), ("bia", 0)]


def test_a_box_that_nobody_voted_in_is_told_with_those_that_there_are(voted: Store) -> None:
    told = CliRunner().invoke(app, ["votes", "rode", "--store", voted.storage.root])
    assert isinstance(told.exception, BallotError)
    assert "nobody has voted in 'rode'; there is: mill, road." in str(told.exception)


def test_where_nobody_voted_the_way_to_the_page_is_told(store: Store, small_model: SmallModel) -> None:
    told = CliRunner().invoke(app, ["votes", "--store", small_model.storage.root])
    assert "nobody has voted yet: `moinho chat MODEL --web` opens the page" in " ".join(told.output.split())
    told = CliRunner().invoke(app, ["votes", "--json", "--store", small_model.storage.root])
    assert json.loads(told.stdout) == []


@pytest.fixture
def models(evaluation_store: Store, small_model: SmallModel) -> Store:
    """The evaluation's store with a model that was made from the small one."""

    def build(attempt: Attempt) -> Made:
        folder = attempt.path(MODEL_FOLDER)
        folder.mkdir(parents=True, exist_ok=True)
        for path in small_model.model_folder().iterdir():
            (folder / path.name).write_bytes(path.read_bytes())
        return Made(attempt.publish_folder(MODEL_FOLDER))

    made = evaluation_store.make(DpoModel, NoConfig(), {"base": small_model}, build)
    evaluation_store.name("toy/base", small_model)
    evaluation_store.name("toy/dpo", made)
    return evaluation_store


def test_an_aligned_model_is_found_as_a_model_and_votes_are_none(models: Store, voted: Store) -> None:
    assert (find_model_folder(models, "toy/dpo") / "config.json").is_file()
    gathered = gather_votes(voted, "road")
    with pytest.raises(UnknownArtifactError, match=r"the stage gather-votes made, not a model"):
        find_model_folder(voted, gathered.key)


def test_the_page_shows_what_was_named_and_then_what_that_was_made_from(
    models: Store, small_model: SmallModel
) -> None:
    folder = small_model.model_folder()
    found = found_models(models, "toy/dpo", [str(folder), "toy/dpo"])
    assert [each.name for each in found] == ["toy/dpo", folder.resolve().name, "toy/base"]
    assert found[0].identity == f"toy/dpo@{found_models(models, 'toy/dpo', ())[0].model.key}"  # type: ignore[union-attr]
    assert found[1].identity == folder.resolve().name
    stages = [shown(each, Limits()).stage for each in found]
    assert stages == ["dpo", "", "pretrain"]


def test_two_folders_of_one_name_have_different_names_on_the_page(
    models: Store, small_model: SmallModel, tmp_path: Path
) -> None:
    folders = [tmp_path / each / "model" for each in "ab"]
    for folder in folders:
        folder.parent.mkdir()
        folder.symlink_to(small_model.model_folder())
    found = found_models(models, str(folders[0]), [str(folders[1])])
    assert len({each.name for each in found}) == 2
