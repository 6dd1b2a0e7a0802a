"""Mixtures: the shares that were asked for are those that a training draws."""

from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from pipeline.tokens.mixture import MixedRows
from pipeline.tokens.order import drawn
from pipeline.training.loader import Loader
from pipeline.training.mixing import MixtureConfig, MixtureError, plan_of
from pipeline.training.steps import Steps
from tests.training.toys import rows_of, toy_texts

ROWS = {"pt": 300, "en": 1_000, "rest": 50}
TOTAL, ROW_TOKENS = 4_000, 128


def counts(config: MixtureConfig | None, begin: float = 0, end: float = 1) -> dict[str, float]:
    """Share of each text in the rows between two moments."""
    plan = plan_of(config, ROWS, TOTAL, ROW_TOKENS)
    before, after = drawn(int(begin * TOTAL), plan), drawn(int(end * TOTAL), plan)
    rows = int(end * TOTAL) - int(begin * TOTAL)
    return {name: (b - a) / rows for name, a, b in zip(ROWS, before, after, strict=True)}


def test_weights_are_shares_of_the_rows_within_a_hundredth() -> None:
    asked = MixtureConfig(weights={"pt": 7, "en": 2, "rest": 1})
    for begin, end in ((0, 1), (0, 0.1), (0.4, 0.6)):
        assert counts(asked, begin, end) == pytest.approx({"pt": 0.7, "en": 0.2, "rest": 0.1}, abs=0.01)


def test_without_a_mixture_each_text_has_as_much_as_it_has_rows() -> None:
    whole = sum(ROWS.values())
    assert counts(None) == pytest.approx({name: rows / whole for name, rows in ROWS.items()}, abs=0.01)


def test_epochs_and_tokens_are_budgets_and_weights_share_what_is_left() -> None:
    asked = MixtureConfig(epochs={"pt": 4}, tokens={"rest": 100 * ROW_TOKENS}, weights={"en": 1})
    found = counts(asked)
    assert found == pytest.approx({"pt": 1_200 / TOTAL, "rest": 100 / TOTAL, "en": 2_700 / TOTAL}, abs=1e-3)


def test_a_curriculum_changes_the_shares_at_its_moment() -> None:
    late = [{"begin": 0.9, "weights": {"pt": 4, "rest": 1}}]
    asked = MixtureConfig.model_validate({"weights": {"en": 9, "pt": 1}, "stages": late})
    assert counts(asked, 0, 0.9) == pytest.approx({"pt": 0.1, "en": 0.9, "rest": 0}, abs=0.01)
    assert counts(asked, 0.9, 1) == pytest.approx({"pt": 0.8, "en": 0, "rest": 0.2}, abs=0.01)


@pytest.mark.parametrize(
    ("config", "why"),
    [
        ({"weights": {"fr": 1}}, "fr, and the tokens have the texts pt, en, rest"),
        ({"epochs": {"en": 5}}, r"steps to 1\.25 times"),
        ({"epochs": {"en": 2}}, r"steps to 0\.5 times what it is, or give a text a weight"),
    ],
)
def test_what_the_tokens_cannot_give_is_told_with_a_way_out(config: dict[str, Any], why: str) -> None:
    with pytest.raises(MixtureError, match=why):
        plan_of(MixtureConfig.model_validate(config), ROWS, TOTAL, ROW_TOKENS)
    with pytest.raises(MixtureError, match="no document for training"):
        plan_of(MixtureConfig(weights={"pt": 1}), {"pt": 0, "rest": 5}, TOTAL, ROW_TOKENS)


@pytest.mark.parametrize(
    ("config", "why"),
    [
        ({}, "names no text"),
        ({"weights": {"a": 0}}, "all weights are 0"),
        ({"weights": {"a": -1, "b": 2}}, "below 0"),
        ({"weights": {"a": 1}, "epochs": {"a": 2}}, "more than one measure"),
        ({"epochs": {"a": 1}, "stages": [{"begin": 0.5, "weights": {"a": 1}}]}, "all texts have weights"),
        (
            {"weights": {"a": 1}, "stages": [{"begin": each, "weights": {"a": 1}} for each in (0.9, 0.5)]},
            "after the one before",
        ),
    ],
)
def test_mixtures_that_contradict_themselves_are_refused(config: dict[str, Any], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        MixtureConfig.model_validate(config)


def test_a_resumed_training_draws_the_same_rows_with_any_workers(tmp_path: Path) -> None:
    rows = rows_of(tmp_path, "train", toy_texts(30, seed=1), 32)
    sizes = {"a": len(rows) // 3, "rest": len(rows) - len(rows) // 3}
    batch, steps = 8, 25
    config = MixtureConfig.model_validate(
        {"weights": {"a": 0.6, "rest": 0.4}, "stages": [{"begin": 0.8, "weights": {"rest": 1}}]}
    )
    plan = plan_of(config, sizes, steps * batch, 32)
    mixed = MixedRows((rows,), tuple(sizes), tuple(sizes.values()), plan)
    alone = Loader(mixed, seed=1, batch_rows=batch, micro_batch_rows=2, steps=steps)
    whole = [alone.take(step) for step in range(steps)]
    record = Steps.model_validate(Steps.of(mixed, seed=1, batch_rows=batch, steps=steps).as_json())
    for step in (0, 7, 19, 20, 24):
        assert record.rows(step) == whole[step].rows.tolist()
        for workers in (2, 4):
            parts = [
                Loader(
                    mixed, seed=1, batch_rows=batch, micro_batch_rows=2, steps=steps, part=part, parts=workers
                ).prepare(step)
                for part in range(workers)
            ]
            together = np.concatenate([each.rows for part in parts for each in part.micro_batches])
            assert together.tolist() == whole[step].rows.tolist()
    early = Counter(record.text_of(int(row)) for batch in whole[:20] for row in batch.rows)
    assert early["a"] / early.total() == pytest.approx(0.6, abs=0.01)
    assert {record.text_of(int(row)) for batch in whole[20:] for row in batch.rows} == {"rest"}
    assert all(one.step + 1 == other.step for one, other in pairwise(whole))
