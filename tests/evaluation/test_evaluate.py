import json
import lzma
import math

import numpy as np
import pyarrow.parquet as pq
import pytest

from pipeline.compute import Compute
from pipeline.evaluation.evaluate import EvaluateConfig, NothingToScoreError, Scores, evaluate
from pipeline.evaluation.held_out import cut_pieces
from pipeline.evaluation.likelihood import nats_of_pieces
from pipeline.store import PlanningStore, Store
from pipeline.tokens.encode import Tokens
from pipeline.tokens.vocabulary import Vocabulary
from tests.evaluation.stand_ins import (
    Documents,
    SmallConversations,
    SmallCorpus,
    SmallModel,
    write_corpus,
)

CONFIG = EvaluateConfig(
    sentences=6,
    questions=4,
    max_answer_tokens=8,
    prompts=("The list",),
    sample_documents=1,
    sample_questions=2,
    sample_tokens=8,
)


@pytest.fixture(scope="module")
def scores(
    evaluation_store: Store,
    small_corpus: SmallCorpus,
    small_tokens: Tokens,
    small_vocabulary: Vocabulary,
    small_conversations: SmallConversations,
    small_model: SmallModel,
    compute: Compute,
) -> Scores:
    return evaluate(
        evaluation_store,
        small_corpus,
        small_tokens,
        small_vocabulary,
        small_conversations,
        small_model,
        small_model,
        CONFIG,
        compute,
    )


def test_what_training_repeats_is_left_out_and_counted(scores: Scores, documents: Documents) -> None:
    rows = pq.read_table(scores.path("held-out.parquet")).to_pylist()
    first = next(row for row in rows if row["id"] == "held-out-0")
    repeated = documents[5][1]
    assert repeated[:200] not in first["text"]
    assert first["text"]
    held_out = scores.scores()["held_out"]
    assert held_out["documents"] == len(rows) == 7
    assert 0 < held_out["shared_passages"] < held_out["passages"]
    assert 0 < held_out["shared_bytes_share"] < 1
    assert held_out["largest_document_share"] == max(row["bytes"] for row in rows) / held_out["bytes"]
    assert scores.record.counts["held-out.documents"] == 7


def test_all_are_given_the_same_pieces_and_the_numbers_are_right(
    scores: Scores, small_vocabulary: Vocabulary, small_model: SmallModel
) -> None:
    rows = pq.read_table(scores.path("held-out.parquet")).to_pylist()
    pieces = cut_pieces(rows, small_vocabulary, row_tokens=64)
    found = scores.scores()["bits_per_byte"]
    assert set(found) == {"all", "en", "pt"}
    for group, values in found.items():
        own = [piece for piece in pieces if group in ("all", piece["language"])]
        texts = [piece["text"] for piece in own]
        size = sum(map(len, texts))
        nats = nats_of_pieces(small_model.load()[0], [piece["ids"] for piece in own])
        assert values["base"] == pytest.approx(sum(nats) / math.log(2) / size, rel=1e-4)
        some = texts[:5]
        assert values["xz"] > 0
        if len(texts) <= len(some):
            packed = sum(len(lzma.compress(text, preset=9)) for text in texts)
            assert values["xz"] == pytest.approx(8 * packed / size)
        whole = len(lzma.compress(b"".join(texts), preset=9))
        assert values["xz_whole"] == pytest.approx(8 * whole / size)
        assert values["xz_primed"] < values["xz"]


def test_the_rest_is_there_to_read(scores: Scores) -> None:
    found = scores.scores()
    assert found["next_words"]["places"]["middle"]["sentences"] == 6
    assert found["answers"]["questions"] == found["own_answers"]["questions"] == 4
    assert set(found["tokenizer"]) == {"en", "pt"}
    samples = scores.path("samples.md").read_text()
    assert "**The list**" in samples
    assert found["answers"]["examples"][0]["question"] in samples
    for name in ("plots/bits-per-byte.png", "plots/next-words.png"):
        assert scores.path(name).read_bytes().startswith(b"\x89PNG")
    figures = scores.record.figures
    assert figures["base_bits_per_byte"] == found["bits_per_byte"]["all"]["base"]
    assert {"middle_word.model_share", "answers.ended_share", "own_answers.own_nats_per_token"} <= set(
        figures
    )


def test_samples_are_told_to_the_journal(scores: Scores, evaluation_store: Store) -> None:
    folder = f"{scores.base}/attempts/{scores.record.attempt}/journal"
    lines = [
        json.loads(line)
        for name in evaluation_store.storage.list(folder)
        for line in evaluation_store.storage.read(f"{folder}/{name}").splitlines()
    ]
    assert next(line["text"] for line in lines if line["kind"] == "text").startswith("The list")


def test_without_a_chat_model_only_the_base_model_is_scored(
    evaluation_store: Store,
    small_corpus: SmallCorpus,
    small_tokens: Tokens,
    small_vocabulary: Vocabulary,
    small_model: SmallModel,
    compute: Compute,
) -> None:
    config = EvaluateConfig(sentences=0, questions=0, sample_documents=0)
    found = evaluate(
        evaluation_store,
        small_corpus,
        small_tokens,
        small_vocabulary,
        None,
        small_model,
        None,
        config,
        compute,
    ).scores()
    assert found["bits_per_byte"]["all"]["base"] > 0
    assert found["answers"] == found["own_answers"] == found["next_words"] == {}


def test_a_held_out_set_that_training_repeats_is_refused_with_a_reason(
    store: Store,
    documents: Documents,
    small_tokens: Tokens,
    small_vocabulary: Vocabulary,
    small_model: SmallModel,
    compute: Compute,
) -> None:
    corpus = write_corpus(store, documents[:3], [("en", documents[0][1][:2000])])
    with pytest.raises(NothingToScoreError, match="every passage of the 1 held-out"):
        evaluate(store, corpus, small_tokens, small_vocabulary, None, small_model, None, CONFIG, compute)


def test_a_plan_needs_nothing_made(
    evaluation_store: Store,
    small_corpus: SmallCorpus,
    small_tokens: Tokens,
    small_vocabulary: Vocabulary,
    small_model: SmallModel,
    compute: Compute,
) -> None:
    planning = PlanningStore(evaluation_store.storage.root)
    unmade = SmallModel(planning.storage, "0" * 16)
    found = evaluate(
        planning, small_corpus, small_tokens, small_vocabulary, None, unmade, None, CONFIG, compute
    )
    assert not found.exists()
    assert np.char.isalnum(found.key)
