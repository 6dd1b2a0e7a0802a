"""What `moinho trace` names is what the training was given."""

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from flows.commands.traces import NothingToTraceError, trace
from flows.tracing import (
    NoDocumentsLeftError,
    NoSuchStepError,
    NotPretrainedError,
    learned_by,
    pretrained,
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
    base = pretrained(road, "road")
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
    base = pretrained(road, "road")
    texts = {row["id"]: row for corpus in learned_by(base).corpora for row in corpus.dataset("train")}
    for piece in trace_step(base, 0).pieces:
        assert piece.content.strip()
        assert piece.content in texts[piece.document]["text"]
        assert piece.url == texts[piece.document]["url"]


def test_steps_and_models_that_there_are_not_are_told(road: Store) -> None:
    with pytest.raises(NoSuchStepError, match="from 0 to 59"):
        trace_step(pretrained(road, "road/base"), 60)
    with pytest.raises(NotPretrainedError, match="clean"):
        pretrained(road, "road/documents")
    assert pretrained(road, "road/chat").key == pretrained(road, "road").key


def test_the_command_tells_steps_and_texts(road: Store) -> None:
    traced = trace_step(pretrained(road, "road"), STEP)
    told = answer_of(road, "trace", "road/chat", "--step", str(STEP))
    assert told["pieces"] == [dataclasses.asdict(piece) for piece in traced.pieces]
    piece = max(traced.pieces, key=lambda piece: piece.tokens)
    answer = answer_of(road, "trace", "road", "--text", piece.content)
    (first,), unknown = answer["found"], answer["unknown"]
    assert first["text"] == piece.content
    assert piece.document in [place["document"] for place in first["places"]]
    assert unknown == []


def test_without_its_documents_a_model_cannot_be_asked_for_texts(filled_road: Path, tmp_path: Path) -> None:
    shutil.copytree(filled_road / "undisturbed", tmp_path / "store", symlinks=True)
    store = Store(str(tmp_path / "store"))
    base = pretrained(store, "road")
    (corpus,) = learned_by(base).corpora
    discard(store, corpus.base)
    assert learned_by(base).corpora == ()
    assert "no longer in the store" in learned_by(base).unknown[0]
    told = moinho("trace", "road", "--text", "returns a list", store=tmp_path / "store")
    assert "not looked through" in told.stdout
    discard(store, base.record.inputs["tokens"].stage + "/" + base.record.inputs["tokens"].key)
    with pytest.raises(NoDocumentsLeftError, match="no longer in the store"):
        trace_step(base, 0)
    shutil.rmtree(tmp_path / "store" / base.base)
    with pytest.raises(NotPretrainedError, match="no longer in the store"):
        pretrained(store, "road/chat")


@pytest.mark.parametrize("given", [{}, {"step": 1, "text": "x"}])
def test_a_step_or_a_text_is_asked_for(road: Store, given: dict[str, Any]) -> None:
    with pytest.raises(NothingToTraceError, match="--step 41"):
        trace("road", **given, store=road.storage.root)


def answer_of(store: Store, *words: str) -> Any:
    told = moinho(*words, "--json", store=Path(store.storage.root))
    assert told.returncode == 0, told.stderr
    return json.loads(told.stdout)
