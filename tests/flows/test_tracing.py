"""What `moinho trace` names is what the training was given."""

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from flows.commands.traces import NothingToTraceError, trace
from flows.tracing import (
    NoDocumentsLeftError,
    NoSuchStepError,
    NotPretrainedError,
    corpora_of,
    find_base,
    indexes_of,
    rows_of,
    trace_step,
)
from pipeline.store import Store
from pipeline.store.discard import discard
from pipeline.tokens.markers import BEGIN_ID, END_ID, restore
from pipeline.tokens.vocabulary import Vocabulary
from pipeline.training.loader import Loader
from tests.road import moinho

STEP = 41


@pytest.fixture
def road(filled_road: Path) -> Store:
    return Store(str(filled_road / "store"))


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_the_documents_of_a_step_say_what_the_loader_gave(road: Store, workers: int) -> None:
    base = find_base(road, "road")
    traced = trace_step(base, STEP)
    config, rows = base.config(), rows_of(base)
    encoder = Vocabulary(base.storage, base.record.inputs["vocabulary"].key).encoder()
    given = []
    for part in range(workers):
        loader = Loader(
            rows,
            seed=config["seed"],
            batch_rows=config["batch_tokens"] // rows.row_tokens,
            micro_batch_rows=2,
            steps=config["steps"],
            part=part,
            parts=workers,
        )
        for micro_batch in loader.prepare(STEP).micro_batches:
            tokens_BT, documents_BT = micro_batch.tensors.tokens_BT, micro_batch.tensors.documents_BT
            for place, row in enumerate(micro_batch.rows):
                for number in range(int(documents_BT[place].max()) + 1):
                    ids = tokens_BT[place][documents_BT[place] == number].tolist()
                    text = encoder.decode([each for each in ids if each not in (BEGIN_ID, END_ID)])
                    given.append((int(row), restore(text)))
    assert [(piece.row, piece.content) for piece in traced.pieces] == given


def test_each_stretch_stands_in_the_document_that_is_named(road: Store) -> None:
    base = find_base(road, "road")
    texts = {row["id"]: row for corpus in corpora_of(base) for row in corpus.dataset("train")}
    for piece in trace_step(base, 0).pieces:
        assert piece.content in texts[piece.document]["text"]
        assert piece.url == texts[piece.document]["url"]


def test_steps_and_models_that_there_are_not_are_told(road: Store) -> None:
    with pytest.raises(NoSuchStepError, match="from 0 to 59"):
        trace_step(find_base(road, "road/base"), 60)
    with pytest.raises(NotPretrainedError, match="clean"):
        find_base(road, "road/documents")
    assert find_base(road, "road/chat").key == find_base(road, "road").key


def test_the_command_tells_steps_and_texts(road: Store) -> None:
    traced = trace_step(find_base(road, "road"), STEP)
    told = answer_of(road, "trace", "road/chat", "--step", str(STEP))
    assert told["pieces"] == [dataclasses.asdict(piece) for piece in traced.pieces]
    piece = max(traced.pieces, key=lambda piece: piece.tokens)
    first, *_ = answer_of(road, "trace", "road", "--text", piece.content)
    assert first["text"] == piece.content
    assert first["count"] > len(first["places"]) or piece.document in [
        place["document"] for place in first["places"]
    ]
    assert road.named()["road/index"][0] == "index"


def test_without_its_documents_a_model_cannot_be_asked_for_texts(filled_road: Path, tmp_path: Path) -> None:
    shutil.copytree(filled_road / "undisturbed", tmp_path / "store", symlinks=True)
    store = Store(str(tmp_path / "store"))
    base = find_base(store, "road")
    for corpus in corpora_of(base):
        discard(store, corpus.base)
    with pytest.raises(NoDocumentsLeftError, match="no longer in the store"):
        indexes_of(base, Console())


@pytest.mark.parametrize("given", [{}, {"step": 1, "text": "x"}, {"text": ""}])
def test_a_step_or_a_text_is_asked_for(road: Store, given: dict[str, Any]) -> None:
    with pytest.raises(NothingToTraceError, match="--step 41"):
        trace("road", **given, store=road.storage.root)


def answer_of(store: Store, *words: str) -> Any:
    told = moinho(*words, "--json", store=Path(store.storage.root))
    assert told.returncode == 0, told.stderr
    return json.loads(told.stdout)
