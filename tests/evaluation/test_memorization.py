from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.evaluation import memorization as module
from pipeline.evaluation.memorization import draw_stretches, matched_tokens, memorization, occurrences
from tests.evaluation.stand_ins import random_model

PIECES, PREFIX, LENGTH = 100, 8, 16


def write_shard(folder: Path, name: str, documents: list[list[int]]) -> tuple[Path, Path]:
    """As the tokens stage writes them: <s>, ids, </s> of each document one after another."""
    whole = [np.array([1, *ids, 2], np.uint16) for ids in documents]
    lengths = np.array([len(each) for each in whole])
    tokens, index = folder / f"{name}.tokens.npy", folder / f"{name}.documents.parquet"
    np.save(tokens, np.concatenate(whole))
    names = [f"{name}-{number}" for number in range(len(documents))]
    pq.write_table(pa.table({"id": names, "offset": np.cumsum(lengths) - lengths}), index)
    return tokens, index


def texts(count: int, seed: int) -> list[list[int]]:
    return np.random.default_rng(seed).integers(4, PIECES, (count, 30)).tolist()


def test_a_model_that_learned_a_text_by_heart_is_found_out(tmp_path: Path) -> None:
    learned, other = texts(4, seed=1), texts(4, seed=2)
    training = draw_stretches([write_shard(tmp_path, "train", [*learned, *learned])], 8, LENGTH, seed=0)
    held_out = draw_stretches([write_shard(tmp_path, "held", other)], 8, LENGTH, seed=0)
    model = random_model(PIECES, context=64, width=64).train()
    ids_BT = torch.tensor([[1, *ids, 2] for ids in learned] + [stretch.tolist() * 2 for stretch in training])
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(120):
        model(input_ids=ids_BT, labels=ids_BT).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.train(False)
    repeats = occurrences(training, [tmp_path / "train.tokens.npy"])
    found = memorization(model, training, repeats, held_out, PREFIX, read=str)
    assert found["extracted_share"]["value"] > 0.9
    assert found["extracted_share"]["baseline"] == 0
    assert found["matched_tokens"]["value"] > 7
    assert found["matched_tokens"]["baseline"] < 2
    assert found["nats_per_token"]["high"] < found["nats_per_token"]["baseline"]
    assert set(found["by_occurrences"]) == {"2 to 9 times"}
    assert found["examples"][0]["matched_tokens"] == LENGTH - PREFIX


def test_a_model_that_learned_nothing_gives_nothing_back() -> None:
    stretches = [np.array(ids[:LENGTH]) for ids in texts(6, seed=3)]
    found = memorization(random_model(PIECES), stretches, [1] * 6, stretches, PREFIX, read=str)
    assert found["extracted_share"]["value"] == 0
    assert found["extracted_share"]["high"] < 0.5
    assert found["matched_tokens"]["value"] == found["matched_tokens"]["baseline"]
    assert memorization(random_model(PIECES), [], [], [], PREFIX, read=str) == {}


def test_stretches_lie_within_one_document_and_are_drawn_by_the_seed(tmp_path: Path) -> None:
    documents = [*texts(5, seed=4), [5] * 3]
    shard = write_shard(tmp_path, "train", documents)
    drawn = draw_stretches([shard], 10, LENGTH, seed=0)
    assert len(drawn) == 5
    for stretch in drawn:
        assert any(
            stretch.tolist() == ids[at : at + LENGTH] for ids in documents for at in range(len(ids) - 15)
        )
    again = draw_stretches([shard], 10, LENGTH, seed=0)
    other = draw_stretches([shard], 10, LENGTH, seed=1)
    assert np.array_equal(drawn, again)
    assert not np.array_equal(drawn, other)
    assert len(draw_stretches([shard], 2, LENGTH, seed=0)) == 2


def test_what_follows_is_counted_up_to_the_first_difference() -> None:
    model = random_model(PIECES)
    prompt = [1, 9, 9, 4, 7, 7, 5, 3]
    written = module.answer_greedily(model, [prompt], max_tokens=8, stop=())[0]
    right, wrong = np.array([*prompt, *written]), np.array([*prompt, *written])
    wrong[PREFIX + 3] += 1
    assert matched_tokens(model, [right, wrong], PREFIX) == [8, 3]


@settings(max_examples=40)
@given(
    tokens=st.lists(st.integers(0, 2), min_size=12, max_size=80),
    at_once=st.integers(1, 100),
    length=st.integers(8, 12),
)
def test_occurrences_are_those_that_a_plain_search_finds(
    tokens: list[int], at_once: int, length: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("tokens") / "train.tokens.npy"
    np.save(path, np.array(tokens, np.uint16))
    stretch = tokens[:length]
    plain = sum(tokens[at : at + length] == stretch for at in range(len(tokens)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "TOKENS_AT_ONCE", at_once)
        assert occurrences([np.array(stretch), np.array([9] * length)], [path]) == [plain, 0]
