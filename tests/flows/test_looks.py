"""`moinho look` and `moinho fill` as a user types them."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from flows.cli import app
from tests.evaluation.stand_ins import SmallModel

SENTENCE = "The old mill grinds the wheat"
LOOKS = {
    "next": [SENTENCE],
    "attention": [SENTENCE, "wheat"],
    "without": [SENTENCE],
    "near": ["wheat"],
}


@pytest.mark.parametrize("kind", [*LOOKS, "similar"])
def test_each_look_is_told_drawn_and_given_as_json(
    kind: str, small_model: SmallModel, tmp_path: Path
) -> None:
    folder, png = str(small_model.model_folder()), tmp_path / "look.png"
    given = ["mill", SENTENCE, "a mill by the river"] if kind == "similar" else LOOKS[kind]
    words = ["look", kind, folder, *given]
    told = CliRunner().invoke(app, [*words, "--png", str(png)])
    assert told.exit_code == 0, told.output
    assert "drawn: " in told.output
    assert png.read_bytes().startswith(b"\x89PNG")
    told = CliRunner().invoke(app, [*words, "--json", "--png", str(png)])
    assert told.exit_code == 0, told.output
    assert json.loads(told.stdout)


def test_the_heads_of_one_layer_are_told_by_number(small_model: SmallModel) -> None:
    words = ["look", "attention", str(small_model.model_folder()), SENTENCE, "wheat", "--layer"]
    told = CliRunner().invoke(app, [*words, "2"])
    assert told.exit_code == 0, told.output
    assert "head" in told.output
    told = CliRunner().invoke(app, [*words, "3"])
    assert "there is no layer 3; the model has 2" in str(told.exception)


def test_a_model_that_fills_no_gaps_is_told_so(small_model: SmallModel) -> None:
    told = CliRunner().invoke(app, ["fill", str(small_model.model_folder()), "the ___ mill"])
    assert "fills no gaps" in str(told.exception)
